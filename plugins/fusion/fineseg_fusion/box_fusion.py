"""Boxes of several models gathered in clusters, and the one box and score that each cluster becomes.

ensemble-boxes fuses boxes and forgets which went into which; who is to fuse masks needs to know. So its two methods
are written here to return the members too, in its arithmetic: clusters depend on comparisons of running means, which
it keeps in single precision.

Letters: N boxes, K clusters, M models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster (0..K-1) each box is in [N], and the fused box of each cluster [K, 4]. No cluster is empty."""

    of_box: np.ndarray
    boxes: np.ndarray


def weighted_boxes(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, match_iou: float) -> Clusters:
    """Cluster boxes around their running mean: weighted boxes fusion.

    boxes [N, 4] are x1, y1, x2, y2 with an area, scores [N] above 0, labels [N]. From the highest score down (at equal
    ones the first), a box joins the cluster of its class whose mean, weighted by scores, it overlaps most, if by
    IoU > `match_iou`, and else opens one. Solovyev et al., "Weighted boxes fusion", Image and Vision Computing 2021.
    """
    return _cluster(_around_mean, boxes, scores, labels, match_iou)


def non_maximum_weighted(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, match_iou: float) -> Clusters:
    """Cluster boxes around the highest of each cluster, and average them by score * IoU with it.

    Arguments as for `weighted_boxes`. Zhou et al., "CAD", ICCV workshops 2017.
    """
    return _cluster(_around_best, boxes, scores, labels, match_iou)


Cluster = Callable[[np.ndarray, np.ndarray, float], Clusters]


def _cluster(cluster: Cluster, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, match_iou: float) -> Clusters:
    """Cluster class by class, the highest scores first."""
    boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    order = np.lexsort((-scores, labels))
    classes = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    of_box = np.zeros(len(boxes), dtype=np.int64)
    fused = [np.zeros((0, 4))]
    opened = 0
    for rows in classes if len(boxes) else []:
        found = cluster(boxes[rows], scores[rows], match_iou)
        of_box[rows] = found.of_box + opened
        fused.append(found.boxes)
        opened += len(found.boxes)
    return Clusters(of_box, np.concatenate(fused))


def _around_mean(boxes: np.ndarray, scores: np.ndarray, match_iou: float) -> Clusters:
    """Cluster the boxes of one class, sorted by score."""
    mean, weighted = boxes.copy(), (scores[:, None] * boxes).astype(np.float32)
    of_box, weight = np.arange(len(boxes)), scores.copy()
    opened = min(1, len(boxes))
    for row in range(1, len(boxes)):
        overlap = ious_with(mean[:opened], boxes[row])
        best = int(np.argmax(overlap))
        if overlap[best] > match_iou:
            weighted[best] += scores[row] * boxes[row]
            weight[best] += scores[row]
            mean[best] = (weighted[best] / weight[best]).astype(np.float32)
        else:
            best = opened
            mean[best], weighted[best], weight[best] = boxes[row], weighted[row], scores[row]
            opened += 1
        of_box[row] = best
    return Clusters(of_box, mean[:opened])


def _around_best(boxes: np.ndarray, scores: np.ndarray, match_iou: float) -> Clusters:
    """Cluster the boxes of one class, sorted by score."""
    of_box, head = np.zeros(len(boxes), dtype=np.int64), boxes.copy()
    overlap_with_head = np.ones(len(boxes))
    opened = min(1, len(boxes))
    for row in range(1, len(boxes)):
        overlap = ious_with(head[:opened], boxes[row])
        best = int(np.argmax(overlap))
        if overlap[best] > match_iou:
            overlap_with_head[row] = overlap[best]
        else:
            best = opened
            head[best] = boxes[row]
            opened += 1
        of_box[row] = best
    share = scores * overlap_with_head
    weighted = np.zeros((opened, 4))
    np.add.at(weighted, of_box, share[:, None] * boxes)
    return Clusters(of_box, weighted / np.bincount(of_box, share)[:, None])


def ious_with(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the IoU [K] of boxes [K, 4] with one box [4] that has an area."""
    x1, y1, x2, y2 = boxes.T
    width = np.minimum(x2, box[2]) - np.maximum(x1, box[0])
    height = np.minimum(y2, box[3]) - np.maximum(y1, box[1])
    inner = np.maximum(width, 0) * np.maximum(height, 0)
    iou: np.ndarray = inner / ((x2 - x1) * (y2 - y1) + (box[2] - box[0]) * (box[3] - box[1]) - inner)
    return iou


# ------------------------------------------------------------------- confidence


def fused_scores(
    of_box: np.ndarray, scores: np.ndarray, models: np.ndarray, weights: np.ndarray, conf_type: str
) -> np.ndarray:
    """Return the score [K] of each cluster from its members' weighted scores [N], as weighted boxes fusion does.

    `models` [N] are the members' models, `weights` [M] all models' weights. `conf_type`:
    avg: mean score, times how many of the M members that could have agreed did, by weight;
    max: highest score over the highest weight;
    box_and_model_avg: mean by weight, times the share of the weight of models that are in the cluster;
    absent_model_aware_avg: sum of scores over the weights of the members and of the models that are not in the cluster.
    """
    sizes, totals = np.bincount(of_box), np.bincount(of_box, scores)
    present = np.zeros((len(sizes), len(weights)), dtype=bool)
    present[of_box, models] = True
    members, of_present = np.bincount(of_box, weights[models]), present @ weights
    result: np.ndarray
    if conf_type == "max":
        result = np.zeros(len(sizes))
        np.maximum.at(result, of_box, scores)
        result /= weights.max()
    elif conf_type == "avg":
        result = totals / sizes * np.minimum(len(weights), sizes) / weights.sum()
    elif conf_type == "box_and_model_avg":
        result = totals / members * of_present / weights.sum()
    else:
        result = totals / (members + weights.sum() - of_present)
    return result
