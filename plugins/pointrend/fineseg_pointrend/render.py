"""PointRend's refinement (arXiv 1912.08193, section 3.1) of the predicted class alone, on plain tensors.

The result is that of evaluating the point head on every point's concatenated features, for less work:

* Of a RoI only one class is ever read, so one plane is kept and one row of the last layer applied.
* Bilinear sampling and linear maps commute, so the first layer is applied to the feature maps, and every layer's share
  of the coarse logits to the coarse map. What a point needs is then a sum of a few rows of a table.

Letters: B images, R RoIs, P points of a RoI, C channels of a feature map, L levels, K classes, D width of the point
head, G side of the coarse mask, S side of a finer one, T lattices of the feature maps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, interpolate, linear, pad

from fineseg_pointrend.lattice import (
    Axis,
    Lattice,
    axes,
    cell_centres,
    corners,
    first_rows,
    nodes_of,
    positions,
    project,
    reach_of,
    tabulate,
)


class _Batch(NamedTuple):
    """RoIs whose planes are refined together, and points that go through the point head together."""

    rois: int
    points: int


ON_CPU = _Batch(24, 1 << 14)
"""What stays in the caches."""
ON_GPU = _Batch(128, 1 << 17)
"""What keeps a GPU busy and its memory free."""


def sample_grid(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    side: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Return what lies at the S x S cell centres of boxes, all levels concatenated: [R, L * C, S, S] in channels-last.

    Boxes and images as `refine`'s, R at least 1. With `weight` [D, L * C] and `bias` [D] a 1x1 convolution is applied,
    [R, D, S, S]: to the feature maps where they have fewer pixels than there are samples, else to the samples.
    """
    reach = reach_of(boxes)
    centres = cell_centres(side, boxes)
    images = images.int()
    if weight is not None and nodes_of(levels, strides, reach) < len(boxes) * side * side * len(levels):
        maps, lattices = project(levels, strides, weight, reach)
        found = _sample_cells(torch.cat(maps) if len(maps) > 1 else maps[0], lattices, boxes, images, centres)
        found = found if bias is None else found + bias
    else:
        tables, alone = tabulate(levels, strides, reach)
        samples = [
            _sample_cells(rows, (lattice,), boxes, images, centres) for rows, lattice in zip(tables, alone, strict=True)
        ]
        found = torch.cat(samples, dim=1) if len(samples) > 1 else samples[0]
        found = found if weight is None else linear(found, weight, bias)
    return found.view(len(boxes), side, side, -1).permute(0, 3, 1, 2)


def _sample_cells(
    rows: Tensor, lattices: tuple[Lattice, ...], boxes: Tensor, images: Tensor, centres: Tensor
) -> Tensor:
    at = positions(boxes, (centres, centres), lattices)
    x, y = axes(*at, [lattice.size for lattice in lattices], first_rows(images, lattices)[:, None])
    index, weight = corners(x[:, None], y[:, :, None])
    index, weight = index.flatten(0, -2), weight.flatten(0, -2).to(rows.dtype)
    return embedding_bag(index, rows, mode="sum", per_sample_weights=weight)


@dataclass(frozen=True)
class PointLayer:
    """One layer of the point head: `own` [D, I] maps what lies below, `coarse` [D, K] the coarse logits; `bias` [D]."""

    own: Tensor
    coarse: Tensor
    bias: Tensor


@dataclass(frozen=True)
class PointHead:
    """The point head: `hidden` layers with ReLU, the first on L * C fine features; `logits` has a row a class."""

    hidden: tuple[PointLayer, ...]
    logits: PointLayer


@dataclass(frozen=True)
class PointField:
    """What the logits of points of R RoIs are computed from; V = (G + 2)^2 are a RoI's coarse cells and a ring.

    `rows` [N, D] are the first layer's: projected feature maps, and from `ring_start` on the RoIs' V shares each.
    `shares` [R * V, D]: those of the other layers. `own_share` [R * V] and `own_row` [R, D, 1]: of a RoI's class in
    the last layer. Shares hold the biases.
    """

    boxes: Tensor
    images: Tensor
    lattices: tuple[Lattice, ...]
    side: int
    rows: Tensor
    ring_start: int
    matrices: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    own_row: Tensor
    own_share: Tensor

    def axes(self, x: Tensor, y: Tensor) -> tuple[Axis, Axis]:
        """Return the axes [R, S, T + 1, 2] of positions [S] or [R, S] in 0..1 of the boxes, the coarse map's last."""
        rois, ring = len(self.boxes), self.side + 2
        at = positions(self.boxes, (x, y), self.lattices)
        in_ring = ((each * self.side + 0.5).expand(rois, -1)[..., None] for each in (x, y))
        at_x, at_y = (torch.cat(both, dim=-1) for both in zip(at, in_ring, strict=True))
        sizes = [*(lattice.size for lattice in self.lattices), (ring, ring)]
        number = torch.arange(rois, dtype=torch.int32, device=x.device)[:, None]
        start = torch.cat([first_rows(self.images, self.lattices), self.ring_start + number * (ring * ring)], dim=1)
        return axes(at_x, at_y, sizes, start[:, None])

    def logits(self, index: Tensor, weight: Tensor, own_row: Tensor) -> Tensor:
        """Return logits [r, P] at the corners `index` with `weight` [r, P, 4 T + 4], of r RoIs with their `own_row`."""
        rois, count = index.shape[:2]
        index, weight = index.flatten(0, 1), weight.flatten(0, 1).to(self.rows.dtype)
        coarse_index, coarse_weight = index[:, -4:] - self.ring_start, weight[:, -4:].contiguous()
        found = embedding_bag(index, self.rows, mode="sum", per_sample_weights=weight).relu_()
        for matrix, share in zip(self.matrices, self.shares, strict=True):
            below = found
            found = embedding_bag(coarse_index, share, mode="sum", per_sample_weights=coarse_weight)
            found = found.addmm_(below, matrix).relu_()
        own_share = (self.own_share[coarse_index.long()] * coarse_weight).sum(dim=1)
        return torch.bmm(found.view(rois, count, -1), own_row)[..., 0] + own_share.view(rois, count)


