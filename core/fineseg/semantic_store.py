"""Semantic scores in few bytes: how probable each class is all over an image, as the store of predictions keeps it.

All of it at full size is too much to keep: 133 classes of an image of 640 x 480 pixels are 163 MB. Two forms are made:

- compact: on a grid of cells of `STRIDE` pixels, the `TOP` most probable classes of each cell in 256 steps; what they
  leave is shared evenly by the others. The grid follows from the image's size alone, so that what several models say of
  an image can be averaged cell by cell.
- full: every number as float32, on the grid that it is given on.

Both are zip files of numpy's own making that hold plain arrays. Letters: C classes, H and W the image's height and
width in pixels, h and w rows and columns of cells, K the classes kept of each cell.
"""

import io
import zipfile
from dataclasses import dataclass

import cv2
import numpy as np

from fineseg.errors import FinesegError

STRIDE, TOP = 4, 6
LARGEST_LABEL = 255
_STEPS = 255
_BAND = 64
"""Rows of an image that are enlarged at a time: all of 133 classes at once would take 163 MB."""


@dataclass(frozen=True, eq=False)
class SemanticScores:
    """Probabilities float32 [C, h, w] of an image of `size` (H, W), which the cells span edge to edge."""

    probabilities: np.ndarray
    size: tuple[int, int]


def encode_compact(scores: SemanticScores, *, top: int = TOP, stride: int = STRIDE) -> bytes:
    """Return the compact form; equal scores give equal bytes.

    Cells are means over what the scores' own grid has there, or blends of it where that is coarser. A probability of
    the K that are kept is off by 1/510 at most, and the sum over a cell's classes by K/510.
    """
    given = scores.probabilities
    if given.ndim != 3 or not 0 < len(given) <= LARGEST_LABEL + 1:
        raise ValueError(f"probabilities are of shape {given.shape}; must be [C, h, w] with 1 to 256 classes")
    grid = -(-scores.size[0] // stride), -(-scores.size[1] // stride)
    shrinks = grid[0] <= given.shape[1] and grid[1] <= given.shape[2]
    cells = _scaled(given, grid, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    flat = cells.reshape(len(given), -1)
    kept = min(top, len(given))
    labels = np.argpartition(-flat, kept - 1, axis=0)[:kept]
    order = np.argsort(-np.take_along_axis(flat, labels, axis=0), axis=0, kind="stable")
    labels = np.take_along_axis(labels, order, axis=0)
    steps = np.rint(np.take_along_axis(flat, labels, axis=0).clip(0, 1) * _STEPS)
    labels[steps == 0] = 0  # names nothing, and compresses well
    shape = (kept, *cells.shape[1:])
    content = io.BytesIO()
    np.savez_compressed(
        content,
        size=np.array(scores.size, np.int32),
        classes=np.array(len(given), np.int32),
        labels=labels.astype(np.uint8).reshape(shape),
        steps=steps.astype(np.uint8).reshape(shape),
    )
    return content.getvalue()


def encode_full(scores: SemanticScores) -> bytes:
    """Return the full form, which loses nothing of float32."""
    content = io.BytesIO()
    given = np.ascontiguousarray(scores.probabilities, np.float32)
    np.savez(content, size=np.array(scores.size, np.int32), probabilities=given)  # deflating saves a twentieth
    return content.getvalue()


def decode(content: bytes, source: str) -> SemanticScores:
    """Return what either form holds; `source` names it in messages. Raises `FinesegError` for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            height, width = arrays["size"].tolist()
            found = arrays["probabilities"] if "probabilities" in arrays else _dense(dict(arrays))
    except (OSError, EOFError, KeyError, ValueError, IndexError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FinesegError(f"{source}: holds no semantic scores ({reason})") from None
    return SemanticScores(found, (height, width))


def label_map(scores: SemanticScores) -> np.ndarray:
    """Return the most probable class of each pixel, uint8 [H, W]: cells are blended into pixels, classes are not."""
    height, width = scores.size
    rows = scores.probabilities.shape[1]
    found = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        # the cells that these rows lie between, and where the rows lie among them
        place = (np.arange(top, bottom) + 0.5) * rows / height - 0.5
        above = np.floor(place).astype(int)
        part = (place - above).astype(np.float32)[:, None]
        first, second = (scores.probabilities[:, row.clip(0, rows - 1)] for row in (above, above + 1))
        band = first * (1 - part) + second * part
        found[top:bottom] = _scaled(band, (bottom - top, width), cv2.INTER_LINEAR).argmax(axis=0)
    return found


def _dense(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return float32 [C, h, w]; classes that a cell does not keep share evenly what those leave."""
    labels, steps, classes = arrays["labels"], arrays["steps"], int(arrays["classes"])
    kept = steps.astype(np.float32) / _STEPS
    others = np.maximum(classes - (steps > 0).sum(axis=0), 1)
    rest = np.maximum(1 - kept.sum(axis=0), 0) / others
    dense = np.repeat(rest.astype(np.float32)[None], classes, axis=0)
    for label, value in zip(labels[::-1].astype(np.int64), kept[::-1], strict=True):
        current = np.take_along_axis(dense, label[None], axis=0)[0]
        np.put_along_axis(dense, label[None], np.where(value > 0, value, current)[None], axis=0)
    return dense


def _scaled(planes: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    """Return planes [C, a, b] as float32 [C, *size]; `how` is one of OpenCV's interpolations."""
    planes = np.asarray(planes, np.float32)
    if planes.shape[1:] == size:
        return planes
    return np.stack([cv2.resize(plane, (size[1], size[0]), interpolation=how) for plane in planes])
