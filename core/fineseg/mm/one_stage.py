"""Heads that find their instances at once: from their masks of the network's input straight to RLE of the whole image.

Conventions as mmdet's SOLOv2: a mask spans the padded input edge to edge and is scaled to it, cut to the image inside,
and scaled again to the image's own size; both times bilinear, pixel centres at +0.5. A pixel is mask where its
probability is greater than the threshold. Both steps are linear along each axis, so that one weighted sum of a few
cells does for both, and only in the window that a mask can paint.

Letters: N masks, h and w rows and columns of their cells, K cells that a pixel reads along an axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, interpolate

from fineseg.data import masks as rle_masks
from fineseg.mm.model import PAD_DIVISOR
from fineseg.mm.paste import compress, window_runs
from fineseg.mm.views import Frame
from fineseg.predictions import Instances, make_instances
from fineseg.predictors import OneStagePredictor
from fineseg.profile.schema import PredictTable

DOUBT = 1e-6
"""Pixels this near to the threshold are scaled again as mmdet scales them, whose rounding decides."""


def instances_at_once(
    predictor: OneStagePredictor, features: Sequence[Tensor], frame: Frame, image_id: int, predict: PredictTable
) -> Instances:
    """Return the instances of one image that was encoded in one view; boxes are the tight ones of the masks."""
    ((labels, scores, maps),) = predictor.instances(
        features,
        [frame.size],
        score_threshold=predict.score_threshold,
        mask_threshold=predict.mask_threshold,
        max_per_image=predict.max_per_image,
    )
    counts = maps_to_rle(maps, frame, predict.mask_threshold)
    boxes = rle_masks.boxes(counts, *frame.original)
    return make_instances(image_id, frame.original, labels.cpu().numpy(), scores.cpu().numpy(), boxes, counts)


def maps_to_rle(maps: Tensor, frame: Frame, threshold: float) -> list[bytes]:
    """Return COCO counts, in the original frame, of mask probabilities [N, h, w] of a view's padded input."""
    maps = maps.detach().float().cpu()
    if not len(maps):
        return []
    rows, columns = (
        axis_of(cells, seen, pixels)
        for cells, seen, pixels in zip(maps.shape[1:], frame.size, frame.original, strict=True)
    )
    inside = maps > threshold - DOUBT
    found = []
    for one, high, wide in zip(maps, inside.any(dim=2), inside.any(dim=1), strict=True):
        # One at a time: masks that are noise have a hundred thousand runs each.
        found += compress([_runs(one, rows.reach(high), columns.reach(wide), frame, threshold)])
    return found


# ------------------------------------------------------------------------- one axis


@dataclass(frozen=True)
class Axis:
    """What the pixels of an axis of the image read: cells [pixels, K], in rising order, with weights [pixels, K]."""

    cells: Tensor
    weights: Tensor

    def reach(self, inside: Tensor) -> "Stretch":
        """Return the stretch of pixels that read a cell that is `inside` [cells], or none."""
        found = inside.nonzero()
        if not len(found):
            return Stretch(self, 0, 0)
        first = torch.searchsorted(self.cells[:, -1].contiguous(), found[0]).item()
        last = torch.searchsorted(self.cells[:, 0].contiguous(), found[-1], right=True).item()
        return Stretch(self, int(first), int(last))


@dataclass(frozen=True)
class Stretch:
    """Pixels [start, stop) of an axis."""

    axis: Axis
    start: int
    stop: int

    def sums(self, lines: Tensor) -> Tensor:
        """Return the weighted sums [stop - start, M] of lines [cells, M]."""
        some = slice(self.start, self.stop)
        return embedding_bag(self.axis.cells[some], lines, mode="sum", per_sample_weights=self.axis.weights[some])


def axis_of(cells: int, seen: int, pixels: int) -> Axis:
    """Return what `pixels` of an axis of the image read of cells that span the padded input, `seen` of it image."""
    weights = scale(torch.eye(cells)[None], [padded(seen)], [seen], [pixels])[0].t()
    first = (weights > 0).int().argmax(dim=1)
    width = cells - int((weights > 0).flip(1).int().argmax(dim=1).add(first).min())
    read = first[:, None].clamp(max=cells - width) + torch.arange(width)
    return Axis(read, weights.gather(1, read))


def padded(side: int) -> int:
    """Return the length of a side of the network's input."""
    return -(-side // PAD_DIVISOR) * PAD_DIVISOR


def scale(maps: Tensor, whole: Sequence[int], seen: Sequence[int], original: Sequence[int]) -> Tensor:
    """Scale maps [B, N, cells...] to the padded input, cut it to the image inside, and scale that to its own size."""
    mode = "linear" if len(whole) == 1 else "bilinear"
    on_input = interpolate(maps, list(whole), mode=mode, align_corners=False)
    for axis, side in enumerate(seen, start=2):
        on_input = on_input.narrow(axis, 0, side)
    return interpolate(on_input, list(original), mode=mode, align_corners=False)


# ------------------------------------------------------------------------- one mask


def _runs(cells: Tensor, rows: Stretch, columns: Stretch, frame: Frame, threshold: float) -> np.ndarray:
    """Return the run lengths of one mask [h, w], column after column, the first of them outside the mask."""
    height, width = frame.original
    if rows.stop == rows.start or columns.stop == columns.start:
        return np.array([height * width])
    probabilities = columns.sums(rows.sums(cells).t().contiguous())
    inside = probabilities > threshold
    column, row = ((probabilities - threshold).abs() < DOUBT).nonzero().unbind(1)
    if len(column):
        inside[column, row] = _plainly(cells, frame)[rows.start + row, columns.start + column] > threshold
    axes = [axis for axis, mirrored in ((0, frame.horizontal), (1, frame.vertical)) if mirrored]
    painted = torch.zeros(len(inside), inside.shape[1] + 1, dtype=torch.bool)
    painted[:, :-1] = inside.flip(axes) if axes else inside
    left = width - columns.stop if frame.horizontal else columns.start
    top = height - rows.stop if frame.vertical else rows.start
    return window_runs(painted.numpy(), left, top, height, width)


def _plainly(cells: Tensor, frame: Frame) -> Tensor:
    """Return the probabilities of all pixels [H, W] of the image, in the view's sense."""
    whole = [padded(side) for side in frame.size]
    return scale(cells[None, None], whole, frame.size, frame.original)[0, 0]
