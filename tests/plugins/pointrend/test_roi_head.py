"""Losses, gradients, targets and masks of our RoI head against mmdet's own."""

from typing import Any

import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from pointrend_cases import P2, TINY, both_heads, draw_boxes, draw_levels, draw_sampling
from torch import Tensor

from fineseg_pointrend import roi_head
from fineseg_pointrend.predictor import PointRendPredictor

CHANNELS, CLASSES, SIDE = 12, 6, 160
CASES = {
    "m1": TINY,
    "m4": {**TINY, "points": {**TINY["points"], "layers": 5, "width": 32}},
    "coco": {**TINY, **P2},
    "two convolutions": {**TINY, "coarse": {**TINY["coarse"], "convs": 2}},
}


def losses_and_gradients(
    head: Any, levels: list[Tensor], drawn: list[tuple[Any, Any]]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    head.zero_grad()
    levels = [level.clone().requires_grad_() for level in levels]
    torch.manual_seed(7)
    losses = head.mask_loss(tuple(levels), [d[0] for d in drawn], None, [d[1] for d in drawn])["loss_mask"]
    torch.stack([loss.sum() for loss in losses.values()]).sum().backward()
    gradients = {name: weight.grad for name, weight in head.named_parameters() if weight.grad is not None}
    gradients |= {f"level {n}": level.grad for n, level in enumerate(levels) if level.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("numbers", [(9, 4), (1, 1), (20, 3)], ids=str)
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_losses_and_gradients_equal_mmdets(options: dict[str, Any], numbers: tuple[int, int]) -> None:
    stock, ours = both_heads(options, CHANNELS, CLASSES)
    levels = draw_levels(SIDE, CHANNELS, images=2)
    drawn = [draw_sampling(number, 3, SIDE, CLASSES, seed) for seed, number in enumerate(numbers)]
    expected_losses, expected = losses_and_gradients(stock, levels, drawn)
    losses, found = losses_and_gradients(ours, levels, drawn)
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_an_image_without_positive_boxes_adds_nothing() -> None:
    _, ours = both_heads(TINY, CHANNELS, CLASSES)
    levels = draw_levels(SIDE, CHANNELS, images=2)
    drawn = draw_sampling(9, 3, SIDE, CLASSES, 0)
    nothing = draw_sampling(0, 3, SIDE, CLASSES, 1)
    expected, _ = losses_and_gradients(ours, [level[:1] for level in levels], [drawn])
    losses, gradients = losses_and_gradients(ours, levels, [drawn, nothing])
    assert losses == pytest.approx(expected, rel=1e-5)
    assert all(gradients[f"level {n}"][1].abs().max() == 0 for n in range(5))


def test_no_positive_box_at_all_reaches_every_weight() -> None:
    _, ours = both_heads(TINY, CHANNELS, CLASSES)
    levels = draw_levels(SIDE, CHANNELS)
    losses, gradients = losses_and_gradients(ours, levels, [draw_sampling(0, 3, SIDE, CLASSES, 1)])
    assert losses == {"loss_mask": 0, "loss_point": 0}
    weights = {name for name, _ in ours.named_parameters() if name.startswith(("mask_head", "point_head"))}
    assert gradients.keys() == weights
    assert all(gradient.abs().max() == 0 for gradient in gradients.values())


def test_training_under_autocast_stays_near() -> None:
    _, ours = both_heads(TINY, CHANNELS, CLASSES)
    levels = draw_levels(SIDE, CHANNELS, images=2)
    drawn = [draw_sampling(9, 3, SIDE, CLASSES, seed) for seed in range(2)]
    expected, exact = losses_and_gradients(ours, levels, drawn)
    with torch.autocast("cpu", torch.bfloat16):
        losses, found = losses_and_gradients(ours, [level.bfloat16() for level in levels], drawn)
    assert losses == pytest.approx(expected, rel=0.05)
    assert found.keys() == exact.keys()


def test_targets_equal_mmdets(monkeypatch: pytest.MonkeyPatch) -> None:
    stock, _ = both_heads(TINY, CHANNELS, CLASSES)
    sampling, truth = draw_sampling(30, 7, SIDE, CLASSES, 2)
    beyond = draw_boxes(30, SIDE)
    sampling.pos_priors = sampling.pos_bboxes = beyond
    points = torch.rand(30, 100, 2)
    masks = torch.from_numpy(truth.masks.masks)
    soft = roi_head.point_targets(masks, beyond, sampling.pos_assigned_gt_inds, points)
    expected = stock.point_head.get_targets(bbox2roi([beyond]), points, [sampling], [truth], stock.train_cfg)
    assert 0.1 < expected.mean() < 0.9
    torch.testing.assert_close(soft, expected, rtol=0, atol=1e-4)
    inside = draw_boxes(30, SIDE, inside=True, seed=4)
    sampling.pos_priors = inside.clone()
    expected = stock.mask_head.get_targets([sampling], [truth], stock.train_cfg)
    for pixels in (1 << 24, 3 * SIDE * SIDE, 1):
        monkeypatch.setattr(roi_head, "MASK_PIXELS", pixels)
        found = roi_head.coarse_targets(masks, inside, sampling.pos_assigned_gt_inds, 7)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@torch.no_grad()
def test_predicted_masks_equal_mmdets(options: dict[str, Any]) -> None:
    stock, ours = both_heads(options, CHANNELS, CLASSES)
    predictor = PointRendPredictor.__new__(PointRendPredictor)
    predictor.detector = torch.nn.Module()
    predictor.detector.roi_head = ours.eval()
    levels = draw_levels(SIDE, CHANNELS, images=3)
    boxes = [draw_boxes(number, SIDE, seed=number) for number in (6, 0, 2)]
    labels = [torch.arange(len(each)) % CLASSES for each in boxes]
    found = predictor.masks(levels, boxes, labels)
    assert [len(each) for each in found] == [6, 0, 2]
    for image in (0, 2):
        own, rois = [level[image : image + 1] for level in levels], bbox2roi([boxes[image]])
        coarse = stock._mask_forward(own, rois)["mask_preds"]
        assert coarse.std() > 0.5
        expected = stock._mask_point_forward_test(own, rois, labels[image], coarse)
        expected = expected[torch.arange(len(rois)), labels[image]].sigmoid()
        assert ((found[image] - expected).abs() < 1e-4).float().mean() > 0.999
    assert [each.shape for each in predictor.masks(levels[:5], [boxes[1]] * 3, [labels[1]] * 3)] == [found[1].shape] * 3
