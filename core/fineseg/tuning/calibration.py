"""From a model's scores to how often it is right: P(true positive at IoU .5 | score), fitted on held-out detections.

Both maps rise with the score, so that a model's own order, and with it its AP, stays. Letters: N detections, B blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Method = Literal["temperature", "isotonic"]

LEAST = 20
"""Detections that hit, and as many that miss, which a map needs to be fitted."""
RAW_SHARE = 0.02
"""What of a calibrated score is the raw one: it keeps apart what flat parts of a map would make equal."""
EDGE = 1e-6
"""Scores nearer to 0 or 1 have this distance, or their logits would be endless."""


@dataclass(frozen=True)
class Temperature:
    """sigmoid(slope * logit(score) + offset), and a little of the raw score.

    The temperature is 1 / slope (Guo et al. 2017); the offset is Platt's.
    """

    slope: float
    offset: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated scores [N]."""
        return _with_raw(_sigmoid(self.slope * _logit(scores) + self.offset), scores)

    def plain(self) -> dict[str, Any]:
        """Return the map as JSON-ready data."""
        return {"slope": self.slope, "offset": self.offset}


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between the blocks' mean scores `at` and shares of hits `share`, and a little of the raw score."""

    at: tuple[float, ...]
    share: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated scores [N]."""
        return _with_raw(np.interp(np.asarray(scores, dtype=np.float64), self.at, self.share), scores)

    def plain(self) -> dict[str, Any]:
        """Return the map as JSON-ready data."""
        return {"at": list(self.at), "share": list(self.share)}


ScoreMap = Temperature | Isotonic


def map_of_plain(stored: Mapping[str, Any]) -> ScoreMap:
    """Return the map that `plain` was called on."""
    if "slope" in stored:
        return Temperature(stored["slope"], stored["offset"])
    return Isotonic(tuple(stored["at"]), tuple(stored["share"]))


def fit(method: Method, scores: np.ndarray, hits: np.ndarray) -> ScoreMap | None:
    """Fit a map to scores [N] and whether each is a hit [N]; None where too little, or no rise, is to be seen."""
    scores, hits = np.asarray(scores, dtype=np.float64), np.asarray(hits, dtype=bool)
    if min(hits.sum(), (~hits).sum()) < LEAST:
        return None
    return _fit_temperature(scores, hits) if method == "temperature" else _fit_isotonic(scores, hits)


def _fit_temperature(scores: np.ndarray, hits: np.ndarray) -> Temperature | None:
    """Minimise the log-loss by Newton's method, with Platt's targets, so that separable scores have an end too."""
    x = _logit(scores)
    right, wrong = hits.sum(), (~hits).sum()
    target = np.where(hits, (right + 1) / (right + 2), 1 / (wrong + 2))
    found = np.array([1.0, 0.0])
    loss = _log_loss(found, x, target)
    for _ in range(100):
        p = _sigmoid(found[0] * x + found[1])
        error, spread = p - target, p * (1 - p)
        gradient = np.array([error @ x, error.sum()])
        curvature = np.array([[spread @ x**2, spread @ x], [spread @ x, spread.sum()]]) + 1e-9 * np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (lower := _log_loss(found - size * step, x, target)) > loss and size > 1e-6:
            size /= 2
        if loss - lower < 1e-12 * loss:
            break
        found, loss = found - size * step, lower
    return Temperature(float(found[0]), float(found[1])) if found[0] > 0 else None


def _fit_isotonic(scores: np.ndarray, hits: np.ndarray) -> Isotonic | None:
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    share, size = pool_adjacent_violators(np.bincount(inverse, weights=hits) / counts, counts)
    ends = np.cumsum(size)
    weighted = np.append(0.0, np.cumsum(values * counts))
    at = np.diff(weighted[np.append(0, ends)]) / np.diff(np.append(0, np.cumsum(counts))[np.append(0, ends)])
    return Isotonic(tuple(at.tolist()), tuple(share.tolist())) if len(share) > 1 else None


def pool_adjacent_violators(values: np.ndarray, weights: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rising sequence nearest to values [N] by weighted squares: each block.s value and length [B].

    Ayer et al. 1955: neighbours that fall are pooled into their mean until none does.
    """
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(np.asarray(values).tolist(), np.asarray(weights).tolist(), strict=True):
        mean, mass, length = value, weight, 1
        while means and means[-1] >= mean:
            mean = (mean * mass + means[-1] * masses[-1]) / (mass + masses[-1])
            mass, length = mass + masses.pop(), length + lengths.pop()
            means.pop()
        means.append(mean)
        masses.append(mass)
        lengths.append(length)
    return np.array(means), np.array(lengths, dtype=np.int64)


def _with_raw(chance: np.ndarray, scores: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = (1 - RAW_SHARE) * chance + RAW_SHARE * np.asarray(scores, dtype=np.float64)
    return mixed


def _logit(scores: np.ndarray) -> np.ndarray:
    inside = np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1 - EDGE)
    logit: np.ndarray = np.log(inside) - np.log1p(-inside)
    return logit


def _sigmoid(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return value


def _log_loss(found: np.ndarray, x: np.ndarray, target: np.ndarray) -> float:
    z = found[0] * x + found[1]
    return float((np.logaddexp(0, z) - target * z).sum())
