"""Panoptic quality: how well a map of segments agrees with the true one, class by class.

Kirillov et al., "Panoptic Segmentation", CVPR 2019, with the rules of COCO's own evaluation. Two segments of one class
match when their IoU is above one half, so none matches twice. PQ = SQ x RQ: the mean IoU of the matches, and the
matches' share in matches + (false positives + false negatives) / 2.

Letters: C classes, G true segments and P predicted ones of an image, H and W its height and width in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fineseg.data.panoptic import PanopticMap, places_of, present_ids, run_starts, segment_fault
from fineseg.data.split import Segment
from fineseg.errors import FinesegError

FIGURES = ("pq", "sq", "rq")


@dataclass(frozen=True, eq=False)
class PanopticCounts:
    """What was matched, by class: IoU summed over the matches, float64 [C]; matches and mistakes, int64 [C]."""

    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @classmethod
    def none(cls, classes: int) -> "PanopticCounts":
        """Return the counts of no image at all."""
        return cls(np.zeros(classes), *(np.zeros(classes, dtype=np.int64) for _ in range(3)))

    def __add__(self, other: "PanopticCounts") -> "PanopticCounts":
        return PanopticCounts(self.iou + other.iou, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


@dataclass(frozen=True)
class ClassQuality:
    """One class in percent, nan where neither side has a segment of it, and what it was counted from."""

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Quality:
    """Means over `n` classes, in percent; nan where n is 0."""

    pq: float
    sq: float
    rq: float
    n: int


@dataclass(frozen=True)
class PanopticResult:
    """Quality of "All" classes, of "Things" and of "Stuff", and of each class in the order of the labels."""

    groups: dict[str, Quality]
    classes: tuple[ClassQuality, ...]

    def plain(self) -> dict[str, Any]:
        """Return the groups, and "classes", as JSON-ready data: nan, which JSON does not know, becomes None."""
        groups: dict[str, Any] = {name: _plain(quality) for name, quality in self.groups.items()}
        return {**groups, "classes": [_plain(row) for row in self.classes]}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> "PanopticResult":
        """Return what `plain` was made of."""
        groups = {name: Quality(**_from_plain(row)) for name, row in stored.items() if name != "classes"}
        return cls(groups, tuple(ClassQuality(**_from_plain(row)) for row in stored["classes"]))


def panoptic_result(counts: PanopticCounts, things: int) -> PanopticResult:
    """Turn counts into quality; the first `things` of the C classes are things.

    A class without any match, mistake or miss is left out of the means, as COCO does.
    """
    total = counts.tp + 0.5 * counts.fp + 0.5 * counts.fn
    seen = total > 0
    zeros = np.zeros(len(total))
    sq = np.divide(counts.iou, counts.tp, out=zeros.copy(), where=counts.tp > 0)
    rq = np.divide(counts.tp, total, out=zeros.copy(), where=seen)
    pq = np.divide(counts.iou, total, out=zeros.copy(), where=seen)
    table = np.where(seen, 100.0 * np.stack([pq, sq, rq]), np.nan)
    groups = {"All": slice(None), "Things": slice(things), "Stuff": slice(things, None)}
    rows = zip(*table.tolist(), counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist(), strict=True)
    return PanopticResult(
        {name: _mean(table[:, part][:, seen[part]]) for name, part in groups.items()},
        tuple(ClassQuality(*row) for row in rows),
    )


def _mean(table: np.ndarray) -> Quality:
    """Return the means of the figures [3, n]."""
    number = table.shape[1]
    pq, sq, rq = table.mean(axis=1).tolist() if number else [float("nan")] * 3
    return Quality(pq, sq, rq, number)


def _plain(row: Quality | ClassQuality) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in vars(row).items()}


def _from_plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in row.items()}


# -------------------------------------------------------------------- matching


def count_image(truth: PanopticMap, found: PanopticMap, classes: int) -> PanopticCounts:
    """Match the segments of one image.

    - True void is no part of a union. A predicted segment more than half of which lies on true void and on crowd of its
      class is no false positive; of several crowds of a class in one image the one listed last counts, as in COCO's
      evaluation.
    - Crowd is never matched and never missed. It does count in unions.
    - A true segment's area is what its file states, if it does; a predicted one's is counted. Pixels of the true map
      whose id is not listed belong to nobody and are not void; a listed id without pixels is a miss.

    Raises `FinesegError` that names image and segment: sizes that differ, a prediction whose map contradicts its list.
    """
    if truth.ids.shape != found.ids.shape:
        (height, width), (true_height, true_width) = found.ids.shape, truth.ids.shape
        raise FinesegError(
            f"image {truth.image_id}: the predicted map has {width} x {height} pixels, the true one {true_width} x "
            f"{true_height}"
        )
    shared = shared_pixels(truth, found)
    _refuse(found, shared, classes)
    return _match(shared[:, :-1], truth.segments, found.segments, classes)


def shared_pixels(truth: PanopticMap, found: PanopticMap) -> np.ndarray:
    """Return the pixels int64 [G + 2, P + 2] that segments share; void comes after them, then what is not listed.

    Runs of equal pairs along the rows are counted, not pixels.
    """
    starts = run_starts(truth.ids, found.ids)
    lengths = np.diff(starts, append=truth.ids.size)
    rows, columns = (places_of(each.ids.ravel()[starts], each.segments) for each in (truth, found))
    shape = (len(truth.segments) + 2, len(found.segments) + 2)
    pixels = np.bincount(rows * shape[1] + columns, weights=lengths, minlength=shape[0] * shape[1])
    return pixels.astype(np.int64).reshape(shape)


def _refuse(found: PanopticMap, shared: np.ndarray, classes: int) -> None:
    area = shared.sum(axis=0)
    if area[-1] or not area[:-2].all():
        raise FinesegError(f"image {found.image_id}: {segment_fault(present_ids(found.ids), found.segments)}")
    for each in found.segments:
        if not 0 <= each.label < classes:
            text = f"segment {each.id} has label {each.label}; labels run from 0 to {classes - 1}"
            raise FinesegError(f"image {found.image_id}: {text}")


def _match(shared: np.ndarray, true: Sequence[Segment], found: Sequence[Segment], classes: int) -> PanopticCounts:
    """Count from the table of shared pixels [G + 2, P + 1]."""
    inside, on_void = shared[:-2, :-1], shared[-2, :-1]
    true_labels, found_labels = (np.array([s.label for s in side], dtype=np.int64) for side in (true, found))
    crowd = np.array([each.crowd for each in true], dtype=bool)
    counted = shared[:-2].sum(axis=1).tolist()
    stated = [n if each.area is None else each.area for each, n in zip(true, counted, strict=True)]
    area = shared[:, :-1].sum(axis=0)
    union = area + np.array(stated, dtype=np.float64)[:, None] - inside - on_void
    iou = np.divide(inside, union, out=np.zeros(inside.shape), where=union > 0)
    matched = (iou > 0.5) & (true_labels[:, None] == found_labels) & ~crowd[:, None]
    true_of_match, found_of_match = np.nonzero(matched)

    forgiven = on_void.copy()
    last_crowd = {each.label: row for row, each in enumerate(true) if each.crowd}
    for column, label in enumerate(found_labels.tolist()):
        if label in last_crowd:
            forgiven[column] += inside[last_crowd[label], column]
    wrong = ~matched.any(axis=0) & ~(forgiven / np.maximum(area, 1) > 0.5)
    missed = ~matched.any(axis=1) & ~crowd & (true_labels >= 0)
    return PanopticCounts(
        np.bincount(true_labels[true_of_match], weights=iou[true_of_match, found_of_match], minlength=classes),
        np.bincount(true_labels[true_of_match], minlength=classes),
        np.bincount(found_labels[wrong], minlength=classes),
        np.bincount(true_labels[missed], minlength=classes),
    )
