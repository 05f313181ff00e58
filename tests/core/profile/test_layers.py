"""Merging tables, and who set what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fineseg.profile.layers import MISSING, Layer, at, leaves, merge, merge_layers, setters

TABLES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "head", "train"]), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"t": {"a": 1, "b": 2}}, {"t": {"b": 3}}, {"t": {"a": 1, "b": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 3}, {"a": 3}),
        ({"a": 3}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_tables_merge_key_by_key_and_all_else_is_replaced(below: dict, above: dict, merged: dict) -> None:
    assert merge(below, above) == merged


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"name": "fpn", "channels": 9}, {"levels": 3}, {"name": "fpn", "channels": 9, "levels": 3}),
        ({"name": "fpn", "channels": 9}, {"name": "fpn", "levels": 3}, {"name": "fpn", "channels": 9, "levels": 3}),
        ({"name": "fpn", "channels": 9}, {"name": "bfp", "levels": 3}, {"name": "bfp", "levels": 3}),
        ("fpn", {"levels": 3}, {"name": "fpn", "levels": 3}),
        ("fpn", {"name": "bfp", "levels": 3}, {"name": "bfp", "levels": 3}),
        ({"name": "fpn", "channels": 9}, "bfp", "bfp"),
    ],
)
def test_another_name_replaces_a_choice_whole(below: object, above: object, merged: object) -> None:
    assert merge({"neck": below}, {"neck": above}) == {"neck": merged}


def test_only_parts_have_a_shorthand() -> None:
    """A split's name below a table `{ random = 10 }` is no name of that table."""
    above = {"validation": {"random": 10}}
    assert merge({"validation": "val"}, above) == above


def test_ways_to_combine_replace_each_other_but_a_fuser_takes_a_dense_ensemble() -> None:
    dense, fuser = {"combine": {"dense": {"weights": {"a": 1.0}}}}, {"combine": {"fuser": "rule"}}
    assert merge(fuser, dense) == dense
    assert merge(dense, fuser) == {"combine": {**dense["combine"], **fuser["combine"]}}
    assert merge(dense, {"combine": {"ensembler": "mean"}}) == {"combine": {"ensembler": "mean"}}


def test_a_layer_that_says_both_goes_on_with_the_fuser_below() -> None:
    below = {"combine": {"fuser": {"name": "rule", "overlap": 0.3}, "held_out": ["a"]}}
    dense = {"dense": {"weights": {"a": 1.0}}}
    assert merge(below, {"combine": {"fuser": {"name": "rule"}, **dense}}) == {"combine": {**below["combine"], **dense}}
    assert merge(below, {"combine": {"fuser": "rule", **dense}})["combine"]["fuser"] == "rule"
    other = {"fuser": {"name": "other"}, **dense}
    assert merge(below, {"combine": other}) == {"combine": {"held_out": ["a"], **other}}


def test_another_way_to_hold_images_out_replaces_the_one_below() -> None:
    random, folds = {"random": 10, "seed": 3}, {"folds": 5, "merge": "pool"}
    for below, above, merged in [
        (random, folds, folds),
        (folds, random, random),
        (random, {"random": 4}, {"random": 4, "seed": 3}),
        (folds, {"merge": {"name": "pool", "top": 3}}, {"folds": 5, "merge": {"name": "pool", "top": 3}}),
    ]:
        assert merge({"validation": below}, {"validation": above}) == {"validation": merged}


def test_renaming_a_competition_keeps_its_other_keys() -> None:
    below = {"competition": {"name": "a", "title": "A"}}
    assert merge(below, {"competition": {"name": "b"}}) == {"competition": {"name": "b", "title": "A"}}


@given(TABLES, TABLES)
def test_what_lies_above_is_in_force(below: dict, above: dict) -> None:
    before = (repr(below), repr(above))
    merged = merge(below, above)
    assert (repr(below), repr(above)) == before
    assert all(at(merged, path) == at(above, path) for path in leaves(above) if at(above, path) != {})
    assert merge(merged, {}) == merged
    assert set(merged) == {*below, *above}


def test_setters_name_every_layer_that_speaks_of_a_key() -> None:
    layers = [
        Layer("file", {"train": {"lr": 1, "epochs": 2}}),
        Layer("demo", {"train": {"epochs": 3}}),
        Layer("set", {"train": {"lr": 5}}),
    ]
    assert setters(layers, "train.lr") == [("file", 1), ("set", 5)]
    assert setters(layers, "train.epochs") == [("file", 2), ("demo", 3)]
    assert setters(layers, "train.batch") == []
    assert merge_layers(layers) == {"train": {"lr": 5, "epochs": 3}}


def test_setters_forget_the_options_of_a_part_that_was_replaced() -> None:
    layers = [Layer("file", {"neck": {"name": "fpn", "channels": 9}}), Layer("demo", {"neck": "bfp"})]
    assert setters(layers, "neck.channels") == []
    assert setters(layers, "neck.name") == [("file", "fpn"), ("demo", "bfp")]


def test_at() -> None:
    tables = {"a": {"b": 0}, "head": "point", "c": "d"}
    assert at(tables, "a.b") == 0
    assert at(tables, "head.name") == "point"
    assert [at(tables, key) for key in ("x", "a.b.c", "c.name", "head.x")] == [MISSING] * 4


def test_leaves() -> None:
    assert list(leaves({"a": {"b": 1, "c": {}}, "d": [1]})) == ["a.b", "a.c", "d"]


def test_names_with_dots_stand_in_quotes() -> None:
    tables = {"space": {"train.lr": {"choice": [1]}, "x": {"": 2}}}
    assert list(leaves(tables)) == ['space."train.lr".choice', "space.x."]
    assert [at(tables, key) for key in leaves(tables)] == [[1], 2]
    assert at(tables, "space.train.lr") is MISSING
