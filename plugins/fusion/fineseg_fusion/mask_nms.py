"""Hard NMS by the IoU of masks, class by class."""

import numpy as np

from fineseg import Instances
from fineseg.data.masks import areas, boxes, ious


def mask_nms(instances: Instances, iou_threshold: float) -> np.ndarray:
    """Return the positions [K] of what is kept, highest score first; at equal scores the first goes ahead.

    Per class the highest remaining instance is kept, and those whose masks overlap it by IoU > `iou_threshold` go.
    """
    order = np.argsort(-instances.scores, kind="stable")
    labels = instances.labels[order]
    keep = np.ones(len(order), dtype=bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        counts = instances.masks[order[places]].tolist()
        keep[places] = _keep(counts, instances.height, instances.width, iou_threshold)
    kept: np.ndarray = order[keep]
    return kept


def _keep(counts: list[bytes], height: int, width: int, iou_threshold: float) -> np.ndarray:
    """Return which masks [N], best first, are kept; only runs of masks that might overlap so much are walked."""
    keep = np.ones(len(counts), dtype=bool)
    likely = _largest_ious(areas(counts, height, width), boxes(counts, height, width)) > iou_threshold
    for row in range(len(counts)):
        later = row + 1 + np.flatnonzero(keep[row] & keep[row + 1 :] & likely[row, row + 1 :])
        if len(later):
            overlaps = ious([counts[row]], [counts[n] for n in later], height, width)[0]
            keep[later[overlaps > iou_threshold]] = False
    return keep


def _largest_ious(area: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return what IoU [N, N] masks of these areas [N] and tight boxes [N, 4] can have at most."""
    low, high = np.maximum(box[:, None, :2], box[:, :2]), np.minimum(box[:, None, 2:], box[:, 2:])
    shared = np.minimum(np.minimum(area[:, None], area), np.clip(high - low, 0, None).prod(axis=2))
    largest: np.ndarray = shared / np.maximum(area[:, None] + area - shared, 1)
    return largest
