"""Where AP is lost: every wrong detection is of one kind, and the AP that mending a kind alone would gain is its cost.

TIDE: Bolya et al., "A General Toolbox for Identifying Object Detection Errors", ECCV 2020, sections 2.2 and 2.3, by the
IoU of masks. All is measured at one IoU, `FOREGROUND`; crowds count for nothing. Differing from the paper's tool, a
class without true objects has no AP (as in COCO's), and a gain may be negative by the rounding of recall to 101 points.

Letters: D and G as in `metrics.matching`, K classes.
"""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fineseg.metrics.curves import precision_at_recall
from fineseg.metrics.matching import CROWD, NOBODY, THRESHOLDS, Matches

FOREGROUND, BACKGROUND = 0.5, 0.1
"""IoU from which a detection matches, and below which it shows nothing that is there."""
_AT = int(np.argmin(np.abs(THRESHOLDS - FOREGROUND)))


class Kind(IntEnum):
    """What a detection is, or a true object that was missed. IoU is the highest with any true object that is meant."""

    RIGHT = 0
    LOCALISATION = 1
    """The right class, IoU from `BACKGROUND` to below `FOREGROUND`."""
    CLASSIFICATION = 2
    """IoU from `FOREGROUND` with an object of another class."""
    BOTH = 3
    """IoU from `BACKGROUND` to below `FOREGROUND` with an object of another class."""
    DUPLICATE = 4
    """The right class, IoU from `FOREGROUND`, but a detection of a higher score has the object."""
    BACKGROUND = 5
    """IoU below `BACKGROUND` with everything."""
    MISSED = 6
    """A true object without a match that mending localisation or classification would not give one."""
    IGNORED = 7
    """It lies in a crowd."""


ERRORS = tuple(Kind)[Kind.LOCALISATION : Kind.IGNORED]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """`kind` int [D] of each detection, the true object `target` int [D] that it was meant for (localisation and
    classification; else `NOBODY`), and whether each true object is `missed`, bool [G]."""

    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class Losses:
    """`ap` at `FOREGROUND` [percent], the `gains` [points] from mending each kind alone, how many there are of each.

    `confusions` are (true label, detected label, how often), most often first, of errors of classification.
    """

    ap: float
    gains: dict[str, float]
    counts: dict[str, int]
    confusions: tuple[tuple[int, int, int], ...]


def diagnose(matches: Matches) -> Diagnosis:
    """Tell of every detection which kind it is, and of every true object whether it was missed.

    Where several kinds fit, the first of: localisation, classification, duplicate, background, both.
    """
    partner = matches.partner[:, _AT]
    near = (matches.own_iou >= BACKGROUND) & (matches.own_iou < FOREGROUND)
    conditions = [
        (partner >= 0, Kind.RIGHT),
        (partner == CROWD, Kind.IGNORED),
        (near, Kind.LOCALISATION),
        (matches.other_iou >= FOREGROUND, Kind.CLASSIFICATION),
        (matches.own_iou >= FOREGROUND, Kind.DUPLICATE),
        (np.maximum(matches.own_iou, matches.other_iou) < BACKGROUND, Kind.BACKGROUND),
    ]
    kind = np.select([where for where, _ in conditions], [int(found) for _, found in conditions], int(Kind.BOTH))
    target = np.full(len(kind), NOBODY)
    target = np.where(kind == Kind.LOCALISATION, matches.own, target)
    target = np.where(kind == Kind.CLASSIFICATION, matches.other, target)
    missed = ~matches.found[:, _AT]
    missed[target[target >= 0]] = False
    return Diagnosis(kind, target, missed)


def losses(matches: Matches) -> Losses:
    """Measure what each kind of error costs."""
    found = diagnose(matches)
    base = _ap(matches, found)
    gains = {kind.name.lower(): _ap(matches, found, kind) - base for kind in ERRORS}
    counts = {kind.name.lower(): int((found.kind == kind).sum()) for kind in ERRORS}
    counts[Kind.MISSED.name.lower()] = int(found.missed.sum())
    wrong = found.kind == Kind.CLASSIFICATION
    pairs = zip(matches.true_label[found.target[wrong]].tolist(), matches.label[wrong].tolist(), strict=True)
    often = sorted(Counter(pairs).items(), key=lambda entry: (-entry[1], entry[0]))
    return Losses(base, gains, counts, tuple((*pair, count) for pair, count in often))


def _ap(matches: Matches, found: Diagnosis, mended: Kind | None = None) -> float:
    """Return AP at `FOREGROUND` in percent with all errors of one kind mended.

    A detection with a target takes it where it is the best of its kind for that and nobody has it, with the target's
    class; every other detection of the kind goes. What was missed no longer counts as true. Nan without any truth,
    100 where nothing but what was missed was there.
    """
    label, hit = matches.label.copy(), found.kind == Kind.RIGHT
    keep, truths = found.kind != Kind.IGNORED, np.bincount(matches.true_label, minlength=matches.classes)
    measured = truths > 0
    if mended is Kind.MISSED:
        truths = truths - np.bincount(matches.true_label[found.missed], minlength=matches.classes)
    elif mended is not None:
        at = np.flatnonzero(found.kind == mended)
        keep[at] = False
        takers = _takers(matches, found, at)
        keep[takers], hit[takers] = True, True
        label[takers] = matches.true_label[found.target[takers]]
    if not measured.any():
        return float("nan")
    order = np.argsort(-matches.score, kind="stable")
    order = order[keep[order]]
    labels, hits = label[order], hit[order]
    aps = [
        precision_at_recall(hits[labels == each], int(truths[each])).mean() for each in np.flatnonzero(truths).tolist()
    ]
    return 100.0 * float(np.mean(aps)) if aps else 100.0


def _takers(matches: Matches, found: Diagnosis, at: np.ndarray) -> np.ndarray:
    """Return which of the detections `at` take their target: of each that nobody has the one of the highest score."""
    had = matches.found[:, _AT]
    at = at[found.target[at] >= 0]
    at = at[~had[found.target[at]]]
    at = at[np.argsort(-matches.score[at], kind="stable")]
    _, first = np.unique(found.target[at], return_index=True)
    return at[first]
