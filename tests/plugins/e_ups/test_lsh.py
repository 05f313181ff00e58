"""The Location Sensitive Header: what shares features with what, and training against the plain way of computing it."""

import torch
from e_ups_cases import THINGS, built_e_ups, drawn, spread
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch.nn import functional as F

from fineseg import HeadInput
from fineseg_e_ups.heads import e_ups
from fineseg_e_ups.options import EUPSOptions


def ready(seed: int = 0):
    detector = built_e_ups(lsh=True).detector
    spread(detector, seed)
    images, samples = drawn(2)
    with torch.no_grad():
        levels = detector.extract_feat(images)
    return detector.roi_head, levels, samples


def some_rois(samples) -> torch.Tensor:
    return bbox2roi([torch.cat([each.gt_instances.bboxes, each.gt_instances.bboxes + 7]) for each in samples])


def test_boxes_and_masks_from_one_trunk_classes_from_their_own_cells() -> None:
    head, levels, samples = ready()
    rois = some_rois(samples)
    with torch.no_grad():
        found = head._bbox_forward(levels, rois)
        box_cells = head.bbox_roi_extractor(levels[:4], rois)
        x = head.mask_roi_extractor(levels[:4], rois)
        for conv in head.trunk:
            x = F.relu(F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1))
        own = head.bbox_head
        hidden = box_cells.flatten(1)
        for layer in own.cls_fcs:
            hidden = F.relu(F.linear(hidden, layer.weight, layer.bias))
        torch.testing.assert_close(found["cls_score"], F.linear(hidden, own.fc_cls.weight, own.fc_cls.bias))
        pooled = F.adaptive_avg_pool2d(x, 7).flatten(1)
        hidden = F.relu(F.linear(pooled, own.reg_fcs[0].weight, own.reg_fcs[0].bias))
        torch.testing.assert_close(found["bbox_pred"], F.linear(hidden, own.fc_reg.weight, own.fc_reg.bias))
        masks = head._mask_forward(levels, rois)["mask_preds"]
        torch.testing.assert_close(masks, head.mask_head(x))
    assert masks.shape == (len(rois), THINGS, 14, 14)
    assert len(own.cls_fcs) == 2 and len(own.reg_fcs) == 1 and len(head.mask_head.convs) == 0


def test_training_is_as_if_the_trunk_saw_every_roi() -> None:
    """mmdet's own losses, which compute every RoI's deltas and pool the objects' masks anew."""
    head, levels, samples = ready()
    results = sampled(head, levels, samples)
    truth = [sample.gt_instances for sample in samples]
    ours = head.bbox_loss(levels, results)
    our_masks = head.mask_loss(levels, results, ours["bbox_feats"], truth)
    theirs = StandardRoIHead.bbox_loss(head, levels, results)
    their_masks = StandardRoIHead.mask_loss(head, levels, results, theirs["bbox_feats"], truth)
    torch.testing.assert_close(ours["loss_bbox"], theirs["loss_bbox"])
    torch.testing.assert_close(our_masks["loss_mask"], their_masks["loss_mask"])
    parameters = list(head.parameters())
    gradients = [
        torch.autograd.grad(
            sum(boxes["loss_bbox"][k] for k in ("loss_cls", "loss_bbox")) + masks["loss_mask"]["loss_mask"], parameters
        )
        for boxes, masks in ((ours, our_masks), (theirs, their_masks))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    objects = sum(len(result.pos_priors) for result in results)
    assert 0 < objects == len(ours["bbox_feats"]) < len(ours["bbox_pred"])
    assert int((ours["bbox_pred"] != 0).any(dim=1).sum()) == objects


def sampled(head, levels, samples):
    torch.manual_seed(0)
    results = []
    for sample in samples:
        corner = torch.rand(60, 2) * 40
        proposals = type(sample.gt_instances)(priors=torch.cat([corner, corner + 20], dim=1))
        assigned = head.bbox_assigner.assign(proposals, sample.gt_instances)
        results.append(head.bbox_sampler.sample(assigned, proposals, sample.gt_instances))
    return results


def test_gradients_meet_in_the_trunk() -> None:
    head, levels, samples = ready()
    rois = some_rois(samples)
    found = head._bbox_forward(levels, rois)
    trunk = list(head.trunk.parameters())
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(found["bbox_pred"].sum(), trunk, retain_graph=True))
    assert all(g is None for g in torch.autograd.grad(found["cls_score"].sum(), trunk, allow_unused=True))
    masks = head._mask_forward(levels, rois)["mask_preds"].sum()
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(masks, trunk))


def test_full_size_parameters() -> None:
    """Against the plain head: one layer more of 256 x 7 x 7 to 1024; the mask's convolutions have only moved."""
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    sizes = []
    for lsh in (False, True):
        spec = e_ups(EUPSOptions(lsh=lsh), HeadInput(256, (4, 8, 16, 32, 64), 80, 53))
        with torch.device("meta"), DefaultScope.overwrite_default_scope("mmdet"):
            head = MODELS.build(ConfigDict(spec.detector["roi_head"]))
        sizes.append(sum(parameter.numel() for parameter in head.parameters()))
    assert sizes[1] - sizes[0] == 256 * 49 * 1024 + 1024
