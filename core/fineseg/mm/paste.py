"""From masks in the box frame straight to RLE of the whole image: no plane of the image's size is ever made.

Conventions as mmdet's: a box of (x1, y1, x2, y2) spans its S x S probabilities edge to edge, pixel centres lie at +0.5,
bilinear interpolation with zeros outside, and nothing is painted more than a pixel outside the box. A pixel is mask
where its probability is greater than the threshold.

Letters: N masks, S cells along a side of a mask, h and w rows and columns of the window that a box can paint.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import grid_sample, pad

DOUBT = 1e-5
"""Pixels this near to the threshold are sampled again as mmdet samples them, whose rounding decides."""


def paste_to_rle(
    probabilities: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float
) -> list[bytes]:
    """Return COCO counts of N masks of an image of (height, width).

    probabilities [N, S, S] in 0..1; boxes [N, 4] in pixels of the image, which they may leave; threshold in 0..1.
    """
    masks = probabilities.detach().float().cpu()
    places = boxes.detach().float().cpu().tolist()
    return compress([_runs(*each, height, width, threshold) for each in zip(masks, places, strict=True)])


def _runs(mask: torch.Tensor, box: list[float], height: int, width: int, threshold: float) -> np.ndarray:
    """Return the run lengths of one mask, column after column, the first of them outside the mask."""
    left, right = _window(box[0], box[2], width)
    top, bottom = _window(box[1], box[3], height)
    if right <= left or bottom <= top:
        return np.array([height * width])
    x = _grid(left, right, box[0], box[2])
    y = _grid(top, bottom, box[1], box[3])
    return window_runs(_painted(mask, x, y, threshold).numpy(), left, top, height, width)


def window_runs(painted: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """Return the run lengths of a mask of (height, width) that lies in a window, column after column.

    painted bool [w, h + 1] are the window's columns, the last pixel of each, which is below the window, false; `left`
    and `top` is where it begins. The first run is outside the mask.
    """
    window = painted.ravel()
    # Each column of the window ends in a pixel that is not mask, so changes come in pairs.
    changes = np.flatnonzero(window[1:] != window[:-1]) + 1
    changes = np.concatenate([[0], changes]) if window[0] else changes
    column, row = np.divmod(changes, painted.shape[1])
    changes = (left + column) * height + top + row
    meeting = np.flatnonzero(changes[1:] == changes[:-1])  # a run down to the last row, another from the first
    changes = np.delete(changes, [meeting, meeting + 1])
    if len(changes) and changes[-1] == height * width:
        return np.diff(changes, prepend=0)
    return np.diff(changes, prepend=0, append=height * width)


def _window(low: float, high: float, limit: int) -> tuple[int, int]:
    """Return the pixels [from, to) that a box can paint along one axis."""
    return max(int(np.floor(low)) - 1, 0), min(int(np.ceil(high)) + 1, limit)


def _grid(start: int, stop: int, low: float, high: float) -> torch.Tensor:
    """Return where pixels [start, stop) lie between a box's edges, -1 and 1."""
    first, last = torch.tensor([low, high])
    centre = torch.arange(start, stop, dtype=torch.float32) + 0.5
    grid: torch.Tensor = (centre - first) / (last - first).clamp(min=1e-6) * 2 - 1
    return grid


def _painted(mask: torch.Tensor, x: torch.Tensor, y: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return which pixels of a window are mask, column after column: [w, h + 1], the last of each column false."""
    ringed = pad(mask, (1, 1, 1, 1))
    side = mask.shape[-1]
    sampled = _between(_between(ringed, y, side).t().contiguous(), x, side)
    painted = torch.zeros(len(x), len(y) + 1, dtype=torch.bool)
    inside = painted[:, :-1]
    torch.gt(sampled, threshold, out=inside)
    doubtful = ((sampled - threshold).abs() < DOUBT).nonzero()
    if len(doubtful):
        column, row = doubtful.unbind(1)
        grid = torch.stack([x[column], y[row]], dim=-1)[None, None]
        inside[column, row] = grid_sample(mask[None, None], grid, align_corners=False).flatten() > threshold
    return painted


def _between(lines: torch.Tensor, grid: torch.Tensor, side: int) -> torch.Tensor:
    """Interpolate between the lines [S + 2, M] of a mask, the first and last of which are zeros, at positions [h]."""
    position = ((grid + 1) * side - 1) / 2
    low = position.floor()
    part = (position - low)[:, None]
    first, second = ((low + n).clamp(0, side + 1).long() for n in (1, 2))
    return torch.lerp(lines.index_select(0, first), lines.index_select(0, second), part)


def compress(runs: Sequence[np.ndarray]) -> list[bytes]:
    """Return the COCO strings of run lengths of N masks.

    A run is written as its difference from the last but one, from the fourth on, in digits of five bits with the lowest
    first; a sixth bit says that more follow, 48 makes it a printable character.
    """
    if not runs:
        return []
    sizes = np.array([len(each) for each in runs])
    starts = np.cumsum(sizes) - sizes
    values = np.concatenate(runs).astype(np.int64)
    number = np.arange(len(values)) - np.repeat(starts, sizes)
    values[2:] -= np.where(number[2:] > 2, values[:-2].copy(), 0)
    places = np.arange(0, 35, 5)
    digits = (values[:, None] >> places) & 31
    rest = values[:, None] >> (places + 5)
    more = rest != -(digits >> 4)
    written = np.concatenate([np.ones((len(values), 1), dtype=bool), more[:, :-1]], axis=1)
    text = (digits + 32 * more + 48).astype(np.uint8)[written].tobytes()
    ends = np.cumsum(written.sum(axis=1))[starts + sizes - 1]
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
