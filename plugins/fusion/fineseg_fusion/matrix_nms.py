"""Matrix NMS by the IoU of masks: every score is lowered once, by the better masks of its class that it overlaps.

Letters: N detections of one image.
"""

from collections.abc import Callable

import numpy as np

from fineseg import Instances
from fineseg.data.masks import ious

Kernel = Callable[[np.ndarray], np.ndarray]
BLOCK = 64
"""Masks that are compared with all after them in one call: fewer calls, but some pairs twice."""


def gaussian(sigma: float) -> Kernel:
    """Return f(IoU) = exp(-IoU^2 / sigma)."""
    return lambda iou: np.exp(-(iou**2) / sigma)


def linear(iou: np.ndarray) -> np.ndarray:
    """Return f(IoU) = 1 - IoU."""
    return 1.0 - iou


def matrix_nms(instances: Instances, kernel: Kernel) -> np.ndarray:
    """Return the lowered scores [N], float64; at equal scores the first counts as the better.

    A detection j gets score * min over the better i of its class of f(IoU_ij) / f(the largest IoU of i with what is
    better than i). Wang et al., "SOLOv2", NeurIPS 2020, section 3.3.

    pycocotools walks the runs of two masks only where their tight boxes meet, so that classes are all there is to part.
    """
    lowered = instances.scores.astype(np.float64)
    order = np.argsort(-instances.scores, kind="stable")
    labels = instances.labels[order]
    for label in np.unique(labels):
        places = order[labels == label]
        counts = instances.masks[places].tolist()
        lowered[places] *= _decay(_upper_ious(counts, instances.height, instances.width), kernel)
    return lowered


def _upper_ious(counts: list[bytes], height: int, width: int) -> np.ndarray:
    """Return the IoU [N, N] of masks with those after them, 0 elsewhere."""
    iou = np.zeros((len(counts), len(counts)))
    for start in range(0, len(counts), BLOCK):
        iou[start : start + BLOCK, start:] = ious(counts[start : start + BLOCK], counts[start:], height, width)
    upper: np.ndarray = np.triu(iou, k=1)
    return upper


def _decay(iou: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Return the factors [N] from the IoU [N, N] of the better (row) with the worse (column), 0 elsewhere."""
    first, second = np.nonzero(iou)
    factors = np.ones(len(iou))
    above = kernel(iou.max(axis=0, initial=0.0))[first]
    # What equals a better mask has f = 0 with the linear kernel and says nothing that the better one does not.
    told = above > 0
    np.minimum.at(factors, second[told], kernel(iou[first[told], second[told]]) / above[told])
    return factors
