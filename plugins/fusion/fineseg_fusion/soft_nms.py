"""Linear soft-NMS on the boxes of one image, all classes in one pass.

Letters: N detections, E pairs of boxes of one class that overlap by more than the threshold.
"""

import numpy as np


def linear_soft_nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou_threshold: float, min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower the scores of boxes that a higher one of their class covers; return (kept [K], their scores [K]).

    boxes [N, 4] are x1, y1, x2, y2, scores [N] any order, labels [N]. Per class the highest remaining detection (at
    equal scores the first) is settled and those with IoU > `iou_threshold` to it get score * (1 - IoU); one that falls
    below `min_score` by that is dropped and lowers no other. `kept` are positions in ascending order, scores float64.
    Bodla et al., "Soft-NMS", ICCV 2017, linear form. Raises ValueError for boxes or scores that are not finite.

    Only overlapping pairs pass scores on, so every detection that is higher than all its remaining partners can be
    settled at the same time: the outcome is that of the sequential loop, up to rounding, in few rounds.
    """
    if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
        raise ValueError("soft-NMS: boxes and scores must be finite; no order holds among numbers that are not")
    scores = np.array(scores, dtype=np.float64)
    first, second, iou = overlapping_pairs(np.asarray(boxes, dtype=np.float64), labels, iou_threshold)
    keep = np.ones(len(scores), dtype=bool)
    while first.size:
        second_wins = scores[second] > scores[first]  # first < second: at equal scores the first goes ahead
        winner, loser = np.where(second_wins, second, first), np.where(second_wins, first, second)
        open_ = np.ones(len(scores), dtype=bool)
        open_[loser] = False
        settled = open_[winner]
        beaten = loser[settled]
        np.multiply.at(scores, beaten, 1.0 - iou[settled])
        keep[beaten[scores[beaten] < min_score]] = False
        going_on = ~settled & keep[first] & keep[second]
        first, second, iou = first[going_on], second[going_on], iou[going_on]
    kept = np.flatnonzero(keep)
    return kept, scores[kept]


def overlapping_pairs(
    boxes: np.ndarray, labels: np.ndarray, iou_threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs first < second [E] of boxes [N, 4] of equal label with IoU > `iou_threshold`, and that IoU [E].

    A sweep along x: a box is compared with those of its class whose left side starts close enough for the overlap.
    """
    order = np.lexsort((boxes[:, 0], labels))
    x1, y1, x2, y2 = boxes[order].T
    width, height = np.maximum(x2 - x1, 0), np.maximum(y2 - y1, 0)
    # More than the threshold of the union is more than the threshold of this box, hence of its width.
    reach = x2 - iou_threshold * width
    ends = _sweep_ends(labels[order], x1, reach)
    counts = np.maximum(ends - np.arange(1, len(boxes) + 1), 0)
    left = np.repeat(np.arange(len(boxes)), counts)
    right = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + left + 1
    inner_width = np.minimum(x2[left], x2[right]) - x1[right]
    inner_height = np.minimum(y2[left], y2[right]) - np.maximum(y1[left], y1[right])
    inner = np.maximum(inner_width, 0) * np.maximum(inner_height, 0)
    area = width * height
    union = area[left] + area[right] - inner
    iou = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    over = iou > iou_threshold
    left, right = order[left[over]], order[right[over]]
    return np.minimum(left, right), np.maximum(left, right), iou[over]


def _sweep_ends(labels: np.ndarray, x1: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return for each box the end of the run of boxes of its label with x1 <= reach; boxes sorted by (label, x1)."""
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    lowest = x1.min()
    span = np.maximum(reach, x1).max() - lowest + 1.0  # keeps the classes apart on one line
    offset = labels * span - lowest
    ends: np.ndarray = np.searchsorted(offset + x1, offset + reach, side="right")
    return ends
