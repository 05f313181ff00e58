"""Errors of detection: cases in which one kind alone exists, and gains against predictions that were really mended."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_sets import SIDE, draw

from fineseg import Category, ImageInfo, Instances, Split, TrueObject, make_instances
from fineseg.data import masks
from fineseg.metrics.errors import ERRORS, Kind, diagnose, losses
from fineseg.metrics.mask_ap import mask_ap
from fineseg.metrics.matching import Matches, match

Row = tuple[int, float, bytes]
"""A detection: label, score, mask."""
NAMES = [kind.name.lower() for kind in ERRORS]


def square(x: int, y: int, side: int = 10) -> bytes:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + side, x : x + side] = True
    return masks.encode(mask)


def split_of(objects: Mapping[int, list[tuple[int, bytes, bool]]], classes: int = 2) -> Split:
    """Return a split of images by id, each with true objects (label, mask, crowd)."""
    images = tuple(ImageInfo(i, Path(f"{i}.jpg"), SIDE, SIDE) for i in objects)
    true = {
        i: tuple(
            TrueObject(n, label, (0, 0, 1, 1), {"size": [SIDE, SIDE], "counts": counts}, 100.0, crowd)
            for n, (label, counts, crowd) in enumerate(rows)
        )
        for i, rows in objects.items()
    }
    return Split("cases", tuple(Category(k, f"class {k}") for k in range(classes)), images, true)


def instances(image: int, rows: list[Row]) -> Instances:
    counts = [counts for *_, counts in rows]
    boxes = masks.boxes(counts, SIDE, SIDE)
    return make_instances(image, (SIDE, SIDE), [row[0] for row in rows], [row[1] for row in rows], boxes, counts)


# -------------------------------------------------- one kind of error at a time

TWO = split_of({1: [(0, square(0, 0), False), (1, square(16, 16), False)], 2: [(0, square(5, 5), False)]})
RIGHT: dict[int, list[Row]] = {
    1: [(0, 0.9, square(0, 0)), (1, 0.8, square(16, 16))],
    2: [(0, 0.85, square(5, 5))],
}
ALONE: dict[Kind, dict[int, list[Row]]] = {
    Kind.LOCALISATION: {1: [(0, 0.9, square(4, 0)), (1, 0.8, square(20, 16))], 2: [(0, 0.85, square(9, 5))]},
    Kind.CLASSIFICATION: {1: [(1, 0.9, square(0, 0)), (0, 0.8, square(16, 16))], 2: [(1, 0.85, square(5, 5))]},
    Kind.BOTH: {**RIGHT, 2: [(0, 0.85, square(5, 5)), (1, 0.99, square(10, 5))]},
    Kind.DUPLICATE: {**RIGHT, 2: [(0, 0.85, square(5, 5)), (0, 0.84, square(6, 5))]},
    Kind.BACKGROUND: {**RIGHT, 2: [(0, 0.85, square(5, 5)), (0, 0.99, square(20, 20))]},
    Kind.MISSED: {1: RIGHT[1]},
}
"""Predictions of TWO that have errors of one kind alone."""


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.name)
def test_one_kind_of_error_alone(kind: Kind) -> None:
    found = {image: instances(image, rows) for image, rows in ALONE[kind].items()}
    result = losses(match(TWO, found, 100))
    name = kind.name.lower()
    assert {other for other, count in result.counts.items() if count} == {name}
    assert result.gains == pytest.approx({other: 100 - result.ap if other == name else 0.0 for other in NAMES})
    assert result.ap == pytest.approx(mask_ap(TWO, found).summary["AP50"])
    if kind is Kind.DUPLICATE:  # a duplicate after the last object of its class takes nothing from AP
        assert result.ap == 100
    else:
        assert result.ap < 99


def test_a_duplicate_before_other_objects_costs() -> None:
    rows: list[Row] = [(0, 0.95, square(5, 5)), (0, 0.94, square(6, 5))]
    result = losses(match(TWO, {1: instances(1, RIGHT[1]), 2: instances(2, rows)}, 100))
    assert result.counts["duplicate"] == 1
    assert result.gains["duplicate"] == pytest.approx(100 - result.ap) and result.ap < 100


def test_perfect_predictions_lose_nothing() -> None:
    result = losses(match(TWO, {image: instances(image, rows) for image, rows in RIGHT.items()}, 100))
    assert result.ap == 100 and not any(result.counts.values()) and not any(result.gains.values())
    assert result.confusions == ()


def test_without_detections_all_is_missed() -> None:
    result = losses(match(TWO, {}, 100))
    assert result.ap == 0 and result.counts["missed"] == 3
    assert result.gains == {name: 100.0 if name == "missed" else 0.0 for name in NAMES}


def test_without_truth_there_is_no_ap() -> None:
    bare = replace(TWO, objects={})
    result = losses(match(bare, {2: instances(2, RIGHT[2])}, 100))
    assert np.isnan(result.ap) and result.counts["background"] == 1


def test_confusions_are_counted_from_true_to_detected() -> None:
    found = {image: instances(image, rows) for image, rows in ALONE[Kind.CLASSIFICATION].items()}
    assert losses(match(TWO, found, 100)).confusions == ((0, 1, 2), (1, 0, 1))


def test_what_lies_in_a_crowd_is_no_error() -> None:
    crowded = split_of({1: [(0, square(0, 0, 20), True), (0, square(22, 22, 8), False)]})
    found = {1: instances(1, [(0, 0.9, square(3, 3)), (0, 0.8, square(22, 22, 8)), (1, 0.7, square(3, 3))])}
    matches = match(crowded, found, 100)
    assert diagnose(matches).kind.tolist() == [Kind.IGNORED, Kind.RIGHT, Kind.BACKGROUND]
    assert losses(matches).ap == 100


def test_a_target_is_taken_once_and_only_if_free() -> None:
    """Three shifted detections of two objects, one of which is found: one is mended, two go."""
    split = split_of({1: [(0, square(0, 0), False), (0, square(16, 16), False)]}, classes=1)
    rows: list[Row] = [
        (0, 0.9, square(0, 0)),
        (0, 0.8, square(4, 0)),
        (0, 0.7, square(20, 16)),
        (0, 0.6, square(12, 16)),
    ]
    result = losses(match(split, {1: instances(1, rows)}, 100))
    assert result.counts["localisation"] == 3 and result.counts["missed"] == 0
    assert result.gains["localisation"] == pytest.approx(100 - result.ap)


# ------------------------------------------------------- against plain loops


def kind_by_loops(split: Split, image: int, row: Row, taken: dict[int, float]) -> Kind:
    """Tell a detection's kind from the definitions, by the IoU of decoded masks; `taken`: objects that others have."""
    label, _, counts = row
    found = masks.decode(counts, SIDE, SIDE)
    best = {True: 0.0, False: 0.0}
    for true in split.objects_of(image):
        if not true.crowd:
            mask = masks.decode(true.segmentation["counts"], SIDE, SIDE)  # type: ignore[call-overload, index]
            iou = (mask & found).sum() / (mask | found).sum()
            best[true.label == label] = max(best[true.label == label], iou)
    if 0.1 <= best[True] < 0.5:
        return Kind.LOCALISATION
    if best[False] >= 0.5:
        return Kind.CLASSIFICATION
    if best[True] >= 0.5:
        return Kind.DUPLICATE
    return Kind.BACKGROUND if max(best.values()) < 0.1 else Kind.BOTH


