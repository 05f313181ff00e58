"""Detections matched with true objects as COCO's evaluation does it, kept, so that much can be told from one matching.

Letters: D detections, G true objects without crowds, T IoU thresholds .50:.05:.95, K classes; N detections and M true
objects of one image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fineseg.data import masks
from fineseg.data.split import Split, TrueObject
from fineseg.predictions import Instances

THRESHOLDS = np.linspace(0.5, 0.95, 10)
NOBODY, CROWD = -1, -2
"""Instead of a true object's number: none matched, or a crowd region, which makes the detection count for nothing."""
_NEARLY = 1 - 1e-10


@dataclass(frozen=True, eq=False)
class Matches:
    """All detections of a split, by image id and falling score, and all its true objects, by image id.

    Of a detection: `image` and `label` int [D], `score` [D], `partner` int [D, T] the true object that it matches at
    each threshold, `own` and `other` int [D] the true object of the highest IoU of its class and of the other classes,
    `own_iou` and `other_iou` [D] those IoUs (0 and `NOBODY` where nothing overlaps).
    Of a true object: `true_image` and `true_label` int [G], `true_area` [G] in pixels as its annotation states it.
    """

    classes: int
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    partner: np.ndarray
    own: np.ndarray
    own_iou: np.ndarray
    other: np.ndarray
    other_iou: np.ndarray
    true_image: np.ndarray
    true_label: np.ndarray
    true_area: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Whether a detection matches each true object, bool [G, T]."""
        found = np.zeros((len(self.true_label), self.partner.shape[1]), dtype=bool)
        rows, columns = np.nonzero(self.partner >= 0)
        found[self.partner[rows, columns], columns] = True
        return found


def match(
    truth: Split,
    predictions: Mapping[int, Instances],
    max_detections: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Matches:
    """Match predictions, by image id, with the true objects of a split by the IoU of their masks.

    The best `max_detections` of an image and class count. `progress` is told how many images are done.
    """
    true: list[tuple[int, int, float]] = []
    pieces: list[tuple[np.ndarray, ...]] = []
    for done, image in enumerate(sorted(truth.images, key=lambda each: each.id), start=1):
        objects = truth.objects_of(image.id)
        single = [each for each in objects if not each.crowd]
        found = predictions.get(image.id)
        if found is not None and len(found):
            found = found.select(_limited(found, max_detections))
            piece = _match_image(found, [*single, *(each for each in objects if each.crowd)], len(single))
            pieces.append(_counted_on(piece, len(true)))
        true += [(image.id, each.label, each.area) for each in single]
        progress(done)
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)] or _no_detections()
    return _matches(len(truth.categories), columns, np.array(true, dtype=np.float64).reshape(-1, 3))


def _matches(classes: int, columns: Sequence[np.ndarray], true: np.ndarray) -> Matches:
    """Join the columns of detections, and a table [G, 3] of true objects: image, label, area."""
    image, label, score, partner, own, own_iou, other, other_iou = columns
    found = (image, label, score, partner, own, own_iou, other, other_iou)
    return Matches(classes, *found, true[:, 0].astype(np.int64), true[:, 1].astype(np.int64), true[:, 2])


def _no_detections() -> list[np.ndarray]:
    whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    return [whole, whole, real, np.zeros((0, len(THRESHOLDS)), dtype=np.int64), whole, real, whole, real]


def _limited(found: Instances, limit: int) -> np.ndarray:
    """Return the rows that count, best first: of each class the `limit` best."""
    order = np.argsort(-found.scores, kind="stable")
    labels = found.labels[order]
    keep = np.zeros(len(order), dtype=bool)
    for label in np.unique(labels):
        keep[np.flatnonzero(labels == label)[:limit]] = True
    return order[keep]


def _counted_on(piece: tuple[np.ndarray, ...], before: int) -> tuple[np.ndarray, ...]:
    """Let the numbers of true objects in one image's columns go on from those of the images before it."""
    image, label, score, partner, own, own_iou, other, other_iou = piece
    partner, own, other = (np.where(column >= 0, column + before, column) for column in (partner, own, other))
    return image, label, score, partner, own, own_iou, other, other_iou


def _match_image(found: Instances, objects: list[TrueObject], single: int) -> tuple[np.ndarray, ...]:
    """Match one image's detections, best first, with its true objects: `single` ones, then crowds."""
    size = (found.height, found.width)
    counts = [masks.to_rle(each.segmentation, *size)["counts"] for each in objects]
    crowd = np.arange(len(objects)) >= single
    ious = masks.ious(list(found.masks), counts, *size, crowd.tolist())
    same = found.labels[:, None] == np.array([each.label for each in objects], dtype=np.int64)[None]
    partner = match_ious(np.where(same, ious, 0.0), crowd)
    ious, same = ious[:, :single], same[:, :single]
    own, own_iou = _highest(np.where(same, ious, 0.0))
    other, other_iou = _highest(np.where(same, 0.0, ious))
    image = np.full(len(found), found.image_id, dtype=np.int64)
    return image, found.labels, found.scores.astype(np.float64), partner, own, own_iou, other, other_iou


def _highest(ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each row of [N, M] the position of the highest value and the value; `NOBODY` and 0 where all are 0."""
    if not ious.shape[1]:
        return np.full(len(ious), NOBODY), np.zeros(len(ious))
    at = ious.argmax(axis=1)
    highest = ious[np.arange(len(ious)), at]
    return np.where(highest > 0, at, NOBODY), highest


def match_ious(ious: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the partner of each detection at each threshold, int [N, T].

    `ious` [N, M] of detections, best first, are 0 where the classes differ; `crowd` bool [M] are last. As in COCO's
    evaluation a detection takes the free object of the highest IoU, among equals the last, else any crowd.
    """
    partner = np.full((len(ious), len(THRESHOLDS)), NOBODY, dtype=np.int64)
    single = int((~crowd).sum())
    taken = np.zeros((len(THRESHOLDS), single), dtype=bool)
    at_least = np.minimum(THRESHOLDS, _NEARLY)
    every = np.arange(len(THRESHOLDS))
    for row in np.flatnonzero((ious >= at_least[0]).any(axis=1)).tolist():
        if single:
            free = np.where(taken, -1.0, ious[row, :single])
            best = single - 1 - free[:, ::-1].argmax(axis=1)
            hit = free[every, best] >= at_least
            partner[row, hit] = best[hit]
            taken[every[hit], best[hit]] = True
        if single < ious.shape[1]:
            in_crowd = ious[row, single:].max() >= at_least
            partner[row, in_crowd & (partner[row] == NOBODY)] = CROWD
    return partner
