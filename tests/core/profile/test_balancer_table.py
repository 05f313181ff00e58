"""`[models.X] balancer`: how a profile names it, takes it away, and is told what is wrong; what keys make of it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE, nothing, toy_catalog
from pydantic import Field

from fineseg import FinesegError, Options, TaskBalancer
from fineseg.catalog import Catalog, Entry
from fineseg.data.split import Split
from fineseg.profile.check import check_tables, complete
from fineseg.profile.layers import merge
from fineseg.profile.schema import Profile
from fineseg.runs import Splits, training_key


class NoiseOptions(Options):
    start: float = Field(0.5, description="at first")


NOISE = TaskBalancer("noise", "", NoiseOptions, build=nothing)
CATALOG = Catalog((*toy_catalog().entries, Entry(NOISE, "toy", "toy-parts", "1.0")))


def checked(*balancers: Any) -> Profile:
    """Return the toy profile with what one layer after the other says of model a's balancer."""
    tables = tomllib.loads(PROFILE)
    for balancer in balancers:
        tables = merge(tables, {"models": {"a": {"balancer": balancer}}})
    return check_tables(tables, CATALOG, Path("toy.toml"))


def key(profile: Profile) -> str:
    split = Split("train", (), (), {})
    return training_key(profile, CATALOG, "a", {"train": "digest"}, Splits(split, split, split))


def test_a_balancer_is_named_changed_and_taken_away() -> None:
    table = checked("noise").models["a"].balancer
    assert table is not None and table.name == "noise"
    started = checked("noise", {"start": 1.5}).models["a"].balancer
    assert started is not None and (started.name, started.options) == ("noise", {"start": 1.5})
    assert checked({"name": "noise", "start": 1.5}, "none").models["a"].balancer is None
    assert checked().models["a"].balancer is None
    assert complete(checked("noise"), CATALOG)["models"]["a"]["balancer"] == {"name": "noise", "start": 0.5}
    assert complete(checked("none"), CATALOG)["models"]["a"]["balancer"] is None


@pytest.mark.parametrize(
    ("balancer", "said"),
    [
        ("noises", "models.a.balancer: unknown task-balancer 'noises'; did you mean 'noise'?; choices: noise"),
        ("plain", "models.a.balancer: unknown task-balancer 'plain', which is a name of kind neck; choices: noise"),
        ({"name": "noise", "end": 1}, "models.a.balancer.end: unknown key; known: start"),
        ({"name": "noise", "start": "x"}, 'models.a.balancer.start: must be a number, not "x"'),
        (3, "models.a.balancer: must be the name of a part, or a table with its name and options, not 3"),
    ],
)
def test_what_is_said_of_faults(balancer: Any, said: str) -> None:
    with pytest.raises(FinesegError) as caught:
        checked(balancer)
    assert str(caught.value) == f"toy.toml: {said}"


def test_what_keys_make_of_it() -> None:
    plain = key(checked())
    assert key(checked("none")) == plain
    assert key(checked("noise")) == key(checked({"name": "noise", "start": 0.5})) != plain
    assert key(checked({"name": "noise", "start": 1})) not in (plain, key(checked("noise")))
