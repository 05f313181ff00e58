"""COCO's matching of detections with true objects, all images and IoU thresholds at once, and average precision of it.

What pycocotools does in loops, step for step: a detection, in the order of scores, takes the object of its class that
it overlaps most among those not taken, one that counts before one that does not. Equal to it to rounding.

Letters: I images, C classes, G true objects, N detections, T IoU thresholds, K objects that one detection may be, S
sets of images to measure on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fineseg.tuning.overlaps import Found, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 8  # sets that are measured together: a row of all detections for each


@dataclass(frozen=True)
class Matched:
    """Detections that count for a limit an image and class, by class, then from the highest score.

    `image`, `label`, `score` [N]; `hit` and `valid` bool [N, T]: which found their object, and which count at all.
    `row` [N] is their position among all detections; `counts` [I, C] are the true objects that count.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    valid: np.ndarray
    row: np.ndarray
    counts: np.ndarray


def match(truth: Truth, found: Found, thresholds: np.ndarray, area: tuple[float, float], limit: int) -> Matched:
    """Match at IoU thresholds [T], for objects of `area` [low, high], the best `limit` of an image and class."""
    low, high = area
    ignored = truth.crowd | (truth.area < low) | (truth.area > high)
    kept = np.flatnonzero(_rank(found.image * truth.classes + found.label, found.score) < limit)
    hit, passed = _take(truth, found, ignored, thresholds, kept)
    outside = (found.area < low) | (found.area > high)
    valid = ~(passed | (outside[:, None] & ~hit))
    order = kept[np.lexsort((kept, -found.score[kept], found.label[kept]))]
    counts = np.zeros((truth.images, truth.classes), dtype=np.int64)
    np.add.at(counts, (truth.image[~ignored], truth.label[~ignored]), 1)
    return Matched(found.image[order], found.label[order], found.score[order], hit[order], valid[order], order, counts)


def _take(
    truth: Truth, found: Found, ignored: np.ndarray, thresholds: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return who took an object that counts, and who one that does not [N, T].

    Detections of different images or classes do not compete: the first of each go together, then the second of each.
    """
    hit = np.zeros((len(found.score), len(thresholds)), dtype=bool)
    passed = np.zeros_like(hit)
    taken = np.zeros((len(truth.area), len(thresholds)), dtype=bool)
    least = np.minimum(thresholds, 1 - 1e-10)
    counts = np.bincount(found.pair_found, minlength=len(found.score))
    first = np.cumsum(counts) - counts
    rivals = kept[counts[kept] > 0]
    turn = _rank(found.image[rivals] * truth.classes + found.label[rivals], found.score[rivals])
    for number in range(int(turn.max(initial=-1)) + 1):
        now = rivals[turn == number]
        column = np.arange(int(counts[now].max()))
        # Among equal IoU the last object goes first: the columns run backwards, argmax takes the first of its kind.
        there = column < counts[now, None]
        pair = np.where(there, first[now, None] + counts[now, None] - 1 - column, 0)
        true = found.pair_true[pair]
        iou = np.where(there, found.iou[pair], -1.0)[..., None]
        free = (iou >= least) & (~taken[true] | truth.crowd[true][..., None])
        for table, kind in ((hit, ~ignored[true]), (passed, ignored[true])):
            best = np.where(free & kind[..., None], iou, -1.0)
            choice = best.argmax(axis=1)
            won = (best.max(axis=1) > 0) & ~hit[now]
            table[now] = won
            row, at = np.nonzero(won)
            taken[true[row, choice[row, at]], at] = True
    return hit, passed


def _rank(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return each one's place [N] in its group from the highest score, the first ahead among equal ones."""
    order = np.lexsort((np.arange(len(group)), -score, group))
    grouped = group[order]
    starts = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])) if len(group) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(group)))
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return rank


