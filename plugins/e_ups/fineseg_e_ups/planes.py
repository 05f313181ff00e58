"""What the panoptic head adds for an object: its class's scores inside its box, and its mask laid into that box.

Letters: N objects, C classes, m side of a mask's cells, H and W sides of the map; boxes are in the map's pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

Span = tuple[int, int]
"""First pixel and the one after the last."""


def score_planes(semantic: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return planes [N, H, W]: scores [C, H, W] of the class `labels` [N] inside boxes [N, 4], 0 outside."""
    planes = semantic.new_zeros(len(boxes), *semantic.shape[1:])
    for number, (box, label) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True)):
        rows, columns = score_spans(box, *semantic.shape[1:])
        planes[number, slice(*rows), slice(*columns)] = semantic[label, slice(*rows), slice(*columns)]
    return planes


def mask_planes(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Return planes [N, H, W]: mask logits [N, m, m] stretched over boxes [N, 4], 0 outside."""
    planes = masks.new_zeros(len(boxes), height, width)
    for number, box in enumerate(boxes.tolist()):
        (rows, columns), patch = laid(masks[number], box, height, width)
        planes[number, slice(*rows), slice(*columns)] = patch
    return planes


def score_spans(box: list[float], height: int, width: int) -> tuple[Span, Span]:
    """Return the rows and columns in which an object gets its class's scores: the last is the rounded one."""
    left, top, right, bottom = box
    return _within(int(top), round(bottom) + 1, height), _within(int(left), round(right) + 1, width)


def laid(mask: Tensor, box: list[float], height: int, width: int) -> tuple[tuple[Span, Span], Tensor]:
    """Stretch mask logits [m, m] over a box; return the rows and columns that it covers of the map, and that patch.

    Corners are truncated, and both belong to the box. What of it lies outside the map is cut off.
    """
    left, top, right, bottom = (int(corner) for corner in box)
    size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
    stretched = F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    rows = _within(top, top + size[0], height)
    columns = _within(left, left + size[1], width)
    patch = stretched[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
    return (rows, columns), patch


def _within(first: int, end: int, side: int) -> Span:
    first = min(max(first, 0), side)
    return first, min(max(end, first), side)


class FullSize:
    """Scores [C, h, w] enlarged bilinearly to `padded`, cut to `size` (both height, width): a few classes at a time.

    133 classes of a whole image would fill half a gigabyte.
    """

    def __init__(self, semantic: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> None:
        self.semantic, self.padded, self.size = semantic, padded, size

    def of(self, first: int, end: int) -> Tensor:
        """Return the classes from `first` to `end`, exclusive: [end - first, H, W]."""
        some = F.interpolate(self.semantic[None, first:end], size=self.padded, mode="bilinear", align_corners=False)
        return some[0, :, : self.size[0], : self.size[1]]

    def best(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Return the largest score of these classes and which class has it, both [H, W]; the first of equals."""
        best, which = self.of(first, first + 1)[0], torch.full(self.size, first, device=self.semantic.device)
        for label in range(first + 1, end):
            plane = self.of(label, label + 1)[0]
            better = plane > best
            best, which = torch.where(better, plane, best), which.masked_fill(better, label)
        return best, which
