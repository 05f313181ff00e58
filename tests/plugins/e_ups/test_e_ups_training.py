"""The whole detector: its losses, where their gradients go, images without objects, and that it learns."""

import math

import numpy as np
import pytest
import torch
from e_ups_cases import SIDE, STUFF, THINGS, built_e_ups, drawn, found_maps, total
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData

from fineseg import HeadInput, PanopticFrame
from fineseg.mm.training import optimiser_config
from fineseg.profile.schema import OptimiserTable, TrainTable
from fineseg_e_ups.heads import e_ups
from fineseg_e_ups.options import EUPSOptions
from fineseg_e_ups.panoptic import training_logits, training_target
from fineseg_e_ups.semantic import STRIDE

LOSSES = {
    "loss_rpn_cls",
    "loss_rpn_bbox",
    "loss_cls",
    "loss_bbox",
    "loss_mask",
    "loss_semantic",
    "loss_semantic_roi",
    "loss_panoptic",
}
PARTS = ("backbone", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head", "semantic_head")


def part_of(name: str) -> str:
    return next((part for part in (*PARTS, "roi_head.trunk") if name.startswith(part)), name)


@pytest.mark.parametrize("lsh", [False, True])
def test_losses_reach_every_part(lsh: bool) -> None:
    detector = built_e_ups(lsh=lsh).detector.train()
    losses = detector.loss(*drawn(2))
    assert {name for name in losses if "loss" in name} == LOSSES
    loss = total(losses)
    assert math.isfinite(loss)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    moved = {part_of(name) for name, p in detector.named_parameters() if p.grad.abs().sum() > 0}
    assert moved == {*PARTS, *(("roi_head.trunk",) if lsh else ())}


@pytest.mark.parametrize("lsh", [False, True])
def test_panoptic_loss_teaches_scores_and_masks_but_not_boxes(lsh: bool) -> None:
    detector = built_e_ups(lsh=lsh).detector.train()
    detector.loss(*drawn(2))["loss_panoptic"].backward()
    moved = {part_of(name) for name, p in detector.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    expected = {"backbone", "neck", "roi_head.mask_head", "semantic_head", *(("roi_head.trunk",) if lsh else ())}
    assert moved == expected


def test_weights_of_the_losses() -> None:
    """0.2, 0.04 and 0.1 by default; twice the weight is twice the loss."""
    found = []
    for options in (
        {},
        {"semantic": {"width": 8, "pixel_weight": 0.4, "roi_weight": 0.08}, "panoptic": {"weight": 0.2}},
    ):
        detector = built_e_ups(**options).detector.train()
        torch.manual_seed(0)
        found.append(detector.loss(*drawn(2)))
    for name in ("loss_semantic", "loss_semantic_roi", "loss_panoptic"):
        torch.testing.assert_close(2 * found[0][name], found[1][name])
    assert found[0]["loss_semantic"] < 0.2 * math.log(THINGS + STUFF) * 3


def test_panoptic_loss_of_a_batch_is_the_mean_of_its_images() -> None:
    detector = built_e_ups(panoptic={"keep": 1.0}).detector.eval()
    images, samples = drawn(2)
    truth = torch.cat([sample.gt_sem_seg.sem_seg for sample in samples])
    with torch.no_grad():
        levels = detector.extract_feat(images)
        scores = detector.semantic_head(levels)
        both = detector.panoptic_loss(levels, scores, truth, samples)
        alone = []
        for i in range(2):
            own = [level[i : i + 1] for level in levels]
            alone.append(detector.panoptic_loss(own, scores[i : i + 1], truth[i : i + 1], samples[i : i + 1]))
    torch.testing.assert_close(both, torch.stack(alone).mean())


def test_panoptic_loss_looks_at_true_boxes_a_quarter_as_large() -> None:
    detector = built_e_ups(panoptic={"keep": 1.0}).detector.eval()
    images, samples = drawn(1)
    objects, truth = samples[0].gt_instances, samples[0].gt_sem_seg.sem_seg
    with torch.no_grad():
        levels = detector.extract_feat(images)
        scores = detector.semantic_head(levels)
        rois = torch.cat([torch.zeros(len(objects), 1), objects.bboxes], dim=1)
        every = detector.roi_head.mask_head(detector.roi_head.mask_roi_extractor(levels[:4], rois))
        masks = torch.stack([every[i, label] for i, label in enumerate(objects.labels)])
        logits = training_logits(scores[0], THINGS, masks, objects.bboxes / 4, objects.labels)
        shapes = torch.from_numpy(objects.masks.masks).bool()[:, ::4, ::4]
        target = training_target(truth[0, ::4, ::4], THINGS, STUFF, shapes)
        wanted = torch.nn.functional.cross_entropy(logits[None], target[None], ignore_index=-1, reduction="sum")
        found = detector.panoptic_loss(levels, scores, truth, samples)
    torch.testing.assert_close(found, wanted / target.numel())


@pytest.mark.parametrize("lsh", [False, True])
def test_images_without_objects(lsh: bool) -> None:
    detector = built_e_ups(lsh=lsh).detector.train()
    images, samples = drawn(2)
    bare = drawn(2, objects=0)[1]
    losses = detector.loss(images, bare)
    total(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    assert losses["loss_mask"] == losses["loss_semantic_roi"] == 0
    mixed = detector.loss(images, [samples[0], bare[1]])
    assert math.isfinite(total(mixed))


def test_truth_smaller_than_the_padded_images() -> None:
    detector = built_e_ups().detector.train()
    images, samples = drawn(2)
    for sample in samples:
        sample.gt_sem_seg = PixelData(sem_seg=sample.gt_sem_seg.sem_seg[:, :60, :51])
        masks = sample.gt_instances.masks
        sample.gt_instances.masks = type(masks)(masks.masks[:, :60, :51], 60, 51)
    torch.manual_seed(0)
    found = detector.loss(images, samples)["loss_semantic"]
    for sample in samples:
        padded = torch.full((1, SIDE, SIDE), 255)
        padded[:, :60, :51] = sample.gt_sem_seg.sem_seg
        sample.gt_sem_seg = PixelData(sem_seg=padded)
    torch.manual_seed(0)
    torch.testing.assert_close(found, detector.loss(images, samples)["loss_semantic"])


def test_it_learns_four_images_by_heart() -> None:
    predictor = built_e_ups(lsh=True, panoptic={"score": 0.5, "stuff_area": 50})
    detector = predictor.detector.train()
    images, samples = drawn(4)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    history: list[dict[str, float]] = []
    for _ in range(52):
        losses = detector.loss(images, samples)
        optimiser.zero_grad()
        total(losses).backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimiser.step()
        history.append({name: float(total({name: value})) for name, value in losses.items() if "loss" in name})
    for name in LOSSES:
        # RoIs hit few objects at first, and only those have a box to miss: that loss grows before it falls.
        first = max(each[name] for each in history) if name == "loss_bbox" else history[0][name]
        assert np.mean([each[name] for each in history[-4:]]) < 0.7 * first, name
    assert agreement(predictor, images, samples) > 0.8


def agreement(predictor, images, samples) -> float:
    """Return the part of all pixels that are of the true class in the panoptic maps."""
    predictor.detector.eval()
    frame = PanopticFrame((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
    with torch.no_grad():
        found = found_maps(predictor, predictor.encode(images), [frame] * len(images))
    right = 0.0
    for each, sample in zip(found, samples, strict=True):
        labels = torch.tensor([-1, *each.labels])[each.ids.long()]
        right += float((labels == sample.gt_sem_seg.sem_seg[0]).float().mean()) / len(images)
    return right


def test_biases_learn_twice_as_fast_and_do_not_decay() -> None:
    detector = built_e_ups().detector
    spec = e_ups(EUPSOptions(), HeadInput(16, (4, 8, 16, 32, 64), THINGS, STUFF))
    train = TrainTable(lr=0.02, epochs=1, optimiser=OptimiserTable(name="sgd", weight_decay=1e-4))
    wrapper = build_optim_wrapper(detector, optimiser_config(train, dict(spec.paramwise)))
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups for p in g["params"]}
    for name, parameter in detector.named_parameters():
        assert rates[id(parameter)] == ((0.04, 0.0) if name.endswith("bias") else (0.02, 1e-4)), name


def test_stride() -> None:
    """The losses' quarter is the finest level's."""
    assert built_e_ups().detector.roi_head.bbox_roi_extractor.featmap_strides[0] == STRIDE