@pytest.mark.parametrize("seed", range(10))
def test_kinds_equal_their_definitions(seed: int) -> None:
    split, predictions = spread(seed)
    matches = match(split, predictions, 100)
    kinds = diagnose(matches).kind
    rows = [
        (image, row)
        for image in sorted(predictions)
        for row in sorted(rows_of(predictions[image]), key=lambda row: -row[1])
    ]
    assert [row[1] for _, row in rows] == matches.score.tolist()
    wrong = [n for n, kind in enumerate(kinds) if kind not in (Kind.RIGHT, Kind.IGNORED)]
    assert [kinds[n] for n in wrong] == [kind_by_loops(split, *rows[n], {}) for n in wrong]


# --------------------------------------- gains against mended predictions


def spread(seed: int) -> tuple[Split, dict[int, Instances]]:
    """Return a drawn set whose detections are also turned to other classes and shifted, so that all errors occur."""
    split, predictions = draw(seed, images=12)
    rng = np.random.default_rng(seed)
    spoilt = {}
    for image, found in predictions.items():
        labels = np.where(rng.random(len(found)) < 0.25, rng.integers(0, 4, len(found)), found.labels)
        shift = rng.integers(0, 12, len(found))
        counts = [
            masks.encode(np.roll(masks.decode(each, SIDE, SIDE), by if rng.random() < 0.4 else 0, axis=1))
            for each, by in zip(found.masks, shift, strict=True)
        ]
        spoilt[image] = make_instances(image, (SIDE, SIDE), labels, rng.random(len(found)), found.boxes, counts)
    return split, spoilt


def rows_of(found: Instances) -> list[Row]:
    return list(zip(found.labels.tolist(), found.scores.tolist(), found.masks, strict=True))


def mended(split: Split, matches: Matches, kind: Kind, counts: Mapping[int, list[bytes]]) -> tuple[Split, dict]:
    """Return truth and predictions in which all errors of a kind are really mended: masks, classes, removals."""
    found = diagnose(matches)
    true = [(i, n) for i in sorted(counts) for n, each in enumerate(split.objects_of(i)) if not each.crowd]
    had = {int(p) for p in matches.partner[:, 0] if p >= 0}
    rows: dict[int, list[Row]] = {}
    seen: dict[int, int] = {}
    for d in np.argsort(-matches.score, kind="stable"):
        image = int(matches.image[d])
        label, mask = int(matches.label[d]), counts[image][d - int(np.searchsorted(matches.image, image))]
        if found.kind[d] == kind:
            target = int(found.target[d])
            if target < 0 or target in had or target in seen:
                continue
            seen[target] = int(d)
            goal = split.objects_of(image)[true[target][1]]
            label = goal.label
            mask = goal.segmentation["counts"] if kind is Kind.LOCALISATION else mask  # type: ignore[call-overload, index]
        rows.setdefault(image, []).append((label, float(matches.score[d]), mask))
    objects = dict(split.objects)
    if kind is Kind.MISSED:
        gone = {true[g] for g in np.flatnonzero(found.missed)}
        objects = {i: tuple(o for n, o in enumerate(os) if (i, n) not in gone) for i, os in objects.items()}
    return replace(split, objects=objects), {image: instances(image, table) for image, table in rows.items()}


@pytest.mark.parametrize("seed", range(12))
def test_gains_are_those_of_mended_predictions(seed: int) -> None:
    split, predictions = spread(seed)
    matches = match(split, predictions, 100)
    result = losses(matches)
    counts = {
        image.id: [row[2] for row in sorted(rows_of(predictions[image.id]), key=lambda row: -row[1])]
        if image.id in predictions
        else []
        for image in split.images
    }
    assert result.ap == pytest.approx(mask_ap(split, predictions).summary["AP50"])
    assert min(result.counts[name] for name in NAMES if name != "both") > 0
    for kind in ERRORS:
        goal = mask_ap(*mended(split, matches, kind, counts)).summary["AP50"]
        assert result.gains[kind.name.lower()] == pytest.approx(goal - result.ap, abs=1e-6), kind
