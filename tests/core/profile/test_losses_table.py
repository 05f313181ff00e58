"""`[models.X] losses`: how a profile fills slots, empties them, is told what is wrong; what keys make of it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE, BoxesOptions, nothing, toy_catalog
from pydantic import Field

from fineseg import FinesegError, Head, Loss, NoOptions, Options
from fineseg.catalog import Catalog, Entry
from fineseg.data.split import Split
from fineseg.profile.check import check_tables, complete
from fineseg.profile.layers import at, merge
from fineseg.profile.schema import Profile
from fineseg.runs import Splits, prediction_key, training_key


class SharpOptions(Options):
    power: float = Field(2.0, ge=0, description="of doubt")


PARTS = (
    Loss("soft", "", NoOptions, build=nothing, serves=("mask",)),
    Loss("sharp", "", SharpOptions, build=nothing, serves=("class", "semantic")),
    Head("slots", "", BoxesOptions, build=nothing, losses=("mask", "class")),
    Head("pixels", "", NoOptions, build=nothing, losses=("semantic",)),
)
CATALOG = Catalog((*toy_catalog().entries, *(Entry(part, "toy", "toy-parts", "1.0") for part in PARTS)))


def layered(*losses: Any, **model: Any) -> dict[str, Any]:
    """Return the toy profile's tables with what one layer after the other says of model a's losses."""
    tables = merge(tomllib.loads(PROFILE), {"models": {"a": {"head": "slots", **model}}})
    for each in losses:
        tables = merge(tables, {"models": {"a": {"losses": each}}})
    return tables


def checked(*losses: Any, **model: Any) -> Profile:
    return check_tables(layered(*losses, **model), CATALOG, Path("toy.toml"))


def filled(*losses: Any) -> dict[str, dict[str, Any]]:
    found = checked(*losses).models["a"].losses
    return {slot: {"name": choice.name, **choice.options} for slot, choice in found.items()}


def test_slots_are_filled_changed_and_emptied() -> None:
    assert filled() == {}
    assert filled({"mask": "soft"}) == {"mask": {"name": "soft"}}
    both = {"mask": "soft", "class": {"name": "sharp", "power": 1}}
    assert filled(both, {"class": {"power": 3}})["class"] == {"name": "sharp", "power": 3}
    assert filled({"class": "sharp"}, {"class": {"power": 3}})["class"] == {"name": "sharp", "power": 3}
    assert filled(both, {"class": "none"}) == {"mask": {"name": "soft"}}
    assert filled(both, {"class": {"name": "none"}, "mask": "none"}) == {}
    assert filled({"mask": "none"}) == {}
    assert filled({"mask": "none"}, {"mask": "soft"}) == {"mask": {"name": "soft"}}
    assert at(layered(both), "models.a.losses.mask.name") == "soft"


def test_all_options_are_told() -> None:
    whole = complete(checked({"class": "sharp", "mask": "none"}), CATALOG)["models"]
    assert whole["a"]["losses"] == {"class": {"name": "sharp", "power": 2.0}} and whole["b"]["losses"] == {}


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (
            {"semantic": "sharp"},
            "models.a.losses.semantic: head 'slots' has no such loss to change; it has class, mask",
        ),
        ({"masks": "soft"}, "models.a.losses.masks: head 'slots' has no such loss to change; it has class, mask"),
        ({"mask": "sharp"}, "models.a.losses.mask: loss 'sharp' serves class, semantic; for mask there is soft"),
        ({"mask": "sort"}, "models.a.losses.mask: unknown loss 'sort'; did you mean 'soft'?; choices: sharp, soft"),
        (
            {"mask": "plain"},
            "models.a.losses.mask: unknown loss 'plain', which is a name of kind neck; choices: sharp, soft",
        ),
        ({"class": {"name": "sharp", "end": 1}}, "models.a.losses.class.end: unknown key; known: power"),
        ({"class": {"name": "sharp", "power": -1}}, "models.a.losses.class.power: must be 0 or more, not -1"),
        ({"mask": 3}, "models.a.losses.mask: must be the name of a part, or a table with its name and options, not 3"),
        ("soft", 'models.a.losses: must be a table, not "soft"'),
    ],
)
def test_what_is_said_of_faults(losses: Any, said: str) -> None:
    with pytest.raises(FinesegError) as caught:
        checked(losses)
    assert str(caught.value) == f"toy.toml: {said}"


def test_a_head_without_slots() -> None:
    with pytest.raises(FinesegError) as caught:
        checked({"mask": "soft"}, head="boxes")
    said = "toy.toml: models.a.losses.mask: head 'boxes' has no such loss to change; leave losses out"
    assert str(caught.value) == said


def test_nothing_fits() -> None:
    only = Catalog(tuple(entry for entry in CATALOG.entries if entry.part.name != "soft"))
    with pytest.raises(FinesegError, match="loss 'sharp' serves class, semantic; for mask there is none"):
        check_tables(layered({"mask": "sharp"}), only, Path("toy.toml"))


def test_an_unknown_head_is_one_fault() -> None:
    with pytest.raises(FinesegError) as caught:
        checked({"mask": "soft"}, head="slot")
    assert "losses" not in str(caught.value) and "unknown head 'slot'" in str(caught.value)


def of_ends(losses: Any, ends: dict[str, Any]) -> Profile:
    tables = tomllib.loads(PROFILE)
    tables["competition"]["models"] = ["b"]
    tables["models"]["c"] = {"backbone": "small", "neck": "plain", "ends": ends, "losses": losses}
    return check_tables(tables, CATALOG, Path("toy.toml"))


def test_one_of_several_ends_has_the_slot() -> None:
    profile = of_ends({"mask": "soft", "class": "sharp"}, {"x": "slots", "y": "queries"})
    assert list(profile.models["c"].losses) == ["mask", "class"]


def test_no_end_has_the_slot() -> None:
    with pytest.raises(FinesegError) as caught:
        of_ends({"semantic": "sharp"}, {"x": {"name": "slots"}, "y": "queries"})
    said = "models.c.losses.semantic: heads 'slots' and 'queries' have no such loss to change; they have class, mask"
    assert str(caught.value) == f"toy.toml: {said}"


def key(profile: Profile) -> str:
    split = Split("train", (), (), {})
    return training_key(profile, CATALOG, "a", {"train": "digest"}, Splits(split, split, split))


def test_what_keys_make_of_it() -> None:
    plain = key(checked())
    assert key(checked({"mask": "none"})) == plain
    soft = key(checked({"mask": "soft"}))
    sharp = key(checked({"class": "sharp"}))
    assert sharp == key(checked({"class": {"name": "sharp", "power": 2.0}}))
    assert key(checked({"mask": "soft", "class": "sharp"})) == key(checked({"class": "sharp", "mask": "soft"}))
    different = {plain, soft, sharp, key(checked({"class": {"name": "sharp", "power": 1}}))}
    assert len({*different, key(checked({"mask": "soft", "class": "sharp"}))}) == 5


def test_a_prediction_knows_its_training_alone() -> None:
    plain, soft = (
        prediction_key(checked(*more), CATALOG, "a", "training", "digest") for more in ((), ({"mask": "soft"},))
    )
    assert plain == soft