def class_ap(matched: Matched, weights: np.ndarray) -> np.ndarray:
    """Return the average precision [S, C] in percent on sets of images; nan where a class has no object there.

    weights [S, I] say how often a set holds an image: 0 or 1, or more in a set drawn with replacement.
    """
    weights = np.asarray(weights, dtype=np.float64)
    blocks = [_class_ap(matched, weights[start : start + _AT_ONCE]) for start in range(0, len(weights), _AT_ONCE)]
    return np.concatenate([np.zeros((0, matched.counts.shape[1])), *blocks])


def _class_ap(matched: Matched, weights: np.ndarray) -> np.ndarray:
    classes = matched.counts.shape[1]
    bounds = np.searchsorted(matched.label, np.arange(classes + 1))
    each = weights[:, matched.image]
    objects = weights @ matched.counts
    sums = np.zeros_like(objects)
    seen = np.zeros_like(each)
    for threshold, (hit, valid) in enumerate(zip(matched.hit.T, matched.valid.T, strict=True)):
        if threshold == 0 or (valid != matched.valid[:, threshold - 1]).any():
            seen = _within(np.cumsum(each * valid, axis=1), bounds, matched.label)
        sums += _interpolated(np.flatnonzero(hit), matched.label, each, seen, objects)
    return np.where(objects > 0, 100 * sums / matched.hit.shape[1], np.nan)


def _interpolated(
    hits: np.ndarray, label: np.ndarray, weight: np.ndarray, seen: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """Return the mean of the interpolated precision over `RECALLS` [S, C], at one IoU threshold.

    `hits` are positions of true positives, `label` [N] the class of each detection, `weight` [S, N] what it counts,
    `seen` [S, N] what counts of its class up to it, `objects` [S, C] the true objects. Between hits precision only
    falls, so that only hits are looked at.
    """
    classes = objects.shape[1]
    own = label[hits]
    bounds = np.searchsorted(own, np.arange(classes + 1))
    right = _within(np.cumsum(weight[:, hits], axis=1), bounds, own)
    precision = _share(right, seen[:, hits])
    # Precision is at most 1: what is added for the class keeps the classes apart on one line.
    apart = 2.0 * (classes - 1 - own)
    highest: np.ndarray = np.maximum.accumulate((precision + apart)[:, ::-1], axis=1)[:, ::-1] - apart
    reached = np.searchsorted(RECALLS, _share(right, objects[:, own]), side="right")
    before = np.concatenate([np.zeros((len(reached), 1), np.int64), reached[:, :-1]], axis=1)
    before[:, bounds[:-1][bounds[:-1] < bounds[1:]]] = 0
    total = np.concatenate([np.zeros((len(right), 1)), np.cumsum(highest * (reached - before), axis=1)], axis=1)
    means: np.ndarray = (total[:, bounds[1:]] - total[:, bounds[:-1]]) / len(RECALLS)
    return means


def _within(sums: np.ndarray, bounds: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Turn running sums [S, N] into those that begin anew with each class."""
    starts = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)[:, bounds[:-1]]
    own: np.ndarray = sums - starts[:, label]
    return own


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share


def mean_over_classes(per_class: np.ndarray) -> np.ndarray:
    """Return the mean [S] over the classes [S, C] that have objects, nan where none has."""
    known = ~np.isnan(per_class)
    total = np.where(known, per_class, 0.0).sum(axis=1)
    unknown = np.full(len(per_class), np.nan)
    mean: np.ndarray = np.divide(total, known.sum(axis=1), out=unknown, where=known.any(axis=1))
    return mean


def parts_of(groups: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Divide images [I] by their groups into `count` parts of about the same size; return the part of each.

    Images of one group stay together; "" is no group. Large groups are placed first, each in the smallest part.
    """
    names = [name or f"\0{position}" for position, name in enumerate(groups)]
    members: dict[str, list[int]] = {}
    for position in np.random.default_rng(seed).permutation(len(names)).tolist():
        members.setdefault(names[position], []).append(position)
    part = np.zeros(len(names), dtype=np.int64)
    sizes = np.zeros(count, dtype=np.int64)
    for positions in sorted(members.values(), key=len, reverse=True):
        smallest = int(sizes.argmin())
        part[positions] = smallest
        sizes[smallest] += len(positions)
    return part
