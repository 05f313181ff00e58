"""How well the holes of objects are found: the background that an object's mask encloses, as between a chair's slats.

Average precision hardly sees them, for a mask of 0.9 IoU may have its holes filled in. A true object takes part when
its holes are at least `HOLE_SHARE` of it, and counts when a detection of its class matches it as in COCO's evaluation
at an IoU of 0.5: what detection misses, AP tells.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from fineseg.data import masks
from fineseg.data.split import ImageInfo, Split, TrueObject
from fineseg.predictions import Instances

HOLE_SHARE = 0.01
"""Least part of an object, holes filled in, that its holes are."""
MATCH_IOU = 0.5


def holes_of(mask: np.ndarray) -> np.ndarray:
    """Return the holes, bool [H, W], of a mask [H, W]: background without a way to the edge by sides of pixels."""
    padded = np.pad(~mask.astype(bool), 1, constant_values=True).astype(np.uint8)
    _, regions = cv2.connectedComponents(padded, connectivity=4)
    holes: np.ndarray = (padded == 1) & (regions != regions[0, 0])
    return holes[1:-1, 1:-1]


def hole_iou(truth: Split, predictions: Mapping[int, Instances], max_detections: int) -> dict[str, float]:
    """Return "IoU", the mean IoU of the holes of matched objects in percent, and the "matched" of all such "objects".

    Of an image and class the best `max_detections` count. IoU is nan where no object with holes is matched.
    """
    found: list[float] = []
    objects = 0
    for image in truth.images:
        true = [each for each in truth.objects_of(image.id) if not each.crowd]
        counts = [masks.to_rle(each.segmentation, image.height, image.width)["counts"] for each in true]
        pierced = {n: cut for n, one in enumerate(counts) if (cut := _true_holes(one, image)) is not None}
        objects += len(pierced)
        if pierced and image.id in predictions:
            partners = _partners(true, counts, predictions[image.id], image, max_detections)
            found += [_iou(pierced[n], partners[n], image) for n in pierced if n in partners]
    mean = 100.0 * float(np.mean(found)) if found else float("nan")
    return {"IoU": mean, "matched": float(len(found)), "objects": float(objects)}


def _true_holes(counts: bytes, image: ImageInfo) -> np.ndarray | None:
    """Return the holes [H, W] of a true mask, or None where they are too small to count."""
    mask = masks.decode(counts, image.height, image.width)
    holes = _holes_in_frame(mask, counts)
    size = np.count_nonzero(holes)
    return holes if size and size >= HOLE_SHARE * (np.count_nonzero(mask) + size) else None


def _holes_in_frame(mask: np.ndarray, counts: bytes) -> np.ndarray:
    """Return the holes [H, W] of a mask [H, W], looked for in its box alone."""
    x1, y1, x2, y2 = masks.boxes([counts], *mask.shape)[0].astype(int).tolist()
    holes = np.zeros(mask.shape, dtype=bool)
    holes[y1:y2, x1:x2] = holes_of(mask[y1:y2, x1:x2])
    return holes


def _partners(
    true: Sequence[TrueObject], counts: Sequence[bytes], found: Instances, image: ImageInfo, limit: int
) -> dict[int, bytes]:
    """Match detections, best first, each to the free true object of its class with the highest IoU."""
    partners: dict[int, bytes] = {}
    labels = np.array([each.label for each in true])
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label).tolist()
        rows = np.flatnonzero(found.labels == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")][:limit]
        detected = [found.masks[row] for row in rows.tolist()]
        ious = masks.ious(detected, [counts[n] for n in own], image.height, image.width)
        for mask, overlap in zip(detected, ious, strict=True):
            free = np.array([n not in partners for n in own])
            overlap = np.where(free, overlap, 0.0)
            if overlap.max() >= MATCH_IOU:
                partners[own[int(overlap.argmax())]] = mask
    return partners


def _iou(true_holes: np.ndarray, counts: bytes, image: ImageInfo) -> float:
    holes = _holes_in_frame(masks.decode(counts, image.height, image.width), counts)
    shared = np.count_nonzero(true_holes & holes)
    return shared / (np.count_nonzero(true_holes) + np.count_nonzero(holes) - shared)
