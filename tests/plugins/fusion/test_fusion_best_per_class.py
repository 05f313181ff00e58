"""Which model speaks for which class, and what is taken of it."""

import numpy as np
import pytest

from fineseg import FinesegError, ModelScore, make_instances
from fineseg_fusion.best_per_class import build_best_per_class, chosen_models
from fineseg_fusion.options import BestPerClassOptions

NAN = float("nan")


@pytest.mark.parametrize(
    ("ap", "per_class", "support", "chosen"),
    [
        ([50, 40], [[60, 30, 50], [10, 45, 50]], [20, 20, 20], [0, 1, 0]),
        ([40, 50], [[60, 30, 50], [10, 45, 50]], [20, 20, 20], [0, 1, 1]),  # the tie goes to the better overall
        ([40, 50], [[60, 30, 50], [10, 45, 50]], [9, 20, 10], [1, 1, 1]),  # too few objects of the first
        ([40, 50], [[60, NAN, NAN], [10, NAN, 1]], [20, 0, 20], [0, 1, 1]),
        ([NAN, 50], [[60, 30], [10, 45]], [20, 5], [0, 1]),
        ([NAN, NAN], [[NAN, 30], [NAN, 45]], [0, 20], [0, 1]),
        ([50, 50], [[30, 30], [30, 45]], [20, 20], [0, 1]),
        ([50], [[0.0, NAN]], [20, 0], [0, 0]),
    ],
)
def test_chosen(ap: list[float], per_class: list[list[float]], support: list[int], chosen: list[int]) -> None:
    assert chosen_models(np.array(ap), np.array(per_class), np.array(support), 10).tolist() == chosen


def test_takes_each_class_from_its_model() -> None:
    scores = [ModelScore("x", 50.0, (60.0, 30.0), (20, 20)), ModelScore("y", 40.0, (10.0, 45.0), (20, 20))]
    boxes = [[0, 0, 9, 9]] * 4
    x = make_instances(1, (9, 9), [0, 1, 0, 1], [0.3, 0.9, 0.8, 0.7], boxes, [b"x0", b"x1", b"x2", b"x3"])
    y = make_instances(1, (9, 9), [0, 1, 0, 1], [0.2, 0.5, 0.6, 0.4], boxes, [b"y0", b"y1", b"y2", b"y3"])
    merged = build_best_per_class(BestPerClassOptions(), scores)([x, y])
    assert merged.masks.tolist() == [b"x2", b"y1", b"y3", b"x0"]
    merged = build_best_per_class(BestPerClassOptions(max_per_image=2), scores)([x, y])
    assert merged.masks.tolist() == [b"x2", b"y1"]
    overall = build_best_per_class(BestPerClassOptions(min_support=21), scores)([x, y])
    assert overall.masks.tolist() == [b"x1", b"x2", b"x3", b"x0"]


def test_refuses_models_that_were_not_measured_by_class() -> None:
    cases = [
        ([], "there is no model to merge"),
        ([ModelScore("x", 1.0, ())], "ensembler best-per-class: .* got x: 0; measure .* or choose another ensembler"),
        ([ModelScore("x", 1.0, (1.0,))], "min_support wants the number of true objects"),
        ([ModelScore("x", 1.0, (1.0,), (3,)), ModelScore("y", 1.0, (1.0,), (4,))], "the same for every model"),
    ]
    for scores, message in cases:
        with pytest.raises(FinesegError, match=message) as caught:
            build_best_per_class(BestPerClassOptions(), scores)
        assert "\n" not in str(caught.value)
