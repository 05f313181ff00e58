"""Bilinear sampling of feature maps at points of boxes, as sums of rows of a table.

Conventions are those of `grid_sample(align_corners=False)` with zero padding: pixel i of a map of stride s has its
centre at (i + 0.5) * s image pixels, and the map is zero from one pixel beyond its border on.

Sampling and linear maps commute, so a linear map of sampled vectors is applied to the feature maps before. Coarser
levels are then added up on one lattice: a bilinear map is bilinear on every refinement of its own cells, and the pixel
centres of strides that double lie on multiples of half the finest. A vector of their sum takes four rows.

Letters: B images, C channels, H and W height and width of a map, L levels, T lattices, R boxes, S positions along an
axis of a box, N rows of the table, D outputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad


@dataclass(frozen=True)
class Lattice:
    """Vectors at `height` x `width` nodes of each image, `step` image pixels apart from (`left`, `top`) on.

    They are rows of a table from `start` on, image after image in raster order; beyond the nodes they are zero.
    """

    height: int
    width: int
    left: float
    top: float
    step: float
    start: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class Axis:
    """The two nodes around positions along one axis of T lattices: `index` (int32) and `weight`, both [..., T, 2]."""

    index: Tensor
    weight: Tensor

    def __getitem__(self, where: "slice | tuple[slice | None, ...]") -> "Axis":
        return Axis(self.index[where], self.weight[where])

    def take(self, positions: Tensor) -> "Axis":
        """Return positions [M] of the flattened ones: [M, T, 2]."""
        return Axis(self.index.flatten(0, -3)[positions], self.weight.flatten(0, -3)[positions])


def axes(x: Tensor, y: Tensor, sizes: Sequence[tuple[int, int]], start: Tensor) -> tuple[Axis, Axis]:
    """Return the axes of positions x and y [..., T], in nodes, on lattices of (height, width) `sizes`.

    The indices of both add up to rows of the table, where the lattices begin at `start` [..., T].
    """
    heights, widths = zip(*sizes, strict=True)
    down = _neighbours(y, heights)
    rows = down.index * start.new_tensor(widths)[:, None] + start[..., None]
    return _neighbours(x, widths), Axis(rows, down.weight)


def _neighbours(position: Tensor, counts: Sequence[int]) -> Axis:
    low = position.floor()
    node = torch.stack([low, low + 1], dim=-1)
    part = position - low
    inside = node.clamp(min=0).minimum(position.new_tensor(counts)[:, None] - 1)
    return Axis(inside.int(), torch.stack([1 - part, part], dim=-1) * (inside == node))


def corners(x: Axis, y: Axis) -> tuple[Tensor, Tensor]:
    """Return the rows [..., 4 T] around points and their weights, from axes that broadcast."""
    index = y.index[..., :, None] + x.index[..., None, :]
    weight = y.weight[..., :, None] * x.weight[..., None, :]
    return index.flatten(-3), weight.flatten(-3)


def cell_centres(side: int, like: Tensor) -> Tensor:
    """Return the centres [side] of a box's cells along one axis, in 0..1."""
    return (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side


def positions(boxes: Tensor, relative: tuple[Tensor, Tensor], lattices: Sequence[Lattice]) -> tuple[Tensor, Tensor]:
    """Return x and y [R, S, T], in nodes, of `relative` x and y [S] or [R, S], which are 0..1 inside boxes [R, 4]."""
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    x = relative[0] * (right - left) + left
    y = relative[1] * (bottom - top) + top
    columns, rows, steps = boxes.new_tensor([(each.left, each.top, each.step) for each in lattices]).unbind(1)
    return (x[..., None] - columns) / steps, (y[..., None] - rows) / steps


def first_rows(images: Tensor, lattices: Sequence[Lattice]) -> Tensor:
    """Return where in the table the lattices of images [R] (int32) begin: [R, T]."""
    sizes, starts = images.new_tensor([(each.height * each.width, each.start) for each in lattices]).unbind(1)
    return images[:, None] * sizes + starts


class Reach(NamedTuple):
    """The image pixels between the outermost edges of some boxes."""

    left: float
    top: float
    right: float
    bottom: float


def reach_of(boxes: Tensor) -> Reach:
    """Return how far boxes [R, 4], at least one, reach."""
    return Reach(*torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)]).tolist())


class _Level(NamedTuple):
    map: Tensor
    stride: int
    weight: Tensor | None


def tabulate(
    levels: Sequence[Tensor], strides: Sequence[int], reach: Reach
) -> tuple[list[Tensor], tuple[Lattice, ...]]:
    """Return the rows [N, C] of each level, as far as boxes reach, and the lattices of each table alone."""
    found = [_alone(_Level(level, stride, None), reach) for level, stride in zip(levels, strides, strict=True)]
    return [rows.flatten(0, 2) for rows, _ in found], tuple(lattice for _, lattice in found)


