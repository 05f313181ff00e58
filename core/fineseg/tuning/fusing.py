"""A search over a fuser's settings and what it is worth: panoptic quality on held-out images, nested as for ensemblers.

Counts add up over images, so every image can be fused by the setting that was searched without it, and the sum scored.
Letters: I images in the order of their ids, C classes, S sets of images, K parts, B drawings with replacement.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from fineseg.profile.combine_schema import SearchTable
from fineseg.tuning.matching import mean_over_classes
from fineseg.tuning.nested import DRAWINGS, Nested
from fineseg.tuning.search import search
from fineseg.tuning.setting import Setting

Count = Callable[[Setting], np.ndarray]
"""Fuses all images by a setting; returns summed IoU, matches, false positives and misses of each: float [4, I, C]."""


def class_quality(counts: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Return PQ [percent] of each class on sets of images [S, I], counts [4, I, C]: [S, C], nan where nothing is."""
    iou, tp, fp, fn = (sets @ each for each in counts)
    total = tp + 0.5 * fp + 0.5 * fn
    quality: np.ndarray = np.divide(100.0 * iou, total, out=np.full(total.shape, np.nan), where=total > 0)
    return quality


def nested_fusing(
    count: Count,
    parts: np.ndarray,
    sets: np.ndarray,
    groups: Sequence[str],
    start: Setting,
    table: SearchTable,
    own: Mapping[str, Any],
    counted: slice,
    progress: Callable[[int], None],
) -> Nested:
    """Search without each part [I] and on all images; `sets` are those of `sets_of_parts`, `own` the fuser's options.

    The figure is the mean PQ of the classes in `counted`. `progress` is told how many settings were fused.
    """
    measured: dict[str, np.ndarray] = {}

    def quality(setting: Setting) -> np.ndarray:
        key = repr(setting)
        if key not in measured:
            try:
                measured[key] = class_quality(count(setting), sets)[:, counted]
            except ValidationError:  # options that contradict each other, each of them sound alone
                measured[key] = np.full((len(sets), 1), np.nan)
            progress(len(measured))
        return measured[key]

    def quality_on(number: int) -> Callable[[Setting], np.ndarray]:
        return lambda setting: quality(setting)[number]

    found = [search(quality_on(number), start, table, own) for number in range(len(sets))]
    before = count(start)
    whole = {repr(setting): count(setting) for setting in found[:-1] if setting != start}
    after = before.copy()
    for part, setting in enumerate(found[:-1]):
        inside = parts == part
        after[:, inside] = whole.get(repr(setting), before)[:, inside]
    everything = np.ones((1, len(parts)))
    unsearched, nested = (
        float(mean_over_classes(class_quality(each, everything)[:, counted])[0]) for each in (before, after)
    )
    return Nested(
        unsearched=unsearched,
        searched=float(mean_over_classes(quality(found[-1])[-1:])[0]),
        nested=nested,
        error=standard_error(before, after, groups, table.seed, counted),
        setting=found[-1],
        parts=tuple(found[:-1]),
    )


def standard_error(before: np.ndarray, after: np.ndarray, groups: Sequence[str], seed: int, counted: slice) -> float:
    """Return the standard error of how much more `after` reaches than `before`, by drawing groups with replacement."""
    names = {name: n for n, name in enumerate(dict.fromkeys(name or f"\0{n}" for n, name in enumerate(groups)))}
    group = np.array([names[name or f"\0{n}"] for n, name in enumerate(groups)], dtype=np.int64)
    if len(names) < 2:
        return float("inf")
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWINGS)
    weights = drawn[:, group].astype(np.float64)
    gains = [mean_over_classes(class_quality(each, weights)[:, counted]) for each in (after, before)]
    return float(np.nanstd(gains[0] - gains[1], ddof=1))
