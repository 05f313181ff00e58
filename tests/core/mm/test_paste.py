"""Pasting against mmdet's own, to the pixel, and our RLE text against pycocotools'."""

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from pycocotools import mask as coco_mask

from fineseg.data.masks import decode, encode
from fineseg.mm.paste import compress, paste_to_rle

HEIGHT, WIDTH = 37, 53


def stock(probabilities: torch.Tensor, boxes: torch.Tensor, threshold: float = 0.5) -> list[bytes]:
    """Paste whole planes with mmdet, keep what lies at most a pixel outside the box as it does on a CPU, and encode."""
    planes, _ = _do_paste_mask(probabilities[:, None], boxes, HEIGHT, WIDTH, skip_empty=False)
    found = []
    for plane, (left, top, right, bottom) in zip((planes > threshold).numpy(), boxes.tolist(), strict=True):
        rows, columns = np.arange(HEIGHT), np.arange(WIDTH)
        plane[(rows < np.floor(top) - 1) | (rows >= np.ceil(bottom) + 1)] = False
        plane[:, (columns < np.floor(left) - 1) | (columns >= np.ceil(right) + 1)] = False
        found.append(encode(plane))
    return found


def draw(number: int, side: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(number, 2, generator=generator) * 60 - 10
    size = torch.rand(number, 2, generator=generator) * 40 + 0.3
    return torch.rand(number, side, side, generator=generator), torch.cat([corner, corner + size], dim=1)


@pytest.mark.parametrize("threshold", [0.5, 0.35, 0.8])
@pytest.mark.parametrize("side", [1, 7, 28, 112])
def test_equals_mmdet_on_random_boxes(side: int, threshold: float) -> None:
    probabilities, boxes = draw(40, side)
    assert paste_to_rle(probabilities, boxes, HEIGHT, WIDTH, threshold) == stock(probabilities, boxes, threshold)


def test_equals_mmdet_where_probabilities_lie_at_the_threshold() -> None:
    """Rounding decides, and the window's first step rounds otherwise than grid_sample."""
    probabilities, boxes = draw(60, 9, seed=2)
    probabilities = 0.5 + (probabilities - 0.5).round() * 1e-7
    assert paste_to_rle(probabilities, boxes, HEIGHT, WIDTH, 0.5) == stock(probabilities, boxes)


@pytest.mark.parametrize(
    "box", [(0, 0, WIDTH, HEIGHT), (-9, -9, WIDTH + 9, HEIGHT + 9), (3.5, -20, 40.2, 60), (-20, 3.5, 80, 30)], ids=str
)
def test_boxes_of_whole_columns_and_rows(box: tuple[float, ...]) -> None:
    """Runs meet where a column ends and the next begins."""
    probabilities = torch.cat([torch.ones(1, 28, 28), draw(5, 28)[0]])
    boxes = torch.tensor([box] * 6)
    assert paste_to_rle(probabilities, boxes, HEIGHT, WIDTH, 0.5) == stock(probabilities, boxes)


def test_full_mask_fills_its_box() -> None:
    (counts,) = paste_to_rle(torch.ones(1, 4, 4), torch.tensor([[10.0, 5.0, 20.0, 9.0]]), HEIGHT, WIDTH, 0.5)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[5:9, 10:20] = True
    assert np.array_equal(decode(counts, HEIGHT, WIDTH), expected)


def test_nothing_and_outside() -> None:
    assert paste_to_rle(torch.zeros(0, 4, 4), torch.zeros(0, 4), HEIGHT, WIDTH, 0.5) == []
    empty = encode(np.zeros((HEIGHT, WIDTH), dtype=bool))
    boxes = torch.tensor([[-50.0, -50.0, -20.0, -20.0], [5.0, 5.0, 5.0, 5.0], [90.0, 5.0, 99.0, 9.0]])
    assert paste_to_rle(torch.ones(3, 4, 4), boxes, HEIGHT, WIDTH, 0.5) == [empty] * 3


def test_threshold_is_strict() -> None:
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    (counts,) = paste_to_rle(torch.full((1, 4, 4), 0.5), box, HEIGHT, WIDTH, 0.5)
    assert not decode(counts, HEIGHT, WIDTH).any()


@pytest.mark.parametrize("longest", [3, 40, 5_000, 2**31])
def test_text_equals_pycocotools(longest: int) -> None:
    rng = np.random.default_rng(0)
    runs = [rng.integers(1, longest, rng.integers(1, 60)) for _ in range(50)]
    for each in runs[::3]:
        each[0] = 0
    expected = [
        coco_mask.frPyObjects({"size": [1, int(each.sum())], "counts": each.tolist()}, 1, int(each.sum()))["counts"]
        for each in runs
        if each.sum() < 2**31
    ]
    assert expected
    assert compress([each for each in runs if each.sum() < 2**31]) == expected
