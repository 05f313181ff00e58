"""Panoptic quality against plain loops, on drawn maps, and on cases worked out by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import LoopCounts, count_by_loops, draw_pair

from fineseg import FinesegError, PanopticMap, Segment
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result, shared_pixels

TOLERANCE = 1e-9


def count(pairs: Sequence[tuple[PanopticMap, PanopticMap]], classes: int) -> PanopticCounts:
    return reduce(add, (count_image(*pair, classes) for pair in pairs), PanopticCounts.none(classes))


def row(*ids: int) -> np.ndarray:
    return np.array([ids], dtype=np.int32)


def strip(lengths: dict[int, int], order: Sequence[int]) -> np.ndarray:
    """Return a map of one row: `lengths` pixels of each id in `order`."""
    return np.repeat(np.array(order, dtype=np.int32), [lengths[i] for i in order])[None]


def assert_equal(found: PanopticCounts, expected: LoopCounts, classes: int, things: int) -> None:
    for label in range(classes):
        assert found.iou[label] == pytest.approx(expected.iou[label], abs=TOLERANCE)
        counted = (found.tp[label], found.fp[label], found.fn[label])
        assert counted == (expected.tp[label], expected.fp[label], expected.fn[label])
    result = panoptic_result(found, things)
    labels = list(range(classes))
    for name, part in (("All", labels), ("Things", labels[:things]), ("Stuff", labels[things:])):
        group = result.groups[name]
        np.testing.assert_allclose(
            [group.pq, group.sq, group.rq, group.n], expected.means(part), rtol=0, atol=TOLERANCE
        )
    for label in labels:
        quality = result.classes[label]
        np.testing.assert_allclose(
            [quality.pq, quality.sq, quality.rq], expected.means([label])[:3], rtol=0, atol=TOLERANCE
        )


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(0, 4), classes=st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_drawn_maps_equal_loops(seed: int, images: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [draw_pair(rng, number, classes) for number in range(images)]
    assert_equal(count(pairs, classes), count_by_loops(pairs), classes, int(rng.integers(0, classes + 1)))


def test_drawn_maps_show_every_rule() -> None:
    """Or the test above would prove little."""
    rng = np.random.default_rng(0)
    pairs = [draw_pair(rng, number, 3) for number in range(300)]
    total = count_by_loops(pairs)
    assert min(total.tp.total(), total.fp.total(), total.fn.total()) > 100
    assert any((truth.ids == 0).any() and (found.ids == 0).any() for truth, found in pairs)
    without_crowd = [(replace(t, segments=tuple(s for s in t.segments if not s.crowd)), f) for t, f in pairs]
    assert count_by_loops(without_crowd).fp != total.fp
    as_counted = [(replace(t, segments=tuple(replace(s, area=None) for s in t.segments)), f) for t, f in pairs]
    assert count_by_loops(as_counted).iou != total.iou


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_shared_pixels_equal_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    names = np.array([0, 1, 7, 2**24 - 1], np.int32)
    first, second = (
        PanopticMap(1, rng.choice(names, shape), tuple(Segment(n, 0) for n in rng.permutation(names[1:]).tolist()[:2]))
        for _ in range(2)
    )
    places = [{0: 2, **{s.id: place for place, s in enumerate(side.segments)}} for side in (first, second)]
    expected = np.zeros((4, 4), np.int64)
    for pair in zip(first.ids.ravel().tolist(), second.ids.ravel().tolist(), strict=True):
        expected[tuple(of.get(number, 3) for of, number in zip(places, pair, strict=True))] += 1
    np.testing.assert_array_equal(shared_pixels(first, second), expected)


@pytest.mark.parametrize("seed", range(10))
def test_the_truth_as_prediction_gives_100(seed: int) -> None:
    truth, _ = draw_pair(np.random.default_rng(seed), 1, 4)
    listed = {s.id for s in truth.segments}
    ids = np.where(np.isin(truth.ids, list(listed)), truth.ids, 0)
    sound = tuple(replace(s, area=None) for s in truth.segments if (ids == s.id).any())
    same = PanopticMap(1, ids, sound)
    result = panoptic_result(count_image(same, replace(same, segments=sound[::-1]), 4), 2)
    assert sum(c.fp + c.fn for c in result.classes) == 0
    present = {s.label for s in sound if not s.crowd}
    assert result.groups["All"].n == len(present)
    for label, quality in enumerate(result.classes):
        figures = [quality.pq, quality.sq, quality.rq]
        assert figures == [100.0] * 3 if label in present else all(map(math.isnan, figures))


@pytest.mark.parametrize(("shared", "matches"), [(99, 0), (100, 0), (101, 1)])
def test_half_is_no_match(shared: int, matches: int) -> None:
    """IoU = shared / 200."""
    true = PanopticMap(1, strip({1: 150, 9: 151}, [1, 9]), (Segment(1, 0), Segment(9, 1)))
    found = np.zeros((1, 301), np.int32)
    found[0, 150 - shared : 200] = 5  # 50 pixels beyond the true segment: union 200
    counts = count_image(true, PanopticMap(1, found, (Segment(5, 0),)), 2)
    assert (counts.tp.tolist(), counts.fp.tolist()) == ([matches, 0], [1 - matches, 0])
    assert counts.fn.tolist() == [1 - matches, 1]
    assert counts.iou.tolist() == [0.505 * matches, 0]


@pytest.mark.parametrize(("on_void", "wrong"), [(49, 1), (50, 1), (51, 0), (100, 0)])
def test_predictions_on_void_and_on_their_own_crowd_are_forgiven(on_void: int, wrong: int) -> None:
    """100 pixels, of which so many lie on void, or on a crowd of the class, or half and half; another crowd is none."""
    found = PanopticMap(1, np.full((1, 100), 5, np.int32), (Segment(5, 0),))
    for first, second in ((0, 0), (3, 3), (0, 3)):
        ids = np.full((1, 100), 8, np.int32)
        ids[0, :on_void] = first
        ids[0, : on_void // 2] = second
        segments = [Segment(8, 1)]
        if 3 in ids:
            segments.append(Segment(3, 0, crowd=True))
        assert count_image(PanopticMap(1, ids, tuple(segments)), found, 2).fp[0] == wrong
        other = tuple(replace(s, label=1) if s.crowd else s for s in segments)
        on_plain_void = int((ids == 0).sum())
        assert count_image(PanopticMap(1, ids, other), found, 2).fp[0] == int(on_plain_void <= 50)


def test_void_leaves_the_union_and_predicted_void_does_not() -> None:
    true = PanopticMap(1, strip({1: 60, 0: 40}, [1, 0]), (Segment(1, 0),))
    whole = PanopticMap(1, np.full((1, 100), 2, np.int32), (Segment(2, 0),))
    assert count_image(true, whole, 1).iou.tolist() == [1.0]
    part = PanopticMap(1, strip({2: 45, 0: 55}, [2, 0]), (Segment(2, 0),))
    assert count_image(true, part, 1).iou.tolist() == [0.75]


def test_unknown_true_classes_count_in_no_figure_and_are_not_void() -> None:
    true = PanopticMap(1, row(1, 1, 2, 2), (Segment(1, -1), Segment(2, 0)))
    found = PanopticMap(1, row(3, 3, 4, 4), (Segment(3, 0), Segment(4, 0)))
    counts = count_image(true, found, 1)
    assert (counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()) == ([1], [1], [0])


def test_no_image_and_no_segment() -> None:
    nothing = PanopticMap(1, np.zeros((4, 4), np.int32), ())
    for counts in (PanopticCounts.none(3), count_image(nothing, nothing, 3)):
        result = panoptic_result(counts, 2)
        assert [group.n for group in result.groups.values()] == [0, 0, 0]
        assert result.plain()["All"] == {"pq": None, "sq": None, "rq": None, "n": 0}
        assert result.plain()["classes"] == [{"pq": None, "sq": None, "rq": None, "tp": 0, "fp": 0, "fn": 0}] * 3


def test_no_prediction_at_all_is_all_missed() -> None:
    true = PanopticMap(1, row(1, 2, 2), (Segment(1, 0), Segment(2, 1)))
    result = panoptic_result(count_image(true, PanopticMap(1, row(0, 0, 0), ()), 3), 1)
    assert result.plain()["All"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 2}


@pytest.mark.parametrize(
    ("ids", "segments", "fault"),
    [
        (row(1, 2), (Segment(1, 0),), "segment 2 is in the map but not listed"),
        (row(1, 1), (Segment(1, 0), Segment(2, 0)), "segment 2 is listed but has no pixel in the map"),
        (row(4, 3), (Segment(1, 0),), "segment 3 is in the map but not listed (and 1 more)"),
        (row(1, 1), (Segment(1, 0), Segment(1, 1)), "segment 1 is listed twice; ids must differ"),
        (row(1, 1), (Segment(1, 2),), "segment 1 has label 2; labels run from 0 to 1"),
        (row(1, 1), (Segment(1, -1),), "segment 1 has label -1; labels run from 0 to 1"),
        (row(1, 1, 1), (Segment(1, 0),), "the predicted map has 3 x 1 pixels, the true one 2 x 1"),
    ],
)  # fmt: skip
def test_faults_name_image_and_segment(ids: np.ndarray, segments: tuple[Segment, ...], fault: str) -> None:
    true = PanopticMap(17, row(1, 0), (Segment(1, 0),))
    with pytest.raises(FinesegError) as caught:
        count_image(true, PanopticMap(17, ids, segments), 2)
    assert str(caught.value) == f"image 17: {fault}"
