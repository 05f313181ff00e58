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
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fineseg.data import masks as mask_codes
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

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return len(self.probabilities)


class SemanticPlanes(SemanticScores):
    """Scores of which a few classes have any: `planes` float32 [K, h, w] are those of `labels` [K], which rise."""

    labels: tuple[int, ...]
    _classes: int

    def __init__(self, labels: Sequence[int], planes: np.ndarray, classes: int, size: tuple[int, int]) -> None:
        self._set(labels=tuple(labels), planes=planes, _classes=classes, size=size)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen like its base

    planes: np.ndarray

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return self._classes

    @property
    def probabilities(self) -> np.ndarray:  # type: ignore[override]
        """Float32 [C, h, w], made when it is asked for: most of it is 0."""
        planes = self.planes
        dense = np.zeros((self._classes, *planes.shape[1:]), np.float32)
        dense[list(self.labels)] = planes
        return dense


class SemanticMasks(SemanticPlanes):
    """What is known as one mask a class, as files have it: probability 1 inside of a mask and 0 outside.

    `regions` are (label, compressed COCO counts) in their order, each of another label; where they overlap the first
    has the pixel, and where none lies no class has any probability.
    """

    regions: tuple[tuple[int, bytes], ...]

    def __init__(self, regions: Sequence[tuple[int, bytes]], classes: int, size: tuple[int, int]) -> None:
        labels = tuple(sorted(label for label, _ in regions))
        if len(set(labels)) < len(labels) or not all(0 <= label < classes for label in labels):
            raise ValueError(f"labels {labels} must differ and lie in 0..{classes - 1}")
        self._set(regions=tuple(regions), labels=labels, _classes=classes, size=size)

    @property
    def planes(self) -> np.ndarray:  # type: ignore[override]
        """Float32 [K, H, W], made when it is asked for."""
        planes = np.zeros((len(self.labels), *self.size), np.float32)
        free = np.ones(self.size, bool)
        for label, counts in self.regions:
            mask = mask_codes.decode(counts, *self.size) & free
            planes[self.labels.index(label)][mask] = 1
            free &= ~mask
        return planes


def mean_scores(members: Sequence[SemanticScores], weights: Sequence[float] | None = None) -> SemanticScores:
    """Return the mean of what several models, at least one, say of one image, on the finest of their grids.

    Each counts by its weight, at least one of them above 0; without weights all count the same. What a single one says
    is returned as it is. Raises `ValueError` for members of other sizes or numbers of classes.
    """
    given = [1.0] * len(members) if weights is None else list(weights)
    chosen = [(member, weight) for member, weight in zip(members, given, strict=True) if weight > 0]
    if not chosen:
        raise ValueError("there is nothing to average; give scores that weigh more than 0")
    first = chosen[0][0]
    if any(member.size != first.size or member.classes != first.classes for member, _ in chosen):
        raise ValueError("scores that are averaged must be of one size and of the same classes")
    if len(chosen) == 1:
        return first
    total = sum(weight for _, weight in chosen)
    masks = [(member, weight / total) for member, weight in chosen if isinstance(member, SemanticMasks)]
    if len(masks) == len(chosen):
        return _mean_of_masks(masks)
    mean = np.zeros((first.classes, 1, 1), np.float32)
    for member, weight in chosen:
        planes = np.asarray(member.probabilities, np.float32) * np.float32(weight / total)
        grid = max(mean.shape[1], planes.shape[1]), max(mean.shape[2], planes.shape[2])
        mean = _scaled(mean, grid, cv2.INTER_LINEAR) + _scaled(planes, grid, cv2.INTER_LINEAR)
    return SemanticScores(mean, first.size)


def _mean_of_masks(members: Sequence[tuple[SemanticMasks, float]]) -> SemanticPlanes:
    first = members[0][0]
    labels = sorted({label for member, _ in members for label in member.labels})
    planes = np.zeros((len(labels), *first.size), np.float32)
    for member, share in members:
        planes[np.searchsorted(labels, member.labels)] += np.float32(share) * member.planes
    return SemanticPlanes(labels, planes, first.classes, first.size)


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
    """Return the most probable class of each pixel, uint8 [H, W]: cells are blended into pixels, classes are not.

    Of equals the first counts; 255 is where no class has any probability.
    """
    planes = scores.planes if isinstance(scores, SemanticPlanes) else scores.probabilities
    labels = np.arange(len(planes))
    if isinstance(scores, SemanticPlanes):
        labels = np.asarray(scores.labels, np.int64)
    if planes.shape[1:] != scores.size:
        likely = _likely(planes)
        planes, labels = planes[likely], labels[likely]
    numbers = np.append(labels, LARGEST_LABEL).astype(np.uint8)
    height, width = scores.size
    rows = planes.shape[1]
    found = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        if planes.shape[1:] == scores.size:
            found[top:bottom] = numbers[_best(planes[:, top:bottom])]
            continue
        # the cells that these rows lie between, and where the rows lie among them
        place = (np.arange(top, bottom) + 0.5) * rows / height - 0.5
        above = np.floor(place).astype(int)
        part = (place - above).astype(np.float32)[:, None]
        first, second = (planes[:, row.clip(0, rows - 1)] for row in (above, above + 1))
        band = first * (1 - part) + second * part
        found[top:bottom] = numbers[_best(_scaled(band, (bottom - top, width), cv2.INTER_LINEAR))]
    return found


def _best(planes: np.ndarray) -> np.ndarray:
    """Return which of the planes [K, h, w] is largest at each cell, of equals the first; K where all are 0."""
    best, which = np.zeros(planes.shape[1:], np.float32), np.full(planes.shape[1:], len(planes))
    for number, plane in enumerate(planes):
        better = plane > best
        np.copyto(best, plane, where=better)
        which[better] = number
    return which


def _likely(planes: np.ndarray) -> np.ndarray:
    """Return which of the planes [C, h, w] may be the largest somewhere between cells: most are so nowhere.

    Between four cells a blend of a plane is not above its largest there, nor that of another below its smallest.
    """
    surely = np.zeros(1, np.float32)
    for plane in planes:
        surely = np.maximum(surely, _between(plane, np.minimum))
    surely = surely * (1 - 1e-4)  # less than what rounding may do
    return np.array([n for n, plane in enumerate(planes) if (_between(plane, np.maximum) >= surely).any()], int)


def _between(plane: np.ndarray, choose: np.ufunc) -> np.ndarray:
    """Return the smallest or largest of each four cells that touch: [h - 1, w - 1] of [h, w]; a side of 1 stays."""
    if len(plane) > 1:
        plane = choose(plane[:-1], plane[1:])
    if plane.shape[1] > 1:
        plane = choose(plane[:, :-1], plane[:, 1:])
    return plane


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
