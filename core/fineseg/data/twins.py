"""Pictures that show the same thing in different files: encoded again, resized, mirrored.

A look at a picture is its 32 x 32 grey thumbnail's cosine transform: the low frequencies, each weighed by its frequency
(photographs have amplitudes of about 1 / frequency, so that every one counts alike), at unit length without the mean.
Brightness and contrast drop out, size and JPEG's losses hardly show. The inner product of two looks is 1 for the same
picture and about 0 for two others. Mirroring flips the signs of the odd horizontal frequencies, so even and odd ones
multiplied apart give both likenesses: their sum, and their difference for one picture against the other's mirror image.

All pairs are compared: a matrix product of 255 numbers a pair needs neither an index nor a second opinion.
Letters: N pictures, D frequencies kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

FloatArray = np.ndarray
IntArray = np.ndarray

ALIKE = 0.9  # likeness from which two pictures are the same one; see tests/realdata/test_twins.py for what it finds
SIDE = 32  # of a thumbnail [pixels]
FREQUENCIES = 16  # kept, along each side
FLAT = 0.5  # grey levels (root mean square): what varies less is noise, not a picture
AT_ONCE = 2048  # pictures on either side of one matrix product: some 100 MB

_FINER = 4  # pixels are averaged from so many times as fine a thumbnail: its rounding to whole grey levels evens out


@dataclass(frozen=True)
class Twin:
    """Two pictures that are one, by their numbers; `mirrored` when left and right are swapped between them."""

    first: int
    second: int
    likeness: float
    mirrored: bool


def look_at(image: "Image.Image") -> FloatArray:
    """Return the look [D] of a decoded picture, float32; zeros for one that is flat, which is like no other."""
    from PIL import Image

    deep = image.mode.startswith(("I", "F"))  # more than 8 bits a pixel, which mode L would cut off
    grey = image.convert("F" if deep else "L").resize((SIDE * _FINER, SIDE * _FINER), Image.Resampling.BOX)
    fine = np.asarray(grey, dtype=np.float64).reshape(SIDE, _FINER, SIDE, _FINER)
    thumbnail = fine.mean(axis=(1, 3))
    if not thumbnail.std() >= (0 if deep else FLAT):  # so that not-a-numbers are flat too
        return np.zeros(_WEIGHTS.size, dtype=np.float32)
    weighed: FloatArray = ((_COSINES @ thumbnail @ _COSINES.T) * _WEIGHTS).ravel().astype(np.float32)
    length = np.linalg.norm(weighed)
    return weighed / length if length > 0 else weighed


def _cosines() -> FloatArray:
    """Return the first rows [FREQUENCIES, SIDE] of the orthonormal cosine transform (DCT-II)."""
    frequency, pixel = np.mgrid[:FREQUENCIES, :SIDE]
    rows: FloatArray = np.cos(np.pi * frequency * (pixel + 0.5) / SIDE) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return rows


_COSINES = _cosines()
_WEIGHTS = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES])  # the mean's weight is 0
_ODD = (np.arange(_WEIGHTS.size) % FREQUENCIES) % 2 == 1  # horizontal frequencies that mirroring turns about


def find_twins(
    looks: FloatArray,
    splits: IntArray,
    contents: IntArray,
    progress: Callable[[int, int], None] | None = None,
) -> list[Twin]:
    """Return for each picture its best earlier twin in another split and its best earlier one in its own.

    `looks` [N, D] are of `look_at`, `splits` [N] and `contents` [N] number the pictures' splits and files: equal files
    are no twins here. `progress` is told (pictures compared, N).
    """
    even, odd = looks[:, ~_ODD], looks[:, _ODD]
    found = []
    for start in range(0, len(looks), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        best = _Best(splits[rows])
        for other in range(0, start + 1, AT_ONCE):
            columns = slice(other, other + AT_ONCE)
            same, turned = even[rows] @ even[columns].T, odd[rows] @ odd[columns].T
            likeness = same + np.abs(turned)
            likeness[contents[rows, None] == contents[columns]] = -1
            if other == start:
                likeness[np.triu_indices(len(likeness))] = -1
            best.update(likeness, turned < 0, splits[columns], other)
        found += best.twins(start)
        if progress is not None:
            progress(min(start + AT_ONCE, len(looks)), len(looks))
    return found


class _Best:
    """The best twins so far of some pictures: [0] in another split, [1] in the same."""

    def __init__(self, splits: IntArray) -> None:
        self.splits = splits
        self.likeness = np.full((2, len(splits)), -1.0, dtype=np.float32)
        self.other = np.zeros((2, len(splits)), dtype=np.int64)
        self.mirrored = np.zeros((2, len(splits)), dtype=bool)

    def update(self, likeness: FloatArray, mirrored: np.ndarray, splits: IntArray, offset: int) -> None:
        """Take in the likeness [rows, columns] to the pictures from `offset` on."""
        rows = np.flatnonzero(likeness.max(axis=1) >= ALIKE)  # few, as a rule
        within = self.splits[rows, None] == splits
        for which, allowed in enumerate((~within, within)):
            of_these = np.where(allowed, likeness[rows], -1)
            column = of_these.argmax(axis=1)
            value = of_these[np.arange(len(rows)), column]
            better = (value >= ALIKE) & (value > self.likeness[which, rows])
            chosen = rows[better]
            self.likeness[which, chosen] = value[better]
            self.other[which, chosen] = column[better] + offset
            self.mirrored[which, chosen] = mirrored[chosen, column[better]]

    def twins(self, start: int) -> list[Twin]:
        """Return what was found, picture by picture, the one of another split first."""
        found = [
            Twin(int(self.other[which, row]), start + int(row), float(self.likeness[which, row]), bool(m))
            for row in np.flatnonzero(self.likeness.max(axis=0) >= ALIKE)
            for which in (0, 1)
            if self.likeness[which, row] >= ALIKE
            for m in [self.mirrored[which, row]]
        ]
        return found
