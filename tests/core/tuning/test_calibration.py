"""Score maps against brute force, and what they do to AP: of one model nothing, of models on different scales much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_cases import ap_of, one_list, squares

from fineseg.tuning.calibration import (
    LEAST,
    Isotonic,
    Temperature,
    fit,
    map_of_plain,
    pool_adjacent_violators,
)
from fineseg.tuning.matching import parts_of
from fineseg.tuning.measured import score_maps
from fineseg.tuning.nested import sets_of_parts

METHODS = ("temperature", "isotonic")


def draw(seed: int, count: int = 4000, slope: float = 2.0, offset: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores, and hits whose chance is a known function of them."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.2, 1.5, count)
    chance = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))
    return scores, rng.random(count) < chance


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=9),
)
def test_pooled_blocks_are_the_min_max_solution(rows: list[tuple[int, int]]) -> None:
    """max over starts of the min over ends of the mean between them (Robertson et al. 1988, theorem 1.4.4)."""
    values, weights = np.array(rows, dtype=float).T
    share, length = pool_adjacent_violators(values, weights)

    def mean(a: int, b: int) -> float:
        return float(np.average(values[a : b + 1], weights=weights[a : b + 1]))

    n = len(values)
    expected = [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    np.testing.assert_allclose(np.repeat(share, length), expected, rtol=0, atol=1e-12)
    assert (np.diff(share) > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_temperature_is_the_least_log_loss_and_near_the_truth(seed: int) -> None:
    scores, hits = draw(seed)
    scores = np.clip(scores, 1e-5, 1 - 1e-5)
    found = fit("temperature", scores, hits)
    assert isinstance(found, Temperature)
    assert abs(found.slope - 2) < 0.3
    assert abs(found.offset + 1) < 0.2

    def loss(slope: float, offset: float) -> float:
        p = 1 / (1 + np.exp(-slope * np.log(scores / (1 - scores)) - offset))
        positives, negatives = hits.sum(), (~hits).sum()
        target = np.where(hits, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    best = loss(found.slope, found.offset)
    for slope, offset in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert loss(found.slope + slope, found.offset + offset) > best


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_scores_say_how_often_they_are_right(method: str) -> None:
    found = fit(method, *draw(0))
    scores, hits = draw(1)
    calibrated = found(scores)
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1)):
        inside = (calibrated >= low) & (calibrated < high)
        assert abs(calibrated[inside].mean() - hits[inside].mean()) < 0.05


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_order_within_a_model_stays(method: str, seed: int) -> None:
    scores, hits = draw(seed, count=300, slope=[0.2, 1.0, 5.0][seed % 3])
    found = fit(method, scores, hits)
    grid = np.linspace(0, 1, 5001)
    assert (np.diff(found(grid)) >= 0).all()
    inner = found(grid[50:-50])  # beyond, logits are held
    assert (np.diff(inner.astype(np.float32)) > 0).mean() > 0.99
    assert found(grid).min() >= 0
    assert found(grid).max() <= 1
    assert (map_of_plain(found.plain())(grid) == found(grid)).all()


def test_too_little_to_fit() -> None:
    scores, hits = draw(0, 400)
    right, wrong = np.flatnonzero(hits), np.flatnonzero(~hits)
    for method in METHODS:
        assert fit(method, scores[:0], hits[:0]) is None
        for few, many in ((right, wrong), (wrong, right)):
            part = np.concatenate([few[: LEAST - 1], many])
            assert fit(method, scores[part], hits[part]) is None
        assert fit(method, np.full(400, 0.5), hits) is None or method == "temperature"
    assert fit("temperature", 1 - scores, hits) is None  # the surer, the less often right
    separable = np.repeat([0.2, 0.8], 50)
    assert np.isfinite(list(fit("temperature", separable, separable > 0.5).plain().values())).all()


def test_isotonic_by_hand() -> None:
    scores = np.repeat([0.2, 0.4, 0.6], 100)
    hits = np.concatenate([np.arange(100) < n for n in (50, 30, 90)])
    assert fit("isotonic", scores, hits) == Isotonic((pytest.approx(0.3), pytest.approx(0.6)), (0.4, 0.9))


# ---------------------------------------------------------------- what it does to AP


def pooled_ap(seed: int, method: str, power: tuple[float, float]) -> tuple[float, float]:
    """Return the AP of two pooled models before and after cross-fitted calibration; a power bends a model's scores.

    One model speaks of the left half of the images, the other of the right: only their common order is at stake.
    """
    overlaps, models = squares(seed, images=150, slips=(0.1, 0.1))
    left = [each.select(each.boxes[:, 0] < 22) for each in models[0]]
    right = [each.select(each.boxes[:, 0] >= 22) for each in models[1]]
    bent = [[each.with_scores(each.scores**to) for each in half] for half, to in zip((left, right), power, strict=True)]
    parts = parts_of([""] * 150, 5, seed)
    maps = [score_maps(overlaps, model, method, 100, sets_of_parts(parts, 5)) for model in bent]
    fitted = [
        [each.with_scores(own[part](each.scores)) for each, part in zip(model, parts, strict=True)]
        for model, own in zip(bent, maps, strict=True)
    ]
    return ap_of(overlaps, one_list(bent)), ap_of(overlaps, one_list(fitted))


@pytest.mark.parametrize("method", METHODS)
def test_helps_models_whose_scores_are_on_different_scales(method: str) -> None:
    gains = [after - before for before, after in (pooled_ap(seed, method, (1.0, 0.1)) for seed in range(5))]
    assert min(gains) > 1, gains


@pytest.mark.parametrize("method", METHODS)
def test_does_no_harm_where_both_are_on_one_scale(method: str) -> None:
    gains = [after - before for before, after in (pooled_ap(seed, method, (1.0, 1.0)) for seed in range(5))]
    assert np.mean(gains) > -0.3, gains
    assert min(gains) > -1, gains


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_ap_of_one_model_stays(method: str, seed: int) -> None:
    overlaps, (model, _) = squares(seed, images=40, slips=(0.1, 0.1))
    (found,) = score_maps(overlaps, model, method, 100, np.ones((1, 40)))
    after = [each.with_scores(found(each.scores)) for each in model]
    assert abs(ap_of(overlaps, after) - ap_of(overlaps, model)) < 0.02
