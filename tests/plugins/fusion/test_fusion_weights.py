"""Model weights against published figures and their defining properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fineseg_fusion.weights import linear_interpolation, linear_reweight

nan = float("nan")
aps = st.lists(st.floats(0, 100) | st.just(nan), min_size=1, max_size=7)


def test_equation_1_of_the_3d_future_winner() -> None:
    weights = linear_interpolation(np.array([77.38, 77.37, 77.32, 77.21, 76.95]), 0.6, 1.0)
    assert np.round(weights, 3).tolist() == [1.0, 0.991, 0.944, 0.842, 0.6]


def test_published_weights_in_the_order_of_its_model_list() -> None:
    weights = linear_interpolation(np.array([77.21, 77.32, 77.38, 77.37, 76.95]), 0.6, 1.0)
    np.testing.assert_allclose(weights, [0.84186, 0.94419, 1.0, 0.99070, 0.6], atol=5e-6)


@pytest.mark.parametrize(
    ("ap", "weights"),
    [
        ([50.0], [1.0]),
        ([50.0, 50.0, 50.0], [1.0, 1.0, 1.0]),
        ([nan, nan], [1.0, 1.0]),
        ([nan, 40.0], [0.6, 1.0]),
        ([nan, 40.0, 60.0, 50.0], [0.6, 0.6, 1.0, 0.8]),
        ([], []),
    ],
)
def test_interpolation_without_division_by_zero(ap: list[float], weights: list[float]) -> None:
    np.testing.assert_allclose(linear_interpolation(np.array(ap), 0.6, 1.0), weights)


@pytest.mark.parametrize(
    ("ap", "theta", "weights"),
    [
        ([9.0, 8, 7, 6, 5], 0.5, [1, 0.875, 0.75, 0.625, 0.5]),
        ([9.0, 8, 7, 6, 5], 0.6, [1, 0.9, 0.8, 0.7, 0.6]),
        ([5.0, 9, 7], 0.5, [0.5, 1, 0.75]),
        ([50.0], 0.5, [1]),
        ([7.0, 7, 5], 0.5, [0.875, 0.875, 0.5]),
        ([7.0, 7, 7], 0.5, [0.75, 0.75, 0.75]),
        ([nan, 7, nan], 0.5, [0.625, 1, 0.625]),
        ([nan, nan], 0.5, [0.75, 0.75]),
        ([0.0, nan], 0.5, [1, 0.5]),
    ],
)
def test_reweight_by_rank(ap: list[float], theta: float, weights: list[float]) -> None:
    np.testing.assert_allclose(linear_reweight(np.array(ap), theta), weights)


def test_reweight_ranks_each_class_by_itself() -> None:
    ap = np.array([[60.0, 10.0, nan], [50.0, 30.0, nan], [40.0, 20.0, nan]])
    expected = np.stack([linear_reweight(ap[:, c], 0.5) for c in range(3)], axis=1)
    np.testing.assert_array_equal(linear_reweight(ap, 0.5), expected)
    assert expected[:, 1].tolist() == [0.5, 1.0, 0.75]


@given(aps, st.randoms(use_true_random=False))
def test_order_of_models_does_not_matter(ap: list[float], random) -> None:
    order = random.sample(range(len(ap)), len(ap))
    for weigh in (lambda s: linear_interpolation(s, 0.6, 1.0), lambda s: linear_reweight(s, 0.5)):
        weights = weigh(np.array(ap))
        np.testing.assert_array_equal(weigh(np.array(ap)[order]), weights[order])
        assert (weights >= 0.5).all()
        assert (weights <= 1).all()


@given(aps)
def test_reweight_keeps_the_mean_weight(ap: list[float]) -> None:
    if len(ap) > 1:
        assert linear_reweight(np.array(ap), 0.5).mean() == pytest.approx(0.75)
