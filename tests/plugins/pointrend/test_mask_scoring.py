"""Mask scoring against mmdet's MaskScoringRoIHead as published, and against its formula written in loops."""

from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import pytest
import torch
from head_cases import build_small, training_images
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pointrend_cases import STRIDES, TINY, both_heads, draw_boxes, draw_levels, draw_sampling
from torch import Tensor, nn

from fineseg import HeadInput
from fineseg_pointrend.heads import mask_rcnn
from fineseg_pointrend.options import MaskRCNNOptions
from fineseg_pointrend.predictor import ScoredMaskRCNNPredictor, ScoredPointRendPredictor

SIDE, CHANNELS, CLASSES = 160, 12, 6
PUBLISHED = Path(mmdet.__file__).parent / ".mim" / "configs"


def predictor_of(kind: type, roi_head: nn.Module) -> Any:
    predictor = kind.__new__(kind)
    predictor.detector = nn.Module()
    predictor.detector.roi_head = roi_head.eval()
    return predictor


# ------------------------------------------------------------- Mask R-CNN, against mmdet's


@pytest.fixture(scope="module")
def published() -> tuple[Any, Any]:
    """Return Mask Scoring R-CNN's RoI head for COCO as mmdet configures it, and ours with its weights."""
    theirs = Config.fromfile(PUBLISHED / "ms_rcnn" / "ms-rcnn_r50_fpn_1x_coco.py").model
    options = {"mask_scoring": True, "box": {"class_agnostic": False, "aligned": True, "sampling": 0}}
    ours = mask_rcnn(MaskRCNNOptions.model_validate(options), HeadInput(256, STRIDES, 80)).detector
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        from mmdet.registry import MODELS

        built = []
        for detector in (theirs, ConfigDict(ours)):
            settings = {"train_cfg": detector.train_cfg.rcnn, "test_cfg": detector.test_cfg.rcnn}
            built.append(MODELS.build({**detector.roi_head, **settings}))
    stock, mine = built
    stock.init_weights()
    for head in (stock.mask_head, stock.mask_iou_head):
        for weight in head.parameters():
            if weight.dim() > 1:  # untrained heads say the same everywhere
                nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5)
    mine.load_state_dict(stock.state_dict())
    # Its published threshold of 0.5 is one of probabilities, but is compared with logits.
    stock.train_cfg.mask_thr_binary = 0.0
    return stock, mine


def test_losses_of_mask_rcnn_equal_mmdets(published: tuple[Any, Any]) -> None:
    levels = draw_levels(SIDE, 256, images=2)
    found = []
    for head in published:
        drawn = [draw_sampling(number, 3, SIDE, 80, seed) for seed, number in enumerate((9, 4))]
        head.train().zero_grad()
        losses = head.mask_loss(tuple(levels), [d[0] for d in drawn], None, [d[1] for d in drawn])["loss_mask"]
        torch.stack([loss.sum() for loss in losses.values()]).sum().backward()
        gradients = {name: w.grad for name, w in head.named_parameters() if name.startswith("mask_")}
        found.append(({name: loss.item() for name, loss in losses.items()}, gradients))
    (expected, stock), (losses, mine) = found
    assert expected.keys() == {"loss_mask", "loss_mask_iou"} and expected["loss_mask_iou"] > 0
    assert losses == expected
    assert all(torch.equal(mine[name], gradient) for name, gradient in stock.items() if gradient is not None)
    assert mine["mask_iou_head.convs.0.weight"].abs().max() > 0


