"""Precision over recall, and what one image's AP and the recall by size are, from one matching.

Letters: D, G, T, K as in `metrics.matching`; R recall points 0:.01:1, B size buckets.
"""

import numpy as np

from fineseg.metrics.matching import CROWD, THRESHOLDS, Matches

RECALL_POINTS = np.linspace(0.0, 1.0, 101)


def precision_at_recall(hits: np.ndarray, truths: int) -> np.ndarray:
    """Return the interpolated precision [R] of detections, best first, of which `hits` bool [N] are right.

    Interpolated as in COCO: at a recall stands the highest precision that is reached at it or beyond, 0 past the end.
    """
    right = np.cumsum(hits)
    recall, precision = right / truths, right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALL_POINTS, side="left")
    return np.append(precision, 0.0)[at]


def class_precision(matches: Matches) -> np.ndarray:
    """Return the precision [T, R, K] of each class; nan for a class without true objects."""
    table = np.full((len(THRESHOLDS), len(RECALL_POINTS), matches.classes), np.nan)
    truths = np.bincount(matches.true_label, minlength=matches.classes)
    order = np.argsort(-matches.score, kind="stable")
    labels, partners = matches.label[order], matches.partner[order]
    for label in np.flatnonzero(truths).tolist():
        partner = partners[labels == label]
        for t in range(len(THRESHOLDS)):
            counted = partner[:, t][partner[:, t] != CROWD]
            table[t, :, label] = precision_at_recall(counted >= 0, int(truths[label]))
    return table


def image_ap(matches: Matches) -> dict[int, float]:
    """Return the AP of single images in percent, by image id, for images with true objects.

    An image's detections are ranked together and matched within their classes; AP is the mean over the thresholds.
    """
    scores: dict[int, float] = {}
    ids, truths = np.unique(matches.true_image, return_counts=True)
    first, last = (np.searchsorted(matches.image, ids, side=side) for side in ("left", "right"))
    for image, count, start, stop in zip(ids.tolist(), truths.tolist(), first, last, strict=True):
        rows = matches.partner[start:stop].T
        curves = [precision_at_recall(row[row != CROWD] >= 0, count) for row in rows]
        scores[image] = 100.0 * float(np.mean(curves))
    return scores


def recall_by_size(matches: Matches, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of true objects [B] between edges [B + 1] and how many of them are found [B, T].

    Edges are side lengths [pixels]: the square root of an object's area. A lower edge is part of its bucket.
    """
    buckets = np.searchsorted(edges, np.sqrt(matches.true_area), side="right") - 1
    count = len(edges) - 1
    inside = (buckets >= 0) & (buckets < count)
    objects = np.bincount(buckets[inside], minlength=count)
    found = matches.found
    recalled = np.stack(
        [np.bincount(buckets[inside & found[:, t]], minlength=count) for t in range(found.shape[1])], axis=1
    )
    return objects, recalled
