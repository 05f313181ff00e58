"""Mean IoU of classes: how well a map of the class of each pixel agrees with the true one, over all images together.

Pixels of which the truth says nothing count nowhere. Letters: C classes, H and W an image's height and width in pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fineseg.data.panoptic import IGNORED


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Pixels of each class, int64 [C]: of the truth, of the prediction, and of both."""

    true: np.ndarray
    found: np.ndarray
    both: np.ndarray

    @classmethod
    def none(cls, classes: int) -> "PixelCounts":
        """Return the counts of no image at all."""
        return cls(*(np.zeros(classes, dtype=np.int64) for _ in range(3)))

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(self.true + other.true, self.found + other.found, self.both + other.both)


@dataclass(frozen=True)
class SemanticResult:
    """IoU of each class in percent, nan where neither side has a pixel of it, and their mean without those."""

    miou: float
    classes: tuple[float, ...]

    def plain(self) -> dict[str, Any]:
        """Return JSON-ready data: nan, which JSON does not know, becomes None."""
        return {"mIoU": _none_for_nan(self.miou), "classes": [_none_for_nan(value) for value in self.classes]}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> "SemanticResult":
        """Return what `plain` was made of."""
        values = [float("nan") if value is None else value for value in (stored["mIoU"], *stored["classes"])]
        return cls(values[0], tuple(values[1:]))


def count_pixels(truth: np.ndarray, found: np.ndarray, classes: int) -> PixelCounts:
    """Count an image: labels uint8 [H, W], 255 in the truth where nothing is known.

    Raises `ValueError` for maps of two sizes and for labels beyond the classes.
    """
    if truth.shape != found.shape:
        raise ValueError(f"the predicted map is of shape {found.shape}, the true one {truth.shape}")
    known = truth != IGNORED
    left, right = truth[known], found[known]
    counts = [np.bincount(labels, minlength=classes) for labels in (left, right, left[left == right])]
    if any(len(each) > classes for each in counts):
        raise ValueError(f"labels run up to {max(len(each) for each in counts) - 1}; there are {classes} classes")
    return PixelCounts(*counts)


def semantic_result(counts: PixelCounts) -> SemanticResult:
    """Turn counts into IoU."""
    union = counts.true + counts.found - counts.both
    seen = union > 0
    ious = np.where(seen, 100.0 * counts.both / np.maximum(union, 1), np.nan)
    return SemanticResult(float(ious[seen].mean()) if seen.any() else float("nan"), tuple(ious.tolist()))


def _none_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