@torch.no_grad()
def test_quality_of_mask_rcnn_equals_mmdets(published: tuple[Any, Any]) -> None:
    stock, mine = published
    predictor = predictor_of(ScoredMaskRCNNPredictor, mine)
    levels = draw_levels(SIDE, 256, images=3)
    boxes = [draw_boxes(number, SIDE, inside=True, seed=number) for number in (6, 0, 3)]
    labels = [torch.arange(len(each)) * 11 % 80 for each in boxes]
    found = predictor.quality(levels, boxes, labels, predictor.masks(levels, boxes, labels))
    metas = [{"scale_factor": (1.0, 1.0), "ori_shape": (SIDE, SIDE), "img_shape": (SIDE, SIDE)}] * 3
    results = [
        InstanceData(bboxes=box, labels=label, scores=torch.ones(len(box)))
        for box, label in zip(boxes, labels, strict=True)
    ]
    stock.eval()
    stock.test_cfg.mask_thr_binary = 0.5
    expected = [each.scores for each in stock.predict_mask(levels, metas, results, rescale=True)]
    assert torch.cat(expected).std() > 0.1
    assert [each.shape for each in found] == [each.shape for each in expected]
    torch.testing.assert_close(torch.cat(found), torch.cat(expected).clamp(0, 1), atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------- PointRend, against the formula


def drawn_near(number: int, seed: int) -> tuple[Any, Any]:
    """Draw positive RoIs of one image that cut off a little of their objects, and its truth."""
    sampling, truth = draw_sampling(number, 3, SIDE, CLASSES, seed)
    whole = truth.masks.get_bboxes("hbox").tensor[sampling.pos_assigned_gt_inds]
    inset = torch.rand(number, 4, generator=torch.Generator().manual_seed(seed)) * 16 - 4
    sampling.pos_priors = sampling.pos_bboxes = (whole + inset * torch.tensor([1, 1, -1, -1])).clamp(0, SIDE)
    return sampling, truth


def iou_targets(coarse: Tensor, drawn: list[tuple[Any, Any]], side: int) -> list[float]:
    """Return each RoI's IoU by cells, its object's part outside the box counted in full-size pixels."""
    targets, row = [], 0
    for sampling, truth in drawn:
        for box, object_index, label in zip(
            sampling.pos_priors.tolist(), sampling.pos_assigned_gt_inds, sampling.pos_gt_labels, strict=True
        ):
            mask = truth.masks[int(object_index)]
            x1, y1, x2, y2 = (int(each) for each in box)
            inside = mask.masks[0][y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].sum()
            cells = mask.crop_and_resize(np.array([box], np.float32), (side, side), np.array([0])).masks[0]
            said = coarse[row, label].sigmoid().numpy() > 0.5
            both, whole = int((said & (cells > 0)).sum()), cells.sum() * mask.masks.sum() / max(inside, 1e-7)
            union = said.sum() + whole - both
            targets.append(both / union if union > 0 else 0.0)
            row += 1
    return targets


def quality_plainly(head: nn.Module, cells: Tensor, own: Tensor) -> Tensor:
    hidden = torch.cat([cells, own.sigmoid()[:, None]], dim=1)
    for conv in head.convs:
        hidden = nn.functional.conv2d(hidden, conv.weight, conv.bias, conv.stride, conv.padding).relu()
    hidden = hidden.flatten(1)
    for layer in head.fcs:
        hidden = nn.functional.linear(hidden, layer.weight, layer.bias).relu()
    return nn.functional.linear(hidden, head.fc_mask_iou.weight, head.fc_mask_iou.bias)


def coarse_stage(stock: Any, levels: list[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
    """Return mmdet's coarse logits of RoIs, and what its mask head's downsampling gives."""
    cells: list[Tensor] = []
    hook = stock.mask_head.downsample_conv.register_forward_hook(lambda _, __, output: cells.append(output))
    coarse = stock._mask_forward(levels, rois)["mask_preds"]
    hook.remove()
    return coarse, cells[0]


@pytest.fixture(params=[14, 20], ids=["odd mask", "even mask"])
def scored(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return mmdet's PointRend RoI head, and ours with the same weights and a mask scoring head."""
    tiny = {**TINY, "coarse": {**TINY["coarse"], "grid": request.param}}
    stock, ours = both_heads({**tiny, "mask_scoring": True, "box": {"width": 64}}, CHANNELS, CLASSES)
    for weight in ours.mask_iou_head.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5)
    return stock, ours


def test_loss_of_pointrend_equals_the_formula(scored: tuple[Any, Any]) -> None:
    stock, ours = scored
    levels = draw_levels(SIDE, CHANNELS, images=2)
    drawn = [drawn_near(number, seed) for seed, number in enumerate((9, 4))]
    torch.manual_seed(7)
    arguments = (tuple(levels), [d[0] for d in drawn], None, [d[1] for d in drawn])
    losses = ours.mask_loss(*arguments)["loss_mask"]
    torch.manual_seed(7)
    expected = stock.mask_loss(*arguments)["loss_mask"]
    assert losses.keys() == {"loss_mask", "loss_point", "loss_mask_iou"}
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-5, atol=0)
    with torch.no_grad():
        coarse, cells = coarse_stage(stock, levels, bbox2roi([d[0].pos_priors for d in drawn]))
        labels = torch.cat([d[0].pos_gt_labels for d in drawn])
        rows = torch.arange(len(labels))
        quality = quality_plainly(ours.mask_iou_head, cells, coarse[rows, labels])[rows, labels]
    targets = torch.tensor(iou_targets(coarse, drawn, coarse.shape[-1]), dtype=torch.float32)
    some = targets > 0
    assert some.sum() > 4 and targets.std() > 0.05
    wanted = 0.5 * (quality[some] - targets[some]).square().mean()
    torch.testing.assert_close(losses["loss_mask_iou"].detach(), wanted, rtol=1e-4, atol=1e-7)
    sum(losses.values()).backward()
    assert all(weight.grad.abs().max() > 0 for weight in ours.mask_iou_head.parameters())


@torch.no_grad()
def test_quality_of_pointrend_equals_the_formula(scored: tuple[Any, Any]) -> None:
    stock, ours = scored
    predictor = predictor_of(ScoredPointRendPredictor, ours)
    levels = draw_levels(SIDE, CHANNELS, images=3)
    boxes = [draw_boxes(number, SIDE, seed=number) for number in (6, 0, 2)]
    labels = [torch.arange(len(each)) % CLASSES for each in boxes]
    found = predictor.quality(levels, boxes, labels, predictor.masks(levels, boxes, labels))
    assert [len(each) for each in found] == [6, 0, 2]
    coarse, cells = coarse_stage(stock, levels, bbox2roi(boxes))
    label = torch.cat(labels)
    rows = torch.arange(len(label))
    expected = quality_plainly(ours.mask_iou_head, cells, coarse[rows, label])[rows, label]
    assert expected.std() > 0.1 and (expected > 0).any()
    torch.testing.assert_close(torch.cat(found), expected.clamp(0, 1), atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------- both heads


@pytest.mark.parametrize("head", ["mask-rcnn", "pointrend"])
@torch.no_grad()
def test_quality_is_the_own_classes_and_a_part_of_one(head: str) -> None:
    built = build_small(head, {"mask_scoring": True})
    last = built.module.eval().roi_head.mask_iou_head.fc_mask_iou
    nn.init.zeros_(last.weight)
    last.bias.copy_(torch.linspace(-0.3, 1.3, 14))
    features = built.predictor.encode(torch.zeros(2, 3, 64, 64))
    boxes = [torch.tensor([[4.0, 4, 40, 50]]).repeat(14, 1), torch.zeros(0, 4)]
    labels = [torch.arange(14).flip(0), torch.zeros(0, dtype=torch.long)]
    masks = built.predictor.masks(features, boxes, labels)
    found = built.predictor.quality(features, boxes, labels, masks)
    torch.testing.assert_close(found[0], torch.linspace(1.3, -0.3, 14).clamp(0, 1))
    assert found[1].shape == (0,)
    none = built.predictor.quality(features, boxes[1:] * 2, labels[1:] * 2, masks[1:] * 2)
    assert [each.shape for each in none] == [(0,), (0,)]


@pytest.mark.parametrize("head", ["mask-rcnn", "pointrend"])
def test_no_object_gives_the_head_a_gradient_of_zero(head: str) -> None:
    module = build_small(head, {"mask_scoring": True}).module.train()
    losses = module.loss(*training_images(objects=0))
    assert losses["loss_mask_iou"].sum() == 0
    losses["loss_mask_iou"].sum().backward()
    assert all(
        weight.grad is not None and not weight.grad.any() for weight in module.roi_head.mask_iou_head.parameters()
    )
