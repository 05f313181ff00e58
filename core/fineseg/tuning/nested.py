"""A search and what it is worth: searched on the other parts, applied to each part, compared with no search at all.

Letters: I images in the order of their ids, K parts, B drawings with replacement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fineseg.predictions import Instances
from fineseg.profile.combine_schema import SearchTable
from fineseg.tuning.matching import class_ap, mean_over_classes
from fineseg.tuning.objective import Objective
from fineseg.tuning.search import search
from fineseg.tuning.setting import Setting

KNOTS = 500
"""Scores at which two scales are compared, denser among the high ones."""
DRAWINGS = 200
"""Times that the images are drawn anew to see how far the gain is chance."""


@dataclass(frozen=True)
class Nested:
    """What a search found.

    Figures in percent on all images: `unsearched`; `searched`, by the setting that was searched on them, and therefore
    too high; `nested`, each image by the setting that was searched without it, and `error`, the standard error of
    `nested - unsearched`. `setting` was searched on all images, `parts` [K] without each part.
    """

    unsearched: float
    searched: float
    nested: float
    error: float
    setting: Setting
    parts: tuple[Setting, ...]

    @property
    def accepted(self) -> bool:
        """Whether the search is to be used: its honest gain is more than one standard error."""
        return self.nested - self.unsearched > self.error


def sets_of_parts(parts: np.ndarray, count: int) -> np.ndarray:
    """Return sets of images [K + 1, I] as 0 and 1: all but each part, then all."""
    return np.stack([*(parts != part for part in range(count)), np.ones(len(parts), dtype=bool)]).astype(np.float64)


def nested_search(
    objective: Objective,
    groups: Sequence[str],
    start: Setting,
    table: SearchTable,
    own: Mapping[str, Any],
    progress: Callable[[int], None],
) -> tuple[Nested, list[Instances]]:
    """Search without each part and on all images; return what came out, and each image merged by its part's setting.

    The objective's sets are those of `sets_of_parts`. What it merges an image by, AP and calibration, is learnt without
    that image's part alone, so a search without another part sees something of that one: a small leak. Where the search
    is not accepted, the images are merged as if none had been. `progress` is told how many settings were merged.
    """

    def measure_on(number: int) -> Callable[[Setting], np.ndarray]:
        def measure(setting: Setting) -> np.ndarray:
            figures: np.ndarray = objective.measure(setting)[number]
            progress(objective.merged_settings)
            return figures

        return measure

    found = [search(measure_on(number), start, table, own) for number in range(len(objective.sets))]
    before = objective.merge(start)
    after = on_one_scale(objective, found[:-1], before)
    matched = [objective.match(before), objective.match(after)]
    everything = np.ones((1, len(groups)))
    unsearched, nested = (float(mean_over_classes(class_ap(each, everything))[0]) for each in matched)
    result = Nested(
        unsearched=unsearched,
        searched=float(mean_over_classes(objective.measure(found[-1])[-1:])[0]),
        nested=nested,
        error=standard_error(
            lambda weights: [mean_over_classes(class_ap(each, weights)) for each in matched], groups, table.seed
        ),
        setting=found[-1],
        parts=tuple(found[:-1]),
    )
    return result, after if result.accepted else before


def on_one_scale(objective: Objective, settings: Sequence[Setting], ruler: Sequence[Instances]) -> list[Instances]:
    """Return each image merged by the setting of its part, with scores that compare across the parts.

    A setting has its own scale: weights of 1 and 0.5 rank within an image as 0.5 and 0.25 do. AP ranks across images,
    so each part's scores are turned into those that are as frequent in the `ruler` [I], images merged by one setting
    for all. How frequent a score is is counted on the other parts. The order within a part stays.
    """
    merged: list[Instances] = list(ruler)
    for part, setting in enumerate(settings):
        inside = objective.parts == part
        whole = objective.merge(setting)
        scores, wanted = (
            np.concatenate([each.scores for each, held in zip(found, inside, strict=True) if not held])
            for found in (whole, ruler)
        )
        for position in np.flatnonzero(inside).tolist():
            each = whole[position]
            merged[position] = each.with_scores(same_rank(each.scores, scores, wanted))
    return merged


def same_rank(scores: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Turn scores [N] into those that as many of `wanted` exceed as exceed them among `own`; rising, in 0..1."""
    count = min(len(own), len(wanted))
    ranks = np.unique(np.geomspace(1, count, KNOTS).astype(np.int64)) - 1 if count else np.zeros(0, np.int64)
    x, y = (-np.sort(-each)[ranks] for each in (own, wanted))
    _, first = np.unique(x, return_index=True)
    x, y = x[first], y[first]
    _, first = np.unique(y, return_index=True)  # else the map would be flat there, and what it maps tied
    x, y = x[first], y[first]
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    mapped: np.ndarray = np.interp(scores, [0.0, *x[inside], 1.0], [0.0, *y[inside], 1.0])
    return mapped


def standard_error(reached: Callable[[np.ndarray], Sequence[np.ndarray]], groups: Sequence[str], seed: int) -> float:
    """Return the standard error of how much more a search reaches, by drawing groups of images with replacement.

    `reached` returns what is reached before and after it [B] by images that count as weights [B, I] say.
    """
    names = {name: n for n, name in enumerate(dict.fromkeys(name or f"\0{n}" for n, name in enumerate(groups)))}
    group = np.array([names[name or f"\0{n}"] for n, name in enumerate(groups)], dtype=np.int64)
    if len(names) < 2:
        return float("inf")
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWINGS)
    weights = drawn[:, group].astype(np.float64)
    before, after = reached(weights)
    return float(np.nanstd(after - before, ddof=1))
