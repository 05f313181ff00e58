"""A nested search over fusers: against the best of all settings, part by part, and sums of what was counted."""

import numpy as np
import pytest

from fineseg.metrics.panoptic_quality import PanopticCounts, panoptic_result
from fineseg.profile.combine_schema import SearchTable
from fineseg.tuning.fusing import class_quality, nested_fusing
from fineseg.tuning.nested import sets_of_parts
from fineseg.tuning.setting import Setting

IMAGES, CLASSES, THINGS, PARTS = 30, 6, 4, 3
LEVELS = (0.1, 0.3, 0.5, 0.7)
TABLE = SearchTable.model_validate({"weights": False, "space": {"level": {"choice": LEVELS}}, "trials": 50})
COUNTED = {"PQ": slice(None), "PQth": slice(THINGS), "PQst": slice(THINGS, None)}


def drawn(seed: int) -> dict[float, np.ndarray]:
    """Return what is counted by each level: [4, I, C]; the last class is nowhere."""
    rng = np.random.default_rng(seed)
    found = {}
    for level in LEVELS:
        tp, fp, fn = rng.integers(0, 4, (3, IMAGES, CLASSES)) + (rng.random((3, 1, 1)) < 0.5)
        found[level] = np.stack([tp * rng.uniform(0.5, 1, tp.shape), tp, fp, fn])
        found[level][:, :, -1] = 0
    return found


def quality(counts: np.ndarray, counted: slice) -> float:
    iou, tp, fp, fn = counts.sum(axis=1)
    result = panoptic_result(PanopticCounts(iou, *(each.astype(np.int64) for each in (tp, fp, fn))), THINGS)
    return float(np.nanmean([row.pq for row in result.classes][counted]))


@pytest.mark.parametrize("metric", COUNTED)
@pytest.mark.parametrize("seed", range(4))
def test_each_part_by_what_is_best_without_it(seed: int, metric: str) -> None:
    by_level, counted = drawn(seed), COUNTED[metric]
    rng = np.random.default_rng(seed)
    parts = rng.permutation(np.arange(IMAGES) % PARTS)
    sets = sets_of_parts(parts, PARTS)
    asked: list[float] = []

    def count(setting: Setting) -> np.ndarray:
        asked.append(setting.options.get("level", 0.5))
        return by_level[asked[-1]]

    start, groups = Setting((1.0, 1.0)), [str(n // 2) for n in range(IMAGES)]
    nested = nested_fusing(count, parts, sets, groups, start, TABLE, {"level": 0.5}, counted, lambda _: None)
    best = [
        max(LEVELS, key=lambda level, held=inside: quality(by_level[level][:, held.astype(bool)], counted))
        for inside in sets
    ]
    assert [each.options.get("level", 0.5) for each in (*nested.parts, nested.setting)] == best
    together = np.empty_like(by_level[0.5])
    for part, level in enumerate(best[:-1]):
        together[:, parts == part] = by_level[level][:, parts == part]
    assert nested.nested == pytest.approx(quality(together, counted))
    assert nested.unsearched == pytest.approx(quality(by_level[0.5], counted))
    assert nested.searched == pytest.approx(quality(by_level[best[-1]], counted))
    assert nested.searched >= nested.unsearched and nested.error >= 0
    assert sorted(asked) == sorted(
        [*LEVELS, 0.5]
    )  # each setting once, for all sets and to be applied; 0.5 also as start


def test_quality_of_sets() -> None:
    counts = drawn(9)[0.1]
    sets = np.stack([np.ones(IMAGES), np.arange(IMAGES) < 7, np.zeros(IMAGES)]).astype(np.float64)
    found = class_quality(counts, sets)
    for row, inside in zip(found[:2], (np.full(IMAGES, True), np.arange(IMAGES) < 7), strict=True):
        assert np.nanmean(row) == pytest.approx(quality(counts[:, inside], slice(None)))
    assert np.isnan(found[0, -1]) and np.isnan(found[2]).all()


def test_a_search_that_finds_nothing_better_gains_nothing() -> None:
    counts, parts = drawn(1)[0.5], np.arange(IMAGES) % PARTS
    nested = nested_fusing(
        lambda _: counts, parts, sets_of_parts(parts, PARTS), [""] * IMAGES, Setting((1.0,)), TABLE, {"level": 0.5},
        slice(None), lambda _: None,
    )  # fmt: skip
    assert nested.nested == nested.unsearched == nested.searched and nested.error == 0 and not nested.accepted
