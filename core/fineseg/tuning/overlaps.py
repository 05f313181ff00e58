"""Which detections of a split could be which true objects: IoU measured once for each mask, kept by the mask's bytes.

Letters: I images in the order of their ids, G true objects and N detections of all images, E pairs of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fineseg.data import masks
from fineseg.data.split import ImageInfo, Split
from fineseg.predictions import Instances

LEAST_IOU = 0.5
"""Pairs that overlap less are no pairs: the lowest threshold of COCO's average precision."""


@dataclass(frozen=True)
class Truth:
    """True objects, image by image in file order: `image` (position) and `label` int64 [G], `area` [G], `crowd` [G]."""

    images: int
    classes: int
    image: np.ndarray
    label: np.ndarray
    area: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class Found:
    """Detections, image by image: `image`, `label`, `score`, `area` [N], and pairs with objects of their class.

    `pair_found` and `pair_true` [E] are positions among detections and true objects, ascending; `iou` [E] is at least
    `LEAST_IOU`, with a crowd the part of the detection that lies in it.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    pair_found: np.ndarray
    pair_true: np.ndarray
    iou: np.ndarray


class Overlaps:
    """Finds pairs of detections and true objects; masks of `known` predictions are measured once, others every time."""

    def __init__(self, split: Split, known: Sequence[Sequence[Instances]]) -> None:
        """Take a labelled split and each model's predictions of its images, in the order of the images' ids."""
        self.split = split
        self.images = sorted(split.images, key=lambda image: image.id)
        self._true = [
            [
                masks.to_rle(each.segmentation, image.height, image.width)["counts"]
                for each in split.objects_of(image.id)
            ]
            for image in self.images
        ]
        objects = [(n, each) for n, image in enumerate(self.images) for each in split.objects_of(image.id)]
        self.truth = Truth(
            len(self.images),
            len(split.categories),
            np.array([n for n, _ in objects], dtype=np.int64),
            np.array([each.label for _, each in objects], dtype=np.int64),
            np.array([each.area for _, each in objects], dtype=np.float64),
            np.array([each.crowd for _, each in objects], dtype=bool),
        )
        self._first = np.searchsorted(self.truth.image, np.arange(len(self.images)))
        self._row: list[dict[bytes, int]] = [{} for _ in self.images]
        self._table = _Table.join([])
        measured: list[_Table] = []
        rows = 0
        for position in range(len(self.images)):
            new = list(dict.fromkeys(mask for model in known for mask in model[position].masks.tolist()))
            self._row[position] = {mask: rows + n for n, mask in enumerate(new)}
            measured.append(self._measure(position, new))
            rows += len(new)
        self._table = _Table.join(measured)

    def of(self, found: Sequence[Instances]) -> Found:
        """Return the detections of all images, given in the order of `images`, with their pairs."""
        rows: list[int] = []
        strange: list[_Table] = []
        total = len(self._table.area)
        for position, each in enumerate(found):
            row = [self._row[position].get(mask, -1) for mask in each.masks.tolist()]
            if -1 in row:
                places = [n for n, known in enumerate(row) if known < 0]
                strange.append(self._measure(position, [each.masks[n] for n in places]))
                for n in places:
                    row[n] = total
                    total += 1
            rows += row
        table = _Table.join([self._table, *strange]) if strange else self._table
        return self._found(found, np.array(rows, dtype=np.int64), table)

    def _found(self, found: Sequence[Instances], rows: np.ndarray, table: "_Table") -> Found:
        label = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in found)])
        counts = table.counts[rows]
        pair_found = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(pair_found)) - np.repeat(np.cumsum(counts) - counts, counts)
        pair = np.repeat(table.first[rows], counts) + within
        same = self.truth.label[table.true[pair]] == label[pair_found]
        return Found(
            np.repeat(np.arange(len(found)), [len(each) for each in found]),
            label,
            np.concatenate([np.zeros(0), *(each.scores for each in found)]).astype(np.float64),
            table.area[rows],
            pair_found[same],
            table.true[pair][same],
            table.iou[pair][same],
        )

    def _measure(self, position: int, counts: Sequence[bytes]) -> "_Table":
        """Measure masks of one image against its true objects."""
        image: ImageInfo = self.images[position]
        true = self._true[position]
        first = int(self._first[position])
        crowd = self.truth.crowd[first : first + len(true)].tolist()
        iou = masks.ious(counts, true, image.height, image.width, crowd=crowd)
        row, column = np.nonzero(iou >= LEAST_IOU)
        area = masks.areas(counts, image.height, image.width)
        return _Table(area, np.bincount(row, minlength=len(counts)), first + column, iou[row, column])


@dataclass(frozen=True)
class _Table:
    """Masks with their areas, how many pairs each has, and the pairs one after the other."""

    area: np.ndarray
    counts: np.ndarray
    true: np.ndarray
    iou: np.ndarray

    @property
    def first(self) -> np.ndarray:
        starts: np.ndarray = np.cumsum(self.counts) - self.counts
        return starts

    @classmethod
    def join(cls, tables: Sequence["_Table"]) -> "_Table":
        return cls(
            np.concatenate([np.zeros(0), *(table.area for table in tables)]),
            np.concatenate([np.zeros(0, np.int64), *(table.counts for table in tables)]),
            np.concatenate([np.zeros(0, np.int64), *(table.true for table in tables)]),
            np.concatenate([np.zeros(0), *(table.iou for table in tables)]),
        )
