"""The walk of the search on known hills, and what nested searches are worth: help where there is some, no harm else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_cases import ap_of, one_list, squares

from fineseg import Instances, concatenate
from fineseg.profile.combine_schema import SearchTable
from fineseg.tuning.matching import Matched, class_ap, mean_over_classes, parts_of
from fineseg.tuning.nested import Nested, nested_search, on_one_scale, same_rank, sets_of_parts, standard_error
from fineseg.tuning.objective import Objective, figure_of
from fineseg.tuning.overlaps import Overlaps
from fineseg.tuning.search import search
from fineseg.tuning.setting import Setting
from fineseg_fusion.options import LinearInterpolationOptions

START = Setting((1.0, 1.0, 1.0))


def table(**entries: object) -> SearchTable:
    return SearchTable.model_validate(entries)


class Hill:
    """A measurement whose top is known; counts how often it is asked."""

    def __init__(self, height: Callable[[Setting], float]) -> None:
        self.height = height
        self.asked: list[Setting] = []

    def __call__(self, setting: Setting) -> np.ndarray:
        self.asked.append(setting)
        return np.array([self.height(setting)])


# ------------------------------------------------------------------------- the walk


def test_finds_the_weights_of_a_hill() -> None:
    top = (1.0, 0.35, 0.6)
    hill = Hill(lambda s: 50 - sum((np.log(w + 1e-9) - np.log(t)) ** 2 for w, t in zip(s.weights, top, strict=True)))
    found = search(hill, START, table(trials=200), {})
    np.testing.assert_allclose(found.weights, top, rtol=0.15)
    assert max(found.weights) == 1
    assert len(hill.asked) == len({repr(s) for s in hill.asked}) <= 200


def test_finds_options_of_every_kind() -> None:
    space = {
        "iou": {"uniform": [0.1, 0.9]},
        "sigma": {"log_uniform": [0.01, 10]},
        "most": {"integer": [1, 40]},
        "kind": {"choice": ["a", "b", "c"]},
    }
    own = {"iou": 0.5, "sigma": 1.0, "most": 10, "kind": "a", "other": 3}

    def height(setting: Setting) -> float:
        at = {**own, **setting.options}
        off = abs(at["iou"] - 0.72) + abs(np.log(at["sigma"] / 0.2)) / 5 + abs(at["most"] - 23) / 40
        return 10 - off - (at["kind"] != "c")

    found = search(Hill(height), START, table(weights=False, space=space, trials=100), own)
    assert found.weights == START.weights
    assert abs(found.options["iou"] - 0.72) < 0.06
    assert 0.1 < found.options["sigma"] < 0.4
    assert isinstance(found.options["most"], int)
    assert abs(found.options["most"] - 23) <= 3
    assert found.options["kind"] == "c"
    assert "other" not in found.options


def test_leaves_out_a_model_that_harms() -> None:
    found = search(Hill(lambda s: 10 - (s.weights[2] > 0)), START, table(), {})
    assert found.weights[2] == 0
    lone = search(Hill(lambda s: 1.0 - sum(s.weights)), Setting((1.0,)), table(), {})
    assert lone == Setting((1.0,))


def test_each_class_finds_its_threshold() -> None:
    best = np.array([0.3, 0.0, 0.1])

    def measure(setting: Setting) -> np.ndarray:
        at = np.array(setting.thresholds or (0.0, 0.0, 0.0))
        figures = 50 - 100 * np.abs(at - best)
        figures[1] = np.nan  # a class without objects has no say
        return figures

    found = search(measure, START, table(weights=False, thresholds="per-class"), {})
    assert found.thresholds == (0.3, 0.0, 0.1)
    one = search(lambda s: measure(s)[:1], START, table(weights=False, thresholds="overall"), {})
    assert abs(one.thresholds[0] - 0.3) < 0.04


@pytest.mark.parametrize("trials", [1, 7, 20])
def test_keeps_to_its_trials_and_repeats_itself(trials: int) -> None:
    walks = []
    for _ in range(2):
        hill = Hill(lambda s: -s.weights[0] - (s.thresholds or (0.0,))[0])
        search(hill, START, table(trials=trials, thresholds="per-class", seed=3), {})
        walks.append(hill.asked)
    assert walks[0] == walks[1]
    assert len(walks[0]) <= trials


def test_no_better_setting_means_the_start() -> None:
    assert search(Hill(lambda s: 5.0), START, table(), {}) is START
    assert search(Hill(lambda s: float("nan")), START, table(), {}) is START


# --------------------------------------------------------------- what a setting does


def test_setting_weighs_leaves_out_and_cuts() -> None:
    _, models = squares(0, images=1, slips=(0.1, 0.1, 0.1))
    members = [model[0] for model in models]
    setting = Setting((1.0, 0.5, 0.0), {"x": 1}, (0.2, 0.0, 0.9))
    applied = setting.apply(members)
    for member, weight, after in zip(members, setting.weights, applied, strict=True):
        weighted = (member.scores * weight).astype(np.float32)
        least = np.array(setting.thresholds)[member.labels]
        kept = (weighted >= least) & (weight > 0)
        assert after.scores.tolist() == weighted[kept].tolist()
        assert after.masks.tolist() == member.masks[kept].tolist()
    assert len(applied[2]) == 0
    same = Setting((1.0, 1.0, 1.0)).apply(members)
    assert all(a is b for a, b in zip(same, members, strict=True))
    one = replace(setting, weights=(1.0, 1.0, 1.0), thresholds=(0.5,)).apply(members)
    assert all((each.scores >= 0.5).all() for each in one)
    assert Setting.from_plain(setting.plain()) == setting


# ----------------------------------------------------------------------------- nested


def pool(options: object, part: int) -> Callable[[list[Instances]], Instances]:
    return concatenate


def nested(overlaps: Overlaps, models: list[list[Instances]], seed: int, **more: object) -> tuple[Nested, list]:
    count = len(overlaps.images)
    groups = [f"room {n // 2}" for n in range(count)]
    parts = parts_of(groups, 4, seed)
    members = [[model[n] for model in models] for n in range(count)]
    objective = Objective(overlaps, members, parts, pool, figure_of("AP", {}, 100), sets_of_parts(parts, 4))
    asked = table(folds=4, seed=seed, trials=25, **more)
    result, merged = nested_search(objective, groups, Setting((1.0,) * len(models)), asked, {}, lambda _: None)
    start = Setting((1.0,) * len(models))
    for part, each, after in zip(parts, members, merged, strict=True):
        applied = concatenate((result.parts[part] if result.accepted else start).apply(each))
        assert applied.masks.tolist() == after.masks.tolist()
        assert (np.diff(after.scores[np.argsort(-applied.scores, kind="stable")]) <= 0).all()  # the order stays
    assert ap_of(overlaps, merged) == pytest.approx(result.nested if result.accepted else result.unsearched)
    assert result.unsearched == pytest.approx(ap_of(overlaps, one_list(models)))
    assert result.searched >= result.unsearched - 1e-9
    return result, merged


def test_options_that_contradict_each_other_are_no_setting() -> None:
    overlaps, models = squares(0, images=8)

    def build(options: Mapping[str, Any], part: int) -> Callable[[Sequence[Instances]], Instances]:
        LinearInterpolationOptions.model_validate(options)
        return concatenate

    figure, everything = figure_of("AP", {}, 100), np.ones((1, 8))
    objective = Objective(overlaps, [[m] for m in models[0]], np.zeros(8, int), build, figure, everything)
    sound, unsound = (Setting((1.0,), {"theta_min": 0.9, "theta_max": most}) for most in (1.0, 0.8))
    assert not np.isnan(objective.measure(sound)).all()
    assert np.isnan(objective.measure(unsound)).all()
    assert (
        search(
            lambda s: objective.measure(s)[0],
            sound,
            table(space={"theta_max": {"choice": [0.8, 1.0]}}),
            {"theta_max": 1.0},
        )
        == sound
    )


@pytest.mark.parametrize("seed", range(3))
def test_helps_where_a_model_is_too_sure_of_itself(seed: int) -> None:
    """The second model is wrong more often and says so less: its scores want a small weight."""
    overlaps, models = squares(seed, images=60, slips=(0.05, 0.4))
    models[1] = [each.with_scores(each.scores**0.2) for each in models[1]]
    result, _ = nested(overlaps, models, seed)
    assert result.accepted
    assert result.nested - result.unsearched > 3
    assert result.setting.weights[1] < 0.6


def test_no_harm_where_there_is_nothing_to_find() -> None:
    """Models that are copies: weights hardly matter, and what a search believes to have found is chance."""
    for seed in range(4):
        overlaps, models = squares(seed, images=30, slips=(0.15, 0.15))
        result, merged = nested(overlaps, [models[0], models[0]], seed)
        figure = ap_of(overlaps, merged)
        assert figure >= result.unsearched


@pytest.mark.parametrize("part", range(4))
def test_what_a_part_holds_does_not_reach_its_own_setting(part: int) -> None:
    """Other true objects in a part change what is searched for the others, and nothing of what is searched for it."""
    overlaps, models = squares(3, images=40, slips=(0.05, 0.4))
    models[1] = [each.with_scores(each.scores**0.4) for each in models[1]]
    before, _ = nested(overlaps, models, 0)
    inside = parts_of([f"room {n // 2}" for n in range(40)], 4, 0) == part
    strange, _ = squares(77, images=40)
    label = np.where(inside[overlaps.truth.image], (overlaps.truth.label + 1) % 3, overlaps.truth.label)
    overlaps.truth = replace(strange.truth, image=overlaps.truth.image, area=overlaps.truth.area, label=label)
    after, _ = nested(overlaps, models, 0)
    assert after.parts[part] == before.parts[part]
    assert after.nested != before.nested


def test_parts_of_different_settings_are_put_on_one_scale() -> None:
    """Weights that turn the scores down in some parts more than in others rank across images as one setting does."""
    overlaps, (model, _) = squares(1, images=60, slips=(0.1, 0.1))
    parts = parts_of([""] * 60, 4, 0)
    objective = Objective(overlaps, [[m] for m in model], parts, pool, figure_of("AP", {}, 100), np.ones((1, 60)))
    turned = [Setting((weight,)) for weight in (1.0, 0.3, 0.1, 0.5)]
    plain, mixed = ap_of(overlaps, model), ap_of(overlaps, objective.merge_parts(turned))
    aligned = ap_of(overlaps, on_one_scale(objective, turned, model))
    assert mixed < plain - 2
    assert abs(aligned - plain) < 0.3


@given(seed=st.integers(0, 2**32 - 1), own=st.integers(0, 2000), wanted=st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_same_rank(seed: int, own: int, wanted: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.beta(*rng.uniform(0.5, 3, 2), count).round(3) for count in (own, wanted))
    scores = np.sort(np.concatenate([first, rng.random(20), [0.0, 1.0]]))
    mapped = same_rank(scores, first, second)
    assert (np.diff(mapped) >= 0).all()
    assert mapped[0] == 0
    assert mapped[-1] == 1
    if min(own, wanted) > 200:
        for share in (0.02, 0.1, 0.3):
            count = int(share * min(own, wanted))
            at = np.interp(-np.sort(-first)[count], scores, mapped)
            assert abs((second > at).sum() - count) < 0.1 * count + 0.02 * len(second)


def by_weights(matched: Sequence[Matched]) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda weights: [mean_over_classes(class_ap(each, weights)) for each in matched]


def test_standard_error_is_that_of_images_drawn_anew() -> None:
    """Against many fresh drawings of the same kind of images: the error is what the gain varies by."""
    gains, errors = [], []
    for seed in range(40):
        overlaps, models = squares(seed, images=40, slips=(0.1, 0.3))
        matched = [
            Objective(
                overlaps, [[m] for m in model], np.zeros(40, int), pool, figure_of("AP", {}, 100), np.ones((1, 40))
            )
            for model in models
        ]
        tables = [each.match(model) for each, model in zip(matched, models, strict=True)]
        figures = [float(np.mean(class_ap(each, np.ones((1, 40))))) for each in tables]
        gains.append(figures[1] - figures[0])
        errors.append(standard_error(by_weights(tables), [""] * 40, seed))
    assert 0.6 < np.mean(errors) / np.std(gains, ddof=1) < 1.6


def test_one_group_has_no_error_to_measure_by() -> None:
    overlaps, models = squares(0, images=4)
    objective = Objective(
        overlaps, [[m] for m in models[0]], np.zeros(4, int), pool, figure_of("AP", {}, 9), np.ones((1, 4))
    )
    matched = objective.match(models[0])
    assert standard_error(by_weights([matched, matched]), ["a"] * 4, 0) == float("inf")
