"""Hard NMS by the IoU of masks, class by class."""

import numpy as np

from fineseg import Instances
from fineseg.data.masks import ious


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
        overlaps = ious(counts, counts, instances.height, instances.width) > iou_threshold
        for row, place in enumerate(places):
            if keep[place]:
                keep[places[row + 1 :][overlaps[row, row + 1 :]]] = False
    kept: np.ndarray = order[keep]
    return kept
