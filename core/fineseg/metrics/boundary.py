"""Boundary IoU: how well two masks agree along their outlines.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021. Of either mask only the
pixels count that lie within d pixels (in x and y) of a pixel outside of it, the image's surroundings included; d is 2 %
of the image's diagonal, at least 1. For AP a pair has the smaller of mask IoU and boundary IoU.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from faster_coco_eval import COCOeval_faster

from fineseg.data import masks

DILATION_RATIO = 0.02
LEAST_IOU = 0.5
"""The lowest IoU that AP asks for: a pair whose masks have less can never match, whatever their boundaries."""


@dataclass(frozen=True)
class Band:
    """The pixels of a mask along its outline: bool [h, w] of its box, whose corner is (x, y), and how many they are."""

    x: int
    y: int
    pixels: np.ndarray
    area: int


def band_of(counts: bytes, height: int, width: int) -> Band:
    """Return the band of a mask of an image [height, width], given as compressed COCO counts."""
    x1, y1, x2, y2 = masks.boxes([counts], height, width)[0].astype(int).tolist()
    mask = masks.decode(counts, height, width)[y1:y2, x1:x2].astype(np.uint8)
    reach = max(1, round(DILATION_RATIO * math.hypot(height, width)))
    if mask.size:
        side = 2 * reach + 1
        mask -= cv2.erode(mask, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return Band(x1, y1, mask.astype(bool), int(np.count_nonzero(mask)))


def boundary_iou(first: Band, second: Band) -> float:
    """Return the IoU of two bands of one image; 0 for two empty ones."""
    both = (first, second)
    x1, y1 = max(band.x for band in both), max(band.y for band in both)
    x2 = min(band.x + band.pixels.shape[1] for band in both)
    y2 = min(band.y + band.pixels.shape[0] for band in both)
    if x2 <= x1 or y2 <= y1:
        return 0.0
    left, right = (b.pixels[y1 - b.y : y2 - b.y, x1 - b.x : x2 - b.x] for b in both)
    shared = int(np.count_nonzero(left & right))
    return shared / (first.area + second.area - shared)


class BoundaryEval(COCOeval_faster):  # type: ignore[misc]
    """COCO's evaluation of masks in which the IoU of a pair is the smaller of mask IoU and boundary IoU.

    The evaluator's own boundary mode outlines all detections; here only pairs that may match are looked at. Crowd
    regions keep the mask IoU.
    """

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """Return the IoU [D, G] of an image's detections of a class, best first, and true objects."""
        ious = super().computeIoU(imgId, catId)
        if not len(ious):
            return ious
        true, found = (side.get_instances([imgId], [catId], True)[0][0] for side in (self.gt_dataset, self.dt_dataset))
        order = np.argsort([-each["score"] for each in found], kind="mergesort")
        open_ = ~np.array([each["iscrowd"] for each in true], dtype=bool)
        of_true = cache(lambda g: _band_of_row(true[g]))
        of_found = cache(lambda d: _band_of_row(found[order[d]]))
        for d, g in np.argwhere((ious >= LEAST_IOU) & open_).tolist():
            ious[d, g] = min(ious[d, g], boundary_iou(of_found(d), of_true(g)))
        return ious


def _band_of_row(row: dict[str, Any]) -> Band:
    return band_of(row["segmentation"]["counts"], *row["segmentation"]["size"])
