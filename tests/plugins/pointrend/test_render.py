"""Refinement of one class against mmdet's of all classes, and against the paper's algorithm written plainly."""

from typing import Any

import pytest
import torch
from mmcv.ops import point_sample
from mmdet.structures.bbox import bbox2roi
from pointrend_cases import P2, STRIDES, TINY, both_heads, draw_boxes, draw_levels, refine_plainly
from torch import Tensor

from fineseg_pointrend.lattice import corners
from fineseg_pointrend.render import _Batch, point_field, refine, sample_grid

CHANNELS, CLASSES = 12, 6


def with_points(options: dict[str, Any], **points: int) -> dict[str, Any]:
    return {**TINY, **options, "points": {**TINY["points"], **points}}


CASES = {
    "m1": with_points({}),
    "m4": with_points({}, layers=5, width=32),
    "coco": with_points(P2, test=7),
    "one layer": with_points({}, layers=1),
    "every point": with_points({}, test=70, steps=3),
}


def drawn(number: int, images: int = 1, side: int = 136) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Draw feature maps, boxes, labels and coarse logits."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(number, CLASSES, 7, 7, generator=generator) * 2
    labels = torch.randint(CLASSES, (number,), generator=generator)
    return draw_levels(side, CHANNELS, images=images), draw_boxes(number, side), labels, coarse


def rendered(head: Any, levels: list[Tensor], boxes: Tensor, labels: Tensor, coarse: Tensor, images: Tensor) -> Tensor:
    used, settings = levels[: head.mask_roi_extractor.num_inputs], head.test_cfg
    return refine(
        used,
        STRIDES[: len(used)],
        boxes,
        images,
        labels,
        coarse,
        head.point_weights(),
        steps=settings.subdivision_steps,
        points=settings.subdivision_num_points,
    )


@pytest.mark.parametrize("number", [9, 1])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@torch.no_grad()
def test_equals_mmdet(options: dict[str, Any], number: int) -> None:
    stock, ours = both_heads(options, CHANNELS, CLASSES)
    levels, boxes, labels, coarse = drawn(number)
    found = rendered(ours, levels, boxes, labels, coarse, torch.zeros(number, dtype=torch.long))
    expected = stock._mask_point_forward_test(levels, bbox2roi([boxes]), labels, coarse)
    expected = expected[torch.arange(number), labels]
    assert found.shape == expected.shape == (number, *[7 << ours.test_cfg.subdivision_steps] * 2)
    assert expected.std() > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@torch.no_grad()
def test_logits_at_given_points_equal_mmdets(options: dict[str, Any]) -> None:
    stock, ours = both_heads(options, CHANNELS, CLASSES)
    levels, boxes, labels, coarse = drawn(5)
    points = torch.rand(5, 33, 2)
    used = levels[: ours.mask_roi_extractor.num_inputs]
    images = torch.zeros(5, dtype=torch.long)
    field = point_field(used, STRIDES[: len(used)], boxes, images, labels, coarse, ours.point_weights())
    found = field.logits(*corners(*field.axes(*points.unbind(-1))), field.own_row)
    fine = stock._get_fine_grained_point_feats(levels, bbox2roi([boxes]), points)
    expected = stock.point_head(fine, point_sample(coarse, points))[torch.arange(5), labels]
    assert expected.std() > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_equals_the_plain_algorithm_in_double_precision() -> None:
    _, ours = both_heads(CASES["m1"], CHANNELS, CLASSES)
    ours.double()
    levels, boxes, labels, coarse = drawn(9)
    wide = [level.double() for level in levels], boxes.double(), labels, coarse.double()
    found = rendered(ours, *wide, torch.zeros(9, dtype=torch.long))
    expected = refine_plainly(wide[0], STRIDES, *wide[1:], ours.point_weights(), steps=4, points=400)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_several_images_at_once() -> None:
    _, ours = both_heads(CASES["m1"], CHANNELS, CLASSES)
    levels, boxes, labels, coarse = drawn(9, images=3)
    images = torch.tensor([2, 0, 2, 2, 0, 0, 0, 2, 0])
    found = rendered(ours, levels, boxes, labels, coarse, images)
    for image in (0, 2):
        own = images == image
        alone = rendered(
            ours, [level[image : image + 1] for level in levels], boxes[own], labels[own], coarse[own], images[own] * 0
        )
        torch.testing.assert_close(found[own], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_more_boxes_than_are_refined_together(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = both_heads(CASES["m1"], CHANNELS, CLASSES)
    inputs = *drawn(5), torch.zeros(5, dtype=torch.long)
    expected = rendered(ours, *inputs)
    for rois, points in ((2, 170), (3, 1000), (1, 90)):
        monkeypatch.setattr("fineseg_pointrend.render.ON_CPU", _Batch(rois, points))
        torch.testing.assert_close(rendered(ours, *inputs), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_no_box() -> None:
    _, ours = both_heads(CASES["m1"], CHANNELS, CLASSES)
    levels, boxes, labels, coarse = drawn(2)
    found = rendered(ours, levels, boxes[:0], labels[:0], coarse[:0], torch.zeros(0, dtype=torch.long))
    assert found.shape == (0, 112, 112)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_lower_precision_paints_nearly_the_same_masks(precision: torch.dtype) -> None:
    _, ours = both_heads(CASES["m1"], CHANNELS, CLASSES)
    levels, boxes, labels, coarse = drawn(9)
    images = torch.zeros(9, dtype=torch.long)
    exact = rendered(ours, levels, boxes, labels, coarse, images)
    ours.to(precision)
    found = rendered(ours, [level.to(precision) for level in levels], boxes, labels, coarse.to(precision), images)
    assert found.dtype == torch.float32
    assert ((found > 0) == (exact > 0)).float().mean() > 0.97
    assert (found - exact).abs().mean() < 0.05


@pytest.mark.parametrize("number", [1, 40], ids=["samples mapped", "maps mapped"])
@torch.no_grad()
def test_grid_of_samples_equals_mmdets(number: int) -> None:
    stock, _ = both_heads(CASES["m1"], CHANNELS, CLASSES)
    levels, boxes = draw_levels(136, CHANNELS, images=2), draw_boxes(number, 136)
    images = torch.arange(number) % 2
    rois = torch.cat([images[:, None].float(), boxes], dim=1)[images.argsort()]
    features = stock.mask_roi_extractor(levels, rois)
    found = sample_grid(levels, STRIDES, rois[:, 1:], rois[:, 0], 14)
    torch.testing.assert_close(found, features, rtol=0, atol=1e-4)
    conv = stock.mask_head.convs[0].conv
    found = sample_grid(levels, STRIDES, rois[:, 1:], rois[:, 0], 14, conv.weight.flatten(1), conv.bias)
    torch.testing.assert_close(found, conv(features), rtol=0, atol=1e-4)
