"""Masks over the whole image to RLE, against torch's scaling of whole planes and pycocotools' encoding."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from fineseg import OneStagePredictor
from fineseg.data.masks import decode
from fineseg.mm.one_stage import instances_at_once, maps_to_rle
from fineseg.mm.views import Frame
from fineseg.profile.schema import PredictTable

FRAMES = {
    "same": Frame((96, 128), (96, 128)),
    "up": Frame((150, 201), (75, 100)),
    "down": Frame((40, 33), (127, 96)),
    "odd": Frame((61, 47), (93, 70)),
    "one pixel": Frame((1, 1), (33, 31)),
}


def cells(frame: Frame, stride: int = 4) -> tuple[int, int]:
    height, width = (-(-side // 32) * 32 // stride for side in frame.size)
    return height, width


def draw(number: int, frame: Frame, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(number, *cells(frame), generator=generator)
    return (avg_pool2d(noise[:, None], 5, 1, 2)[:, 0] * 8 - 1).sigmoid()


def stock(maps: Tensor, frame: Frame, threshold: float) -> list[bytes]:
    """Scale whole planes as mmdet's SOLOv2 does, mirror and encode them.

    One at a time: torch rounds small planes otherwise where there are more of them.
    """
    height, width = (-(-side // 32) * 32 for side in frame.size)
    axes = [axis for axis, mirrored in ((1, frame.horizontal), (0, frame.vertical)) if mirrored]
    found = []
    for one in maps:
        plane = interpolate(one[None, None], (height, width), mode="bilinear", align_corners=False)
        plane = plane[:, :, : frame.size[0], : frame.size[1]]
        plane = interpolate(plane, frame.original, mode="bilinear", align_corners=False)[0, 0] > threshold
        found.append(coco_mask.encode(np.asfortranarray(plane.flip(axes).numpy(), dtype=np.uint8))["counts"])
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9])
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_equals_torch_and_pycocotools(frame: Frame, threshold: float) -> None:
    maps = draw(40, frame)
    expected = stock(maps, frame, threshold)
    assert maps_to_rle(maps, frame, threshold) == expected
    assert len(set(expected)) > 1 or frame.original == (1, 1)


@pytest.mark.parametrize("sides", [(True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize("name", ["up", "odd"])
def test_mirrored_views_come_back_upright(name: str, sides: tuple[bool, bool]) -> None:
    frame = Frame(FRAMES[name].original, FRAMES[name].size, *sides)
    maps = draw(20, frame)
    assert maps_to_rle(maps, frame, 0.5) == stock(maps, frame, 0.5)
    assert maps_to_rle(maps, frame, 0.5) != maps_to_rle(maps, FRAMES[name], 0.5)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_pixels_at_the_threshold_are_decided_as_torch_does(frame: Frame) -> None:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 9, (20, *cells(frame)), generator=generator) / 8
    even = torch.full((1, *cells(frame)), 0.3)
    for maps, threshold in ((coarse, 0.5), (coarse, 0.375), (even, even.max().item())):
        assert maps_to_rle(maps, frame, threshold) == stock(maps, frame, threshold)


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_single_cells_edges_and_emptiness(stride: int) -> None:
    frame = FRAMES["odd"]
    height, width = cells(frame, stride)
    places = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (height // 2, width // 2)]
    maps = torch.zeros(len(places) + 2, height, width)
    for one, place in zip(maps, places, strict=False):
        one[place] = 1.0
    maps[-1] = 1.0
    found = maps_to_rle(maps, frame, 0.2)
    assert found == stock(maps, frame, 0.2)
    areas = [decode(counts, *frame.original).sum() for counts in found]
    assert areas[0] > 0 and areas[-2] == 0 and areas[-1] == 61 * 47


def test_no_mask() -> None:
    assert maps_to_rle(torch.zeros(0, 8, 8), FRAMES["up"], 0.5) == []


class Drawn:
    """Says the same of every image."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        self.asked: list[object] = []

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        return [images]

    def instances(
        self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]], **settings: float
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        self.asked += [*sizes, settings]
        number = len(self.maps)
        return [(torch.arange(number), torch.linspace(1, 0.5, number), self.maps)]


def test_instances_have_the_tight_boxes_of_their_masks() -> None:
    frame = FRAMES["up"]
    predictor = Drawn(draw(9, frame))
    assert isinstance(predictor, OneStagePredictor)
    predict = PredictTable(score_threshold=0.2, mask_threshold=0.6, max_per_image=9)
    found = instances_at_once(predictor, [], frame, 7, predict)
    assert predictor.asked == [frame.size, {"score_threshold": 0.2, "mask_threshold": 0.6, "max_per_image": 9}]
    assert (found.image_id, found.height, found.width, len(found)) == (7, 150, 201, 9)
    for counts, box in zip(found.masks, found.boxes, strict=True):
        rows, columns = np.nonzero(decode(counts, 150, 201))
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_no_instance() -> None:
    found = instances_at_once(Drawn(torch.zeros(0, 24, 32)), [], FRAMES["up"], 7, PredictTable())
    assert len(found) == 0 and found.boxes.shape == (0, 4)