def project(
    levels: Sequence[Tensor], strides: Sequence[int], weight: Tensor, reach: Reach
) -> tuple[list[Tensor], tuple[Lattice, ...]]:
    """Apply a linear map [D, L * C] of concatenated levels to the levels, as far as boxes reach.

    levels: maps [B, C, H, W], finest first. Returns the rows [N, D] of each lattice, and the lattices of these rows
    concatenated. What is sampled from all lattices adds up to the linear map of the levels sampled and concatenated.
    """
    weights = weight.split_with_sizes([level.shape[1] for level in levels], dim=1)
    parts = [_Level(*each) for each in zip(levels, strides, weights, strict=True)]
    tables: list[Tensor] = []
    lattices: list[Lattice] = []
    start = 0
    for group in _groups(parts):
        rows, lattice = _alone(group[0], reach) if len(group) == 1 else _together(group, reach)
        tables.append(rows.flatten(0, 2))
        lattices.append(replace(lattice, start=start))
        start += len(tables[-1])
    return tables, tuple(lattices)


def nodes_of(levels: Sequence[Tensor], strides: Sequence[int], reach: Reach) -> int:
    """Return the number of pixels of all levels of all images that boxes reach."""
    return sum(
        level.shape[0] * (bottom - top + 1) * (right - left + 1)
        for level, stride in zip(levels, strides, strict=True)
        for (top, bottom), (left, right) in [_pixels(level, stride, reach)]
    )


def _groups(levels: list[_Level]) -> list[list[_Level]]:
    """Keep the finest two alone, whose common lattice would be large, and the others together where strides nest."""
    fine, coarse = levels[:2], levels[2:]
    nested = all(b.stride % (2 * a.stride) == 0 for a, b in pairwise(coarse))
    together = [coarse] if nested and coarse else [[level] for level in coarse]
    return [*([level] for level in fine), *together]


def _alone(level: _Level, reach: Reach) -> tuple[Tensor, Lattice]:
    """Project one level: rows [B, h, w, D] at its pixels."""
    (top, bottom), (left, right) = _pixels(level.map, level.stride, reach)
    rows = _mapped(level.map[:, :, top : bottom + 1, left : right + 1], level.weight)
    centre = level.stride / 2
    return rows, Lattice(
        rows.shape[1], rows.shape[2], left * level.stride + centre, top * level.stride + centre, level.stride
    )


def _together(levels: list[_Level], reach: Reach) -> tuple[Tensor, Lattice]:
    """Project levels and add them up: rows [B, h, w, D] at multiples of half the finest stride.

    The lattice begins and ends at pixel centres of the coarsest level, at most one pixel beyond its border.
    """
    stride = levels[-1].stride
    below, beside = (max(_first_zero(level, axis, stride) for level in levels) for axis in (2, 3))
    top, bottom = _nodes(reach.top, reach.bottom, stride, -1, below)
    left, right = _nodes(reach.left, reach.right, stride, -1, beside)
    top, left = min(top, bottom - 1), min(left, right - 1)
    total = _mapped(_cut(levels[-1].map, top, bottom + 1, left, right + 1), levels[-1].weight)
    step = stride
    for level in reversed(levels[:-1]):
        # From its last pixel before the first node to its first after the last one.
        ratio = stride // level.stride
        before, after = ratio // 2 - 1, ratio // 2 + 1
        window = (top * ratio + before, bottom * ratio + after, left * ratio + before, right * ratio + after)
        own = _denser(_mapped(_cut(level.map, *window), level.weight), 2)[:, 1:-1, 1:-1]
        total = _denser(total, step * 2 // level.stride) + own
        step = level.stride // 2
    return total, Lattice(total.shape[1], total.shape[2], (left + 0.5) * stride, (top + 0.5) * stride, step)


def _pixels(level: Tensor, stride: int, reach: Reach) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first and the last row, and the first and the last column, of a level that boxes reach."""
    height, width = level.shape[2:]
    return (
        _nodes(reach.top, reach.bottom, stride, 0, height - 1),
        _nodes(reach.left, reach.right, stride, 0, width - 1),
    )


def _nodes(low: float, high: float, stride: int, first: int, last: int) -> tuple[int, int]:
    """Return the first and the last pixel that points from `low` to `high` are interpolated from, in bounds."""
    start = min(max(math.floor(low / stride - 0.5), first), last)
    return start, min(max(math.floor(high / stride - 0.5) + 1, start), last)


def _first_zero(level: _Level, axis: int, stride: int) -> int:
    """Return the first pixel of a coarser stride from whose centre on a level is zero."""
    return math.ceil((level.map.shape[axis] * level.stride + (level.stride - stride) / 2) / stride)


def _cut(level: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Cut a window out of maps [B, C, H, W], with zeros where it leaves them."""
    inside = level[:, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    above, before = min(max(-top, 0), bottom - top), min(max(-left, 0), right - left)
    below, after = bottom - top - above - inside.shape[2], right - left - before - inside.shape[3]
    return pad(inside, (before, after, above, below)) if above or below or before or after else inside


def _mapped(level: Tensor, weight: Tensor | None) -> Tensor:
    """Apply a linear map [D, C], or none, to each pixel of maps [B, C, h, w]: [B, h, w, D]."""
    if weight is None:
        return level.permute(0, 2, 3, 1).contiguous()
    rows = torch.matmul(level.flatten(2).transpose(1, 2), weight.t())
    return rows.view(len(level), *level.shape[2:], len(weight))


def _denser(rows: Tensor, times: int) -> Tensor:
    """Put nodes between those of a lattice [B, h, w, D], which stay: [B, (h - 1) * times + 1, ..., D]."""
    size = [(side - 1) * times + 1 for side in rows.shape[1:3]]
    planes = interpolate(rows.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=True)
    return planes.permute(0, 2, 3, 1)