def point_field(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    labels: Tensor,
    coarse: Tensor,
    head: PointHead,
) -> PointField:
    """Prepare the points of R RoIs, at least one; arguments as `refine`'s. Differentiable."""
    # The ring is grid_sample's zero padding; with it all weights add up to one, so that biases may lie in the shares.
    ringed = pad(coarse, (1, 1, 1, 1)).flatten(2)
    inputs = ringed.transpose(1, 2)
    cells = inputs.flatten(0, 1)
    shares = [torch.addmm(layer.bias, cells, layer.coarse.t()) for layer in head.hidden]
    own_share = torch.baddbmm(head.logits.bias[labels][:, None, None], inputs, head.logits.coarse[labels][:, :, None])
    maps, lattices = project(levels, strides, head.hidden[0].own, reach_of(boxes))
    return PointField(
        boxes=boxes,
        images=images.int(),
        lattices=lattices,
        side=coarse.shape[-1],
        rows=torch.cat([*maps, shares[0]]),
        ring_start=sum(map(len, maps)),
        matrices=tuple(layer.own.t().to(shares[0].dtype) for layer in head.hidden[1:]),
        shares=tuple(shares[1:]),
        own_row=head.logits.own[labels][:, :, None],
        own_share=own_share.flatten(),
    )


def refine(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    labels: Tensor,
    coarse: Tensor,
    head: PointHead,
    *,
    steps: int,
    points: int,
) -> Tensor:
    """Return logits [R, S, S] of each RoI's own class, S = G * 2^steps; float32 for lower precisions too.

    levels: feature maps [B, C, H, W], finest first, whose pixels are `strides` image pixels wide; boxes [R, 4] in image
    pixels, which they may leave (features are zero there), images [R] their numbers, labels [R]; coarse logits
    [R, K, G, G]. Every step doubles the mask and evaluates the head at the `points` most uncertain of its pixels; a
    step before the last is left to interpolation where the next evaluates every pixel. All floats but boxes of one
    type.
    """
    grid = coarse.shape[-1]
    batch = ON_CPU if coarse.device.type == "cpu" else ON_GPU
    precise = torch.promote_types(coarse.dtype, torch.float32)
    refined = coarse.new_empty(len(boxes), grid << steps, grid << steps, dtype=precise)
    if not len(boxes):
        return refined
    own = coarse[torch.arange(len(labels), device=labels.device), labels].to(precise)
    sides = [grid << step for step in range(1, steps + 1)]
    sides = [side for side in sides if points < 4 * side * side or side == sides[-1]]
    field = point_field(levels, strides, boxes, images, labels, coarse, head)
    refined_at = {side: field.axes(*[cell_centres(side, boxes)] * 2) for side in sides}
    for start in range(0, len(boxes), batch.rois):
        group = slice(start, start + batch.rois)
        plane = own[group]
        for step in range(1, steps + 1):
            plane = interpolate(plane[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
            side = grid << step
            if side in refined_at:
                x, y = (axis[group] for axis in refined_at[side])
                _refine_plane(plane, field, x, y, field.own_row[group], points, batch.points)
        refined[group] = plane
    return refined


def _refine_plane(plane: Tensor, field: PointField, x: Axis, y: Axis, own_row: Tensor, points: int, chunk: int) -> None:
    """Overwrite the most uncertain logits of each plane [r, S, S] by the point head's."""
    rois, side = plane.shape[:2]
    flat = None
    if points < side * side:
        flat = plane.abs().flatten(1).topk(points, dim=1, largest=False, sorted=False).indices
        # Neighbours in the mask read the same rows: in raster order they find them in the cache.
        flat = flat.sort(dim=1).values
        number = torch.arange(rois, device=flat.device)[:, None] * side
        index, weight = corners(x.take((number + flat % side).flatten()), y.take((number + flat // side).flatten()))
    else:
        index, weight = corners(x[:, None], y[:, :, None])
    index, weight = index.view(rois, -1, index.shape[-1]), weight.view(rois, -1, weight.shape[-1])
    target = plane.view(rois, -1)
    for some, those in _chunks(rois, index.shape[1], chunk):
        logits = field.logits(index[some, those], weight[some, those], own_row[some]).to(plane.dtype)
        if flat is None:
            target[some, those] = logits
        else:
            target[some].scatter_(1, flat[some, those], logits)


def _chunks(rois: int, count: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of about `size` points: of several RoIs, or a part of one RoI's."""
    parts = -(-count // size)
    step, together = -(-count // parts), max(size // count, 1)
    for first in range(0, rois, together):
        for start in range(0, count, step):
            yield slice(first, first + together), slice(start, start + step)
