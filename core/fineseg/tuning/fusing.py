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
from fineseg.tuning.nested import Nested, standard_error
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


class _Fused:
    """What settings were fused: the quality of each, and what was counted by `start` and by the best of each set."""

    def __init__(
        self, count: Count, sets: np.ndarray, counted: slice, start: Setting, progress: Callable[[int], None]
    ) -> None:
        self.count, self.sets, self.counted, self.progress = count, sets, counted, progress
        self.start = repr(start)
        self.measured: dict[str, np.ndarray] = {}
        self.kept: dict[str, np.ndarray] = {}
        self.best: list[tuple[float, str]] = [(-np.inf, self.start)] * len(sets)

    def quality(self, setting: Setting) -> np.ndarray:
        """Return PQ [S, C] of the counted classes; a setting is fused once."""
        key = repr(setting)
        if key not in self.measured:
            try:
                counts = self.count(setting)
                self.measured[key] = class_quality(counts, self.sets)[:, self.counted]
                self._keep(key, counts)
            except ValidationError:  # options that contradict each other, each of them sound alone
                self.measured[key] = np.full((len(self.sets), 1), np.nan)
            self.progress(len(self.measured))
        return self.measured[key]

    def counts(self, setting: Setting) -> np.ndarray:
        """Return what was counted [4, I, C]; of a setting that was not kept it is counted again."""
        key = repr(setting)
        return self.kept[key] if key in self.kept else self.count(setting)

    def _keep(self, key: str, counts: np.ndarray) -> None:
        self.kept[key] = counts
        for number, reached in enumerate(mean_over_classes(self.measured[key]).tolist()):
            if reached > self.best[number][0]:
                self.best[number] = (reached, key)
        for other in self.kept.keys() - {self.start, *(name for _, name in self.best)}:
            del self.kept[other]


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

    The figure is the mean PQ of the classes in `counted`. `count` fuses each part by what was measured of the models
    without that part alone: what a search without part k sees of the others goes by truth of part k, through class
    tables, though never by how its own images came out. This leak is small; to close it K (K - 1) measurements more
    would be needed. `progress` is told how many settings were fused.
    """
    fused = _Fused(count, sets, counted, start, progress)

    def quality_on(number: int) -> Callable[[Setting], np.ndarray]:
        return lambda setting: fused.quality(setting)[number]

    found = [search(quality_on(number), start, table, own) for number in range(len(sets))]
    before = fused.counts(start)
    whole = {repr(setting): fused.counts(setting) for setting in found[:-1] if setting != start}
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
        searched=float(mean_over_classes(fused.quality(found[-1])[-1:])[0]),
        nested=nested,
        error=standard_error(
            lambda weights: [mean_over_classes(class_quality(each, weights)[:, counted]) for each in (before, after)],
            groups,
            table.seed,
        ),
        setting=found[-1],
        parts=tuple(found[:-1]),
    )
