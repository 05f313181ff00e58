"""The combination rule of COCO's panopticapi: instances and semantics of one image into one map, on runs of masks.

"Panoptic Segmentation" (arXiv 1801.00868, section 4.3) with the thresholds of panopticapi's script. Letters: N
instances, H and W image height and width, P = H W pixels counted down the columns as in RLE.
"""

from collections.abc import Sequence

import numpy as np

from fineseg import Instances, PanopticMap, Segment, SemanticMasks, SemanticScores, label_map
from fineseg.data.rle_check import decode_runs


def combine(
    found: Instances, semantic: SemanticScores, things: int, *, overlap: float, stuff_area: float
) -> PanopticMap:
    """Lay instances, best first, then stuff, each onto the pixels that are left; the rest is void.

    Of equal scores the first instance goes ahead. One goes when more than the part `overlap` of it lies on better ones
    that stay. Stuff goes where fewer than `stuff_area` pixels of it are left; semantic pixels of the first `things`
    classes are no stuff. A segment without a pixel is not listed, which the script does with an overlap of 1 or an area
    of 0. Segments are numbered from 1 in this order.
    """
    canvas = _Canvas(found.height, found.width)
    order = np.argsort(-found.scores, kind="stable")
    for label, pixels in zip(found.labels[order].tolist(), positions(found.masks[order].tolist()), strict=True):
        free = pixels[canvas.ids[pixels] == 0]
        if len(free) and (len(pixels) - len(free)) / len(pixels) <= overlap:
            canvas.add(label, free)
    if isinstance(semantic, SemanticMasks):
        _add_masks(canvas, semantic, things, stuff_area)
    else:
        _add_labels(canvas, label_map(semantic), things, semantic.classes, stuff_area)
    return canvas.finished(found.image_id)


def positions(counts: Sequence[bytes]) -> list[np.ndarray]:
    """Return the pixels of each mask, int64 [N] of [area], rising, from sound compressed COCO counts."""
    if not len(counts):
        return []
    runs, stops = decode_runs(counts)
    return [_positions(part) for part in np.split(runs, stops[:-1])]


def _positions(runs: np.ndarray) -> np.ndarray:
    """Return the pixels [area] that runs cover which are without and with the mask by turns."""
    lengths = runs[1::2]
    starts = np.cumsum(runs)[: 2 * len(lengths) : 2]
    before = np.cumsum(lengths) - lengths
    pixels: np.ndarray = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return pixels


class _Canvas:
    """The map while it is laid: `ids` int32 [P], 0 where nothing lies yet, and the segments in their order."""

    def __init__(self, height: int, width: int) -> None:
        self.size = height, width
        self.ids = np.zeros(height * width, np.int32)
        self.segments: list[Segment] = []

    def add(self, label: int, pixels: np.ndarray) -> None:
        self.segments.append(Segment(len(self.segments) + 1, label))
        self.ids[pixels] = len(self.segments)

    def finished(self, image_id: int) -> PanopticMap:
        ids = np.ascontiguousarray(self.ids.reshape(self.size[::-1]).T)
        return PanopticMap(image_id, ids, tuple(self.segments))


def _add_masks(canvas: _Canvas, semantic: SemanticMasks, things: int, stuff_area: float) -> None:
    """Lay stuff in the order of its masks: pixels of one that is too small stay free for those behind it."""
    stuff = [(label, counts) for label, counts in semantic.regions if label >= things]
    for (label, _), pixels in zip(stuff, positions([counts for _, counts in stuff]), strict=True):
        free = pixels[canvas.ids[pixels] == 0]
        if len(free) >= max(stuff_area, 1):
            canvas.add(label, free)


def _add_labels(canvas: _Canvas, labels: np.ndarray, things: int, classes: int, stuff_area: float) -> None:
    """Lay stuff by a map of labels [H, W], in the order of the classes."""
    free = np.flatnonzero(canvas.ids == 0)
    left = labels.T.ravel()[free]
    areas = np.bincount(left, minlength=classes)[:classes]
    numbers = np.zeros(256, np.int32)
    for label in things + np.flatnonzero(areas[things:] >= max(stuff_area, 1)):
        canvas.segments.append(Segment(len(canvas.segments) + 1, int(label)))
        numbers[label] = len(canvas.segments)
    canvas.ids[free] = numbers[left]
