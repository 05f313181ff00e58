"""Search spaces against enumeration and the distributions they name; overlays against TOML's own reader."""

import itertools
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fineseg.profile.budget import seconds_of
from fineseg.profile.overlay import overlay_text
from fineseg.profile.schema import SpaceTable
from fineseg.profile.space import as_tables, corners, grid, in_words, random_points, short_names

SPACE = {
    "train.lr": SpaceTable(log_uniform=(1e-4, 1e-1)),
    "train.flip": SpaceTable(uniform=(0.2, 0.3)),
    "train.epochs": SpaceTable(integer=(2, 5)),
    "models.a.neck": SpaceTable(choice=("plain", {"name": "wide", "channels": 8}, [1, 2])),
}


def test_grid_is_every_combination() -> None:
    space = {"a.x": SpaceTable(choice=("p", "q")), "a.y": SpaceTable(integer=(-1, 1)), "b.z": SpaceTable(choice=(0.5,))}
    expected = [{"a.x": x, "a.y": y, "b.z": 0.5} for x, y in itertools.product(("p", "q"), (-1, 0, 1))]
    assert grid(space) == expected


def test_random_points_follow_their_ranges() -> None:
    points = random_points(SPACE, 3000, seed=5)
    lr, flip = (np.array([point[key] for point in points]) for key in ("train.lr", "train.flip"))
    # both, brought to [0, 1], against the uniform distribution: Kolmogorov's bound for 3000 values at 1 in 10,000
    for even in (np.log(lr / 1e-4) / math.log(1e3), (flip - 0.2) / 0.1):
        assert even.min() >= 0 and even.max() <= 1
        steps = np.arange(1, 3001) / 3000
        assert np.abs(np.sort(even) - steps).max() < 2.23 / math.sqrt(3000)
    for key, values in (("train.epochs", [2, 3, 4, 5]), ("models.a.neck", list(SPACE["models.a.neck"].choice or ()))):
        counts = [sum(point[key] == value for point in points) for value in values]
        assert sum(counts) == 3000 and min(counts) > 0.9 * 3000 / len(values)
    assert all(isinstance(point["train.epochs"], int) for point in points)
    assert all(len(repr(point["train.flip"])) <= 6 for point in points)


def test_seed_and_count_of_random_points() -> None:
    points = random_points(SPACE, 40, seed=1)
    assert points[:7] == random_points(SPACE, 7, seed=1)
    assert points != random_points(SPACE, 40, seed=2)
    small = {key: SPACE[key] for key in ("train.epochs", "models.a.neck")}
    found = random_points(small, 50, seed=0)
    assert len(found) == 12 and all(point in found for point in grid(small))


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_rounding_stays_inside(low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    if low < high:
        for kind in ("uniform", "log_uniform"):
            entry = SpaceTable.model_validate({kind: [low, high]})
            assert all(low <= point["x"] <= high for point in random_points({"x": entry}, 5, seed))


def test_corners() -> None:
    found = corners(SPACE)
    assert [point["train.epochs"] for point in found if "train.epochs" in point] == [2, 5]
    assert [point["models.a.neck"] for point in found if "models.a.neck" in point] == list(
        SPACE["models.a.neck"].choice or ()
    )
    inside = [point["train.flip"] for point in found if "train.flip" in point]
    assert inside[:2] == [0.2, 0.3] and 0.2 < inside[2] < 0.3
    assert all(len(point) == 1 for point in found)


def test_words() -> None:
    keys = ["models.a.head.box.width", "models.a.head.points.width", "train.lr"]
    assert short_names(keys) == ["box.width", "points.width", "train.lr"]
    assert short_names(["train.lr"]) == ["lr"]
    assert short_names(["a.b", "x.a.b"]) == ["a.b", "x.a.b"]
    assert in_words({"train.lr": 0.00012, "models.a.neck": "wide"}) == "lr 0.00012, neck wide"


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("2h5s", 7205)]
)
def test_time_spans(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8x", "8 h", "-8h", "1.5h", "30m1h", "0s", "0h0m", "8h "])
def test_no_time_spans(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time such as 8h"):
        seconds_of(text)


NAMES = st.text(min_size=1, max_size=6).filter(lambda name: "." not in name)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab.-" é', max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.lists(st.text(max_size=20), max_size=2))
def test_overlays_read_back(values: dict, comments: list[str]) -> None:
    settings = {f"models.a.{name}": value for name, value in values.items()} | {"train.lr": 1e-05}
    assert tomllib.loads(overlay_text(settings, comments)) == as_tables(settings)
