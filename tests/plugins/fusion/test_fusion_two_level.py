"""Fuser `two-level`: classes by their better model, averaged semantics; of one model it makes what heuristic does."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from panoptic_fusion_cases import as_instances, as_masks, combined_by_loops, draw_masks

from fineseg import FinesegError, FuserInput, ModelScore, PanopticEnd, PanopticMap, SemanticScores
from fineseg_fusion.fusers import at_temperature, build_heuristic, build_two_level, chosen_ends
from fineseg_fusion.options import HeuristicOptions, TwoLevelOptions

THINGS, STUFF = 3, 3
CLASSES = THINGS + STUFF
SIZE = (8, 9)


def draw(rng: np.random.Generator) -> list[Any]:
    count = int(rng.integers(0, 7))
    scores = np.round(rng.random(count), 1).tolist()
    return list(zip(rng.integers(0, THINGS, count).tolist(), scores, draw_masks(rng, count, SIZE), strict=True))


def draw_probabilities(rng: np.random.Generator, cells: tuple[int, int] = SIZE) -> np.ndarray:
    odds = rng.random((CLASSES, *cells)).astype(np.float32) ** 3
    return np.asarray(odds / odds.sum(axis=0), np.float32)


def given(*per_class: Sequence[float]) -> FuserInput:
    scores = [ModelScore(name, float(np.nansum(row)), tuple(row)) for name, row in zip("abc", per_class, strict=False)]
    return FuserInput(THINGS, STUFF, scores)


def same(first: PanopticMap, second: PanopticMap) -> bool:
    return bool((first.ids == second.ids).all()) and first.segments == second.segments


@pytest.mark.parametrize("seed", range(30))
def test_with_one_model_it_is_heuristic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rule = {"confidence": 0.4, "overlap": 0.3, "stuff_area": 5.0}
    semantic: SemanticScores = SemanticScores(draw_probabilities(rng, (2, 3)), SIZE)
    if seed % 2:
        regions = list(zip(rng.permutation(CLASSES)[:3].tolist(), draw_masks(rng, 3, SIZE), strict=True))
        semantic = as_masks(SIZE, regions, CLASSES)
    found = as_instances(3, SIZE, draw(rng))
    apart = [PanopticEnd("a", found), PanopticEnd("s", None, semantic)]
    two_level = build_two_level(TwoLevelOptions(**rule), given([1, 2, 3]))
    heuristic = build_heuristic(HeuristicOptions(**rule), given())
    assert same(two_level([PanopticEnd("a", found, semantic)]), heuristic(apart))
    assert same(two_level(apart), heuristic(apart))


@pytest.mark.parametrize("seed", range(100))
def test_two_models_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members, planes = [draw(rng), draw(rng)], [draw_probabilities(rng), draw_probabilities(rng)]
    known = given([30, 10, math.nan], [20, 10, math.nan])  # class 0 is a's; a, the better one, keeps the two others
    if seed % 2:
        known = given([20, 30, 10], [30, 20, 50])
    owners = (0, 0, 0) if seed % 2 == 0 else (1, 0, 1)
    weights = {"a": 1.0, "b": 3.0} if seed % 3 == 0 else {}
    options = TwoLevelOptions(confidence=0.4, stuff_area=4.0, weights=weights)
    ends = [
        PanopticEnd(name, as_instances(1, SIZE, found), SemanticScores(plane, SIZE))
        for name, found, plane in zip("ab", members, planes, strict=True)
    ]
    fused = build_two_level(options, known)(ends)
    pooled = [entry for model, found in enumerate(members) for entry in found if owners[entry[0]] == model]
    share = 0.25 if weights else 0.5
    labels = (planes[0] * share + planes[1] * (1 - share)).argmax(axis=0)
    regions = [(label, labels == label) for label in range(CLASSES)]
    ids, listed = combined_by_loops(pooled, regions, THINGS, confidence=0.4, overlap=0.5, stuff_area=4.0)
    assert fused.ids.tolist() == ids and [each.label for each in fused.segments] == listed


def test_a_third_model_may_give_semantics_alone() -> None:
    rng = np.random.default_rng(1)
    planes = [draw_probabilities(rng) for _ in range(3)]
    blank = as_instances(1, SIZE, [])
    ends = [PanopticEnd("a", blank, SemanticScores(planes[0], SIZE)), PanopticEnd("b", blank)]
    ends += [PanopticEnd(f"s{n}", None, SemanticScores(planes[n], SIZE)) for n in (1, 2)]
    fused = build_two_level(TwoLevelOptions(stuff_area=1), given([1, 1, 1], [2, 2, 2]))(ends)
    labels = np.mean(planes, axis=0).argmax(axis=0)
    stuff = {each.id: each.label for each in fused.segments}
    assert (np.where(labels < THINGS, -1, labels) == np.vectorize(lambda n: stuff.get(n, -1))(fused.ids)).all()


def test_temperature_keeps_order_and_the_middle_and_moves_scores_of_a_model() -> None:
    scores = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    assert at_temperature(scores, 1) is scores
    softer = at_temperature(scores, 2.0)
    assert (np.diff(softer) > 0).all() and softer[2] == pytest.approx(0.5)
    assert softer[3] == pytest.approx(1 / (1 + math.exp(-math.log(9) / 2)))
    top, whole = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    top[:4] = True
    ends = [
        PanopticEnd("a", as_instances(1, SIZE, [(0, 0.9, top)]), SemanticScores(np.eye(6)[:, :1, None], SIZE)),
        PanopticEnd("b", as_instances(1, SIZE, [(1, 0.8, whole)])),
    ]
    table = given([2, 1, 1], [1, 2, 1])
    order = [
        [each.label for each in build_two_level(TwoLevelOptions(**options), table)(ends).segments]
        for options in ({}, {"temperatures": {"a": 4}}, {"thresholds": {"a": 0.95}}, {"thresholds": {"b": 0.95}})
    ]
    # b's mask half on a's stays behind it; ahead of it b hides a
    assert order == [[0, 1], [1], [1], [0]]


def test_semantics_that_leave_a_pixel_to_nobody_leave_it_void() -> None:
    left, right = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    left[:, :3], right[:, 6:] = True, True
    semantics = [as_masks(SIZE, [(0, left)], 2), as_masks(SIZE, [(1, right)], 2)]
    blank = as_instances(1, SIZE, [])
    ends = [PanopticEnd(n, blank if n == "a" else None, s) for n, s in zip("ab", semantics, strict=True)]
    fused = build_two_level(TwoLevelOptions(stuff_area=1), FuserInput(0, 2))(ends)
    assert (fused.ids == np.where(left, 1, np.where(right, 2, 0))).all()


@pytest.mark.parametrize(
    ("options", "known", "message"),
    [
        ({}, FuserInput(THINGS, STUFF), "AP by class is not known of a, b; it says which"),
        ({}, given([1, 2, 3]), "AP by class is not known of a, b; it"),
        ({}, given([1, 2], [1, 2]), "class table: a was measured on 2 classes; the task has 3 things"),
        ({"default": "c"}, given([1, 2, 3], [1, 2, 3]), "default 'c' is no model that has instances: a, b"),
        ({"temperatures": {"c": 2}}, given([1, 2, 3], [1, 2, 3]), "temperatures: 'c' is no model; there are a, b"),
        ({"weights": {"a": 0, "b": 0}}, given([1, 2, 3], [1, 2, 3]), "weights: are 0 for every model that gives"),
    ],
)
def test_what_cannot_be_fused(options: dict[str, Any], known: FuserInput, message: str) -> None:
    semantic = SemanticScores(np.full((CLASSES, 1, 1), 1 / CLASSES, np.float32), SIZE)
    ends = [PanopticEnd(name, as_instances(1, SIZE, []), semantic) for name in "ab"]
    with pytest.raises(FinesegError, match=message):
        build_two_level(TwoLevelOptions(**options), known)(ends)


@pytest.mark.parametrize("option", ["temperatures", "thresholds", "weights"])
def test_names_are_checked_before_anything_is_fused(option: str) -> None:
    options = TwoLevelOptions.model_validate({option: {"c": 0.5}})
    unmeasured = [ModelScore(name, math.nan, ()) for name in "ab"]
    with pytest.raises(FinesegError, match=f"fuser two-level: {option}: 'c' is no model; there are a, b"):
        build_two_level(options, FuserInput(0, 0, unmeasured))
    build_two_level(options, FuserInput(0, 0, [*unmeasured, ModelScore("c", math.nan, ())]))
    build_two_level(options, FuserInput(0, 0, unmeasured[:1]))  # one alone


def test_the_default_is_a_model_with_instances() -> None:
    unmeasured = [ModelScore(name, math.nan, ()) for name in "abs"]
    known = FuserInput(0, 0, unmeasured, {"a": ["instances"], "b": ["instances", "semantic"], "s": ["semantic"]})
    build_two_level(TwoLevelOptions(default="b"), known)
    for name in "cs":
        with pytest.raises(FinesegError, match=f"class table: default '{name}' is no model that has instances: a, b"):
            build_two_level(TwoLevelOptions(default=name), known)


def test_options_for_all_models_do_not_trouble_one_alone() -> None:
    rng = np.random.default_rng(3)
    end = PanopticEnd("a", as_instances(1, SIZE, draw(rng)), SemanticScores(draw_probabilities(rng), SIZE))
    options = {"default": "b", "weights": {"a": 0.0, "b": 1.0}, "temperatures": {"b": 2}, "stuff_area": 3}
    fused = build_two_level(TwoLevelOptions(**options), given([1, 2, 3]))([end])
    assert same(fused, build_heuristic(HeuristicOptions(stuff_area=3), given())([end]))


def test_a_model_without_instances_speaks_for_no_class() -> None:
    nothing = ModelScore("s", math.nan, (math.nan,) * THINGS)
    blank = PanopticEnd("s", None, SemanticScores(np.eye(CLASSES)[:, :1, None], SIZE))
    found = [
        (label, 0.9, mask) for label, mask in enumerate(np.arange(8)[:, None].repeat(9, axis=1) == n for n in (1, 2, 3))
    ]
    ends = [blank, *(PanopticEnd(name, as_instances(1, SIZE, found)) for name in "ab")]
    for rows, owners in (([math.nan] * 3, [math.nan] * 3), "aaa"), (([1, 2, 3], [3, math.nan, 1]), "baa"):
        known = FuserInput(THINGS, STUFF, [nothing, *given(*rows).scores])
        table = chosen_ends(TwoLevelOptions(default="a"), known)
        assert table is not None and "".join(table.models[n] for n in table.chosen) == owners
        fused = build_two_level(TwoLevelOptions(default="a"), known)(ends)
        assert [each.label for each in fused.segments] == ([0, 1, 2] if owners == "aaa" else [1, 2, 0])


def test_instances_of_two_images_are_refused() -> None:
    semantic = SemanticScores(np.full((CLASSES, 1, 1), 1 / CLASSES, np.float32), SIZE)
    ends = [PanopticEnd(name, as_instances(n, SIZE, []), semantic) for n, name in enumerate("ab")]
    with pytest.raises(FinesegError, match="instances of b are of another image or size"):
        build_two_level(TwoLevelOptions(), given([1, 2, 3], [1, 2, 3]))(ends)


def test_the_table_is_told_only_where_there_is_a_choice() -> None:
    assert chosen_ends(TwoLevelOptions(), given([1, 2, 3])) is None
    table = chosen_ends(TwoLevelOptions(margin=5), given([9, 2, 3], [4, 8, 4]))
    assert table is not None and table.chosen == (1, 1, 1)
    table = chosen_ends(TwoLevelOptions(margin=4), given([9, 2, 3], [4, 8, 4]))
    assert table is not None and table.chosen == (0, 1, 1)
