"""Which model speaks for which class: the better AP, ties, absent classes, margin, and the table as plain data."""

import math

import numpy as np
import pytest

from fineseg import Category, FinesegError, ModelScore, class_table

NAN = math.nan


def score(model: str, ap: float, *per_class: float) -> ModelScore:
    return ModelScore(model, ap, per_class, tuple(range(len(per_class))))


def test_each_class_goes_to_the_better_model_and_the_default_keeps_the_rest() -> None:
    first = score("a", 40.0, 50.0, 30.0, NAN, 20.0, NAN, 10.0)
    other = score("b", 41.0, 40.0, 31.0, NAN, 20.0, 5.0, NAN)
    table = class_table([first, other])
    assert table.default == 1
    assert table.chosen == (0, 1, 1, 1, 1, 0)
    assert class_table([first, other], default="a").chosen == (0, 1, 0, 0, 1, 0)
    assert (table.classes_of(0), table.classes_of(1)) == (2, 4)


def test_a_margin_must_be_exceeded_but_not_by_a_model_that_alone_was_measured() -> None:
    first, other = score("a", 40.0, 50.0, 50.0, NAN), score("b", 30.0, 51.0, 51.5, 1.0)
    assert class_table([first, other], margin=1.0).chosen == (0, 1, 1)


def test_of_equal_models_the_first_is_taken() -> None:
    three = [score("a", NAN, 1.0, NAN), score("b", 20.0, 2.0, NAN), score("c", 20.0, 2.0, NAN)]
    assert class_table(three).chosen == (1, 1)
    assert class_table(three, default="a").chosen == (1, 0)
    assert class_table([score("a", NAN, NAN), score("b", NAN, NAN)]).default == 0


@pytest.mark.parametrize("seed", range(50))
def test_random_tables_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models, classes, margin = int(rng.integers(1, 5)), int(rng.integers(1, 9)), float(rng.choice([0, 10]))
    ap = rng.choice([NAN, 0.0, 10.0, 20.0, 30.0], (models, classes))
    scores = [score(f"m{n}", float(rng.integers(3)), *ap[n].tolist()) for n in range(models)]
    default = int(rng.integers(models))
    expected = []
    for label in range(classes):
        own, winner = ap[default, label], default
        for model in range(models):
            beats_default = not math.isnan(ap[model, label]) and (math.isnan(own) or ap[model, label] > own + margin)
            if beats_default and (winner == default or ap[model, label] > ap[winner, label]):
                winner = model
        expected.append(winner)
    assert class_table(scores, default=f"m{default}", margin=margin).chosen == tuple(expected)


def test_plain_data_names_classes_and_has_no_nan() -> None:
    table = class_table([score("a", 40.0, 50.0, NAN), score("b", NAN, 60.0, NAN)])
    assert table.plain([Category(3, "chair"), Category(7, "lamp")]) == {
        "default": "a",
        "ap": {"a": 40.0, "b": None},
        "classes": [
            {"id": 3, "name": "chair", "from": "b", "objects": 0, "ap": {"a": 50.0, "b": 60.0}},
            {"id": 7, "name": "lamp", "from": "a", "objects": 1, "ap": {"a": None, "b": None}},
        ],
    }


@pytest.mark.parametrize(
    ("scores", "default", "message"),
    [
        ([], "", "wants one AP a class from every model, got no model"),
        ([score("a", 1.0, 2.0), score("b", 1.0)], "", "got a: 1, b: 0"),
        ([score("a", 1.0, 2.0), score("b", 1.0, 1.0, 1.0)], "", "got a: 1, b: 2"),
        ([score("a", 1.0, 2.0)], "c", "default 'c' is no model that has instances: a"),
    ],
)
def test_what_gives_no_table(scores: list[ModelScore], default: str, message: str) -> None:
    with pytest.raises(FinesegError, match=message):
        class_table(scores, default=default)
