"""Masks as COCO run-length encodings: the one place that calls pycocotools' mask functions.

Letters: N masks, H and W image height and width in pixels.
"""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from fineseg.data.split import RLE, Segmentation

BoolArray = np.ndarray

_AT_ONCE = 255  # masks whose areas pycocotools can measure in one call: it counts them in a byte


def encode(mask: BoolArray) -> bytes:
    """Encode one boolean mask [H, W] as compressed COCO counts."""
    counts: bytes = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def decode(counts: bytes, height: int, width: int) -> BoolArray:
    """Decode compressed COCO counts to a boolean mask [H, W]."""
    decoded: np.ndarray = coco_mask.decode({"size": [height, width], "counts": counts})
    return decoded.astype(bool)


def to_rle(segmentation: Segmentation, height: int, width: int) -> RLE:
    """Turn polygons, uncompressed or compressed RLE into one compressed RLE of the image's size [H, W]."""
    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, height, width)
        merged: RLE = coco_mask.merge(parts)
        return merged
    counts = segmentation["counts"]
    if isinstance(counts, list):
        rle: RLE = coco_mask.frPyObjects(segmentation, height, width)
        return rle
    raw = counts.encode("ascii") if isinstance(counts, str) else counts
    return RLE(size=list(segmentation["size"]), counts=raw)


def areas(counts: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Return the pixel areas [N] of masks of one image."""
    rles = [{"size": [height, width], "counts": c} for c in counts]
    parts = [coco_mask.area(rles[start : start + _AT_ONCE]) for start in range(0, len(rles), _AT_ONCE)]
    return np.concatenate([np.zeros(0), *parts])


def ious(
    first: Sequence[bytes], second: Sequence[bytes], height: int, width: int, crowd: Sequence[bool] = ()
) -> np.ndarray:
    """Return the IoU [N, M] of N masks and M others of one image; 0 for two empty ones.

    Where `crowd` [M] says that one of the others is a crowd, it is the part of the mask that lies in it.
    """
    if not (len(first) and len(second)):
        return np.zeros((len(first), len(second)))
    left, right = ([{"size": [height, width], "counts": c} for c in counts] for counts in (first, second))
    return np.asarray(coco_mask.iou(left, right, [int(each) for each in crowd] or [0] * len(right)), dtype=np.float64)


def boxes(counts: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Return the tight boxes [N, 4] (x1, y1, x2, y2) of masks of one image; zeros for an empty mask."""
    if not len(counts):
        return np.zeros((0, 4))
    xywh = np.asarray(coco_mask.toBbox([{"size": [height, width], "counts": c} for c in counts]), dtype=np.float64)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
