"""Hole IoU against flood filling by hand, and against a plain loop over objects and detections."""

from collections import deque
from pathlib import Path

import numpy as np
import pytest

from fineseg import Category, ImageInfo, Instances, Split, TrueObject, make_instances
from fineseg.data import masks
from fineseg.metrics.holes import hole_iou, holes_of

SIDE = 24


def filled_by_hand(mask: np.ndarray) -> np.ndarray:
    """Return what walking in from outside, by sides of pixels, does not reach."""
    height, width = mask.shape
    reached = np.zeros((height + 2, width + 2), dtype=bool)
    wall = np.pad(mask, 1)
    queue = deque([(0, 0)])
    while queue:
        y, x = queue.popleft()
        if 0 <= y < height + 2 and 0 <= x < width + 2 and not reached[y, x] and not wall[y, x]:
            reached[y, x] = True
            queue.extend([(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)])
    return ~(reached | wall)[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(20))
def test_holes_are_what_a_walk_from_outside_does_not_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(1, 30)), int(rng.integers(1, 30)))) < rng.uniform(0.3, 0.9)
    np.testing.assert_array_equal(holes_of(mask), filled_by_hand(mask))


def test_a_diagonal_gap_closes_a_hole_and_the_border_opens_one() -> None:
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = ring[1, 1] = False
    assert holes_of(ring).sum() == 2
    ring[0, 1] = False
    assert holes_of(ring)[2, 2] and not holes_of(ring)[1, 1]


def frame(y: int, x: int, outer: int, inner: int) -> np.ndarray:
    """Return a square [SIDE, SIDE] of `outer` pixels with a square hole of `inner` in its middle."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y : y + outer, x : x + outer] = True
    edge = (outer - inner) // 2
    mask[y + edge : y + edge + inner, x + edge : x + edge + inner] = False
    return mask


def split_of(*objects: tuple[int, np.ndarray, bool]) -> Split:
    image = ImageInfo(7, Path("7.jpg"), SIDE, SIDE)
    true = tuple(
        TrueObject(n, label, (0.0, 0.0, 1.0, 1.0), {"size": [SIDE, SIDE], "counts": masks.encode(m)}, float(m.sum()), c)
        for n, (label, m, c) in enumerate(objects)
    )
    return Split("drawn", (Category(1, "chair"), Category(2, "shelf")), (image,), {7: true})


def found_of(*rows: tuple[int, float, np.ndarray]) -> dict[int, Instances]:
    labels, scores = [label for label, _, _ in rows], [score for _, score, _ in rows]
    boxes = [[0.0, 0.0, 1.0, 1.0]] * len(rows)
    return {7: make_instances(7, (SIDE, SIDE), labels, scores, boxes, [masks.encode(m) for _, _, m in rows])}


def test_figures_by_hand() -> None:
    true = frame(2, 2, 12, 6)
    truth = split_of((0, true, False))
    assert hole_iou(truth, found_of((0, 0.5, true)), 100) == {"IoU": 100.0, "matched": 1.0, "objects": 1.0}
    assert hole_iou(truth, found_of((0, 0.5, frame(2, 2, 12, 4))), 100)["IoU"] == pytest.approx(100 * 16 / 36)
    assert hole_iou(truth, found_of((0, 0.5, frame(2, 2, 12, 0))), 100)["IoU"] == 0.0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 0.9, frame(2, 2, 12, 6))],  # another class
        [(0, 0.9, frame(11, 11, 12, 6))],  # elsewhere
    ],
)
def test_what_is_not_matched_does_not_count(rows: list[tuple[int, float, np.ndarray]]) -> None:
    figures = hole_iou(split_of((0, frame(2, 2, 12, 6), False)), found_of(*rows), 100)
    assert np.isnan(figures["IoU"]) and (figures["matched"], figures["objects"]) == (0.0, 1.0)


def test_only_objects_with_holes_take_part() -> None:
    solid, speck = frame(0, 0, 12, 0), frame(0, 0, 24, 2)
    crowd = (0, frame(2, 2, 12, 6), True)
    figures = hole_iou(split_of((0, solid, False), (1, speck, False), crowd), found_of((0, 0.9, solid)), 100)
    assert figures["objects"] == 0.0 and np.isnan(figures["IoU"])
    assert np.isnan(hole_iou(split_of(), {}, 100)["IoU"])


def test_the_better_score_is_matched_and_the_limit_holds() -> None:
    true, close = frame(2, 2, 12, 6), frame(2, 2, 12, 4)
    truth = split_of((0, true, False))
    assert hole_iou(truth, found_of((0, 0.3, true), (0, 0.9, close)), 100)["IoU"] == pytest.approx(100 * 16 / 36)
    solid = frame(12, 12, 12, 0)
    limited = hole_iou(truth, found_of((0, 0.9, solid), (0, 0.3, true)), 1)
    assert np.isnan(limited["IoU"])


@pytest.mark.parametrize("seed", range(8))
def test_against_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some() -> np.ndarray:
        outer = int(rng.integers(6, 14))
        return frame(*rng.integers(0, SIDE - outer, 2).tolist(), outer, int(rng.integers(0, outer - 3)))

    objects = [(int(rng.integers(2)), some(), False) for _ in range(5)]
    scores = rng.permutation(12) / 12
    rows = [
        (int(rng.integers(2)), float(s), objects[int(rng.integers(5))][1] if n % 2 else some())
        for n, s in enumerate(scores)
    ]
    taken: dict[int, np.ndarray] = {}
    for label, _, mask in sorted(rows, key=lambda row: -row[1]):
        overlaps = [
            (mask & true).sum() / (mask | true).sum() if own == label and n not in taken else 0.0
            for n, (own, true, _) in enumerate(objects)
        ]
        if max(overlaps) >= 0.5:
            taken[int(np.argmax(overlaps))] = mask
    expected = []
    for n, (_, true, _) in enumerate(objects):
        holes = filled_by_hand(true)
        if n in taken and holes.sum() and holes.sum() >= 0.01 * (holes | true).sum():
            other = filled_by_hand(taken[n])
            expected.append((holes & other).sum() / (holes | other).sum())
    figures = hole_iou(split_of(*objects), found_of(*rows), 100)
    assert figures["matched"] == len(expected)
    np.testing.assert_allclose(figures["IoU"], 100 * np.mean(expected) if expected else np.nan)
