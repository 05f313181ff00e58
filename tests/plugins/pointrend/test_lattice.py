"""Tables of projected maps against grid_sample of the maps themselves."""

import pytest
import torch
from pointrend_cases import draw_boxes, sample_plainly
from torch import Tensor
from torch.nn.functional import embedding_bag

from fineseg_pointrend.lattice import axes, corners, first_rows, nodes_of, positions, project, reach_of

SIDES = {"nested": (4, 8, 16, 32, 64), "p2": (4,), "two": (4, 8), "not nested": (4, 12, 18), "wide": (2, 16, 64)}


def maps(side: tuple[int, int], strides: tuple[int, ...], images: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    sides = [[-(-each // stride) for each in side] for stride in strides]
    return [torch.randn(images, 5, *each, generator=generator, dtype=torch.float64) for each in sides]


def sampled(
    levels: list[Tensor], strides: tuple[int, ...], weight: Tensor, boxes: Tensor, images: Tensor, points: Tensor
) -> Tensor:
    tables, lattices = project(levels, strides, weight, reach_of(boxes))
    at = positions(boxes, points.unbind(-1), lattices)
    index, weights = corners(*axes(*at, [each.size for each in lattices], first_rows(images, lattices)[:, None]))
    found = embedding_bag(index.flatten(0, 1), torch.cat(tables), mode="sum", per_sample_weights=weights.flatten(0, 1))
    return found.view(*points.shape[:2], -1)


@pytest.mark.parametrize("strides", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("side", [(128, 192), (100, 101), (33, 7)], ids=str)
def test_equals_grid_sample_of_all_levels(strides: tuple[int, ...], side: tuple[int, int]) -> None:
    levels = maps(side, strides, images=2)
    weight = torch.randn(7, 5 * len(strides), dtype=torch.float64)
    boxes = draw_boxes(9, max(side)).double()
    images = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1, 1], dtype=torch.int32)
    points = torch.rand(9, 30, 2, dtype=torch.float64)
    points[:, 0], points[:, 1] = 0, 1
    found = sampled(levels, strides, weight, boxes, images, points)
    for n, image in enumerate(images.tolist()):
        own = [level[image : image + 1] for level in levels]
        features = sample_plainly(own, strides, boxes[n : n + 1], points[n : n + 1])
        torch.testing.assert_close(found[n], features[0].t() @ weight.t(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("at", [(-300, -300), (60, -300), (500, 60), (60, 500), (127, 127), (-3, -3)])
def test_one_small_box_anywhere(at: tuple[int, int]) -> None:
    """The table is cut to the one box: its edges must not show."""
    strides = SIDES["nested"]
    levels = maps((128, 128), strides, images=1)
    weight = torch.randn(7, 25, dtype=torch.float64)
    boxes = torch.tensor([[*at, at[0] + 3.0, at[1] + 4.0]], dtype=torch.float64)
    points = torch.rand(1, 40, 2, dtype=torch.float64)
    found = sampled(levels, strides, weight, boxes, torch.zeros(1, dtype=torch.int32), points)
    features = sample_plainly(levels, strides, boxes, points)
    torch.testing.assert_close(found[0], features[0].t() @ weight.t(), rtol=0, atol=1e-10)
    assert nodes_of(levels, strides, reach_of(boxes)) < 30
