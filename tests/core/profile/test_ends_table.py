"""Models with ends: what a profile may say of them, and what its layers make of it."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE

from fineseg.catalog import Catalog
from fineseg.errors import ProfileError
from fineseg.profile import Loaded
from fineseg.profile.check import check_tables, choices, complete
from fineseg.profile.layers import at, merge

MODEL = {"backbone": "small", "neck": "plain", "ends": {"x": "boxes", "y": {"name": "boxes", "inner": {"width": 8}}}}
BOTH = {"x": "boxes", "y": "boxes"}


def tables(**model: Any) -> dict[str, Any]:
    return merge(tomllib.loads(PROFILE), {"models": {"c": {**MODEL, **model}}})


def faults(given: dict[str, Any], catalog: Catalog) -> list[str]:
    try:
        check_tables(given, catalog, Path("toy.toml"))
    except ProfileError as error:
        return [fault.removeprefix("toy.toml: ") for fault in error.faults]
    return []


def test_each_end_is_a_head_and_a_prediction(catalog: Catalog) -> None:
    profile = check_tables(tables(), catalog, Path("toy.toml"))
    assert list(profile.models["c"].heads) == ["x", "y"] and list(profile.models["a"].heads) == [""]
    assert profile.predictions == ("a", "b", "c/x", "c/y")
    assert [profile.model_of(name) for name in profile.predictions] == ["a", "b", "c", "c"]
    assert [profile.end_of(name) for name in profile.predictions] == ["", "", "x", "y"]
    assert profile.predict_of("c/x") == profile.predict_of("c")
    places = [path for path, kind, _ in choices(tables()) if kind == "head"]
    assert places == ["models.a.head", "models.b.head", "models.c.ends.x", "models.c.ends.y"]
    whole = complete(profile, catalog)["models"]["c"]
    assert whole["ends"]["x"] == {"name": "boxes", "inner": {"width": 4, "points": 14}} and whole["head"] is None


def test_phases(catalog: Catalog) -> None:
    def phases(**model: Any) -> tuple[tuple[tuple[int, ...], ...], int]:
        profile = check_tables(tables(**model), catalog, Path("toy.toml"))
        return profile.models["c"].phases, profile.epochs_of("c")

    assert phases() == phases(ends_training="joint") == (((0, 1),), 2)
    assert phases(ends_training="frozen-first") == (((0,), (1,)), 4)
    assert phases(ends={**BOTH, "z": "boxes"}, ends_training="frozen-first") == (((0,), (1, 2)), 4)
    plain = check_tables(tables(), catalog, Path("toy.toml"))
    assert (plain.models["a"].phases, plain.epochs_of("a")) == (((0,),), 2)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"head": "boxes"}, ["models.c.ends: stands in place of a head; leave out one of the two"]),
        ({"ends": {}}, ['models.c.head: missing; choose a part, head = "NAME"']),
        ({"ends": {"x": "boxes"}}, ["models.c.ends: two or more share a backbone; a single one is the model's head"]),
        (
            {"ends": 3},
            ["models.c.ends: must be a table, not 3", 'models.c.head: missing; choose a part, head = "NAME"'],
        ),
        (
            {"ends": {**BOTH, "a.b": "boxes", "gloss": "boxes"}},
            [
                "models.c.ends: an end's name must be letters, digits, '_' and '-', without \"loss\", not \"a.b\"",
                "models.c.ends: an end's name must be letters, digits, '_' and '-', without \"loss\", not \"gloss\"",
            ],
        ),
        (
            {"ends": {**BOTH, "y": "boxen"}},
            ["models.c.ends.y: unknown head 'boxen'; did you mean 'boxes'?; choices: boxes, queries"],
        ),
        (
            {"ends": {**BOTH, "y": {"name": "boxes", "inner": {"widht": 1}}}},
            ["models.c.ends.y.inner.widht: unknown key; did you mean width?"],
        ),
        (
            {"ends": {**BOTH, "y": 5}},
            ["models.c.ends.y: must be the name of a part, or a table with its name and options, not 5"],
        ),
        (
            {"ends_training": "frozen-first", "train": {"checkpoint": "best", "validate_every": 1}},
            [
                "models.c.ends_training: the best checkpoint may be one of the first phase, before the other ends "
                'learn; say train.checkpoint = "last", or ends_training = "joint"'
            ],
        ),
        ({"ends_training": "frozen"}, ["models.c.ends_training: must be 'joint' or 'frozen-first', not \"frozen\""]),
    ],
)
def test_faults(model: dict[str, Any], said: list[str], catalog: Catalog) -> None:
    given = tables()
    given["models"]["c"] = {**given["models"]["c"], **model}
    assert faults(given, catalog) == said


def test_what_one_table_says_of_another(catalog: Catalog) -> None:
    given = tables()
    given["models"]["b"]["ends_training"] = "joint"
    given["models"]["c/x"] = given["models"]["a"]
    assert faults(given, catalog) == [
        "models.b.ends_training: says how ends learn, and the model has none; leave it out",
        "models.c.ends.x: predicts under the name of model c/x; rename one",
    ]


def test_an_end_that_shares_no_proposals_of_views(catalog: Catalog) -> None:
    given = tables(ends={**BOTH, "y": "queries"}, predict={"tta": ["turn"]})
    (fault,) = faults(given, catalog)
    assert fault.startswith("models.c.ends.y: the views of predict.tta cannot share proposals of the head 'queries'")
    assert "models.c.predict.merge_views = ENSEMBLER (mean)" in fault


def test_layers_choose_and_set_ends_as_they_do_heads(load: Callable[..., Loaded]) -> None:
    base = PROFILE + '\n[models.c]\nbackbone = "small"\nneck = "plain"\nends = { x = "boxes", y = "boxes" }\n'

    def ends(*settings: str) -> dict[str, Any]:
        profile = load(base=base, settings=settings).profile
        return {end: (choice.name, choice.options) for end, choice in profile.models["c"].ends.items()}

    assert ends() == {"x": ("boxes", {}), "y": ("boxes", {})}
    assert ends("models.c.ends.y.inner.width=3") == {"x": ("boxes", {}), "y": ("boxes", {"inner": {"width": 3}})}
    assert ends("models.c.ends.y.inner.width=3", "models.c.ends.y=queries") == {
        "x": ("boxes", {}),
        "y": ("queries", {}),
    }
    assert list(ends("models.c.ends.z=queries")) == ["x", "y", "z"]
    assert at(tables(), "models.c.ends.x.name") == "boxes"
