"""Masks fused by vote on their runs, against decoded pixels added up one mask after another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fineseg import Instances, ModelScore, make_instances
from fineseg.data.masks import boxes as tight_boxes
from fineseg.data.masks import decode, encode
from fineseg_fusion.box_fusion import weighted_boxes
from fineseg_fusion.fuse import build_nmw, build_wbf
from fineseg_fusion.mask_vote import vote
from fineseg_fusion.options import FuseOptions, WBFOptions

HEIGHT, WIDTH = 13, 17


def draw(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw masks [N, H, W]: rectangles with holes, full ones, empty ones, ones with the first and last pixel alone."""
    masks = np.zeros((number, HEIGHT, WIDTH), dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
        mask &= rng.random(mask.shape) > 0.1
        kind = rng.integers(0, 12)
        if kind < 2:
            mask[:] = kind
        elif kind == 2:
            mask[:] = False
            mask[0, 0] = mask[-1, -1] = True
    return masks


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(1, 40), ties=st.booleans())
def test_equals_adding_pixels(seed: int, number: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    masks = draw(rng, number)
    weights = rng.integers(1, 5, number) / 8 if ties else rng.random(number) + 1e-3
    _, of_mask = np.unique(rng.integers(0, max(number // 4, 1), number), return_inverse=True)
    fused = vote([encode(mask) for mask in masks], weights, of_mask, HEIGHT, WIDTH)
    assert len(fused) == of_mask.max() + 1
    for cluster, counts in enumerate(fused):
        own = of_mask == cluster
        weights[own & ~masks.any(axis=(1, 2))] = 0  # an empty mask does not vote
        expected = (weights[own, None, None] * masks[own]).sum(axis=0) > weights[own].sum() / 2
        if not expected.any():
            expected = masks[own][np.argmax(weights[own])]
        found = decode(counts, HEIGHT, WIDTH)
        np.testing.assert_array_equal(found, expected)
        assert counts == encode(expected)  # in the one form that an encoding has
        assert not (found & ~masks[own].any(axis=0)).any()
        assert not (masks[own].all(axis=0) & ~found).any()


def test_by_hand() -> None:
    a, b, c = (np.zeros((1, 6), dtype=bool) for _ in range(3))
    a[0, :3], b[0, 1:5], c[0, 2:] = True, True, True

    def fused(*weights: float) -> str:
        found = vote([encode(a), encode(b), encode(c)], np.array(weights), np.zeros(3, int), 1, 6)
        return "".join("x" if pixel else "." for pixel in decode(found[0], 1, 6)[0])

    assert fused(1, 1, 1) == ".xxxx."
    assert fused(2, 1, 1) == ".xx..."
    assert fused(1, 1, 3) == "..xxxx"
    assert fused(0.1, 0.2, 0.3) == "..xxx."  # although 0.1 + 0.2 > 0.3 in floating point
    assert len(vote([], np.zeros(0), np.zeros(0, int), 1, 6)) == 0


def test_no_pixel_with_half_of_the_votes() -> None:
    left, right = np.zeros((4, 6), dtype=bool), np.zeros((4, 6), dtype=bool)
    left[:, :3], right[:, 3:] = True, True
    pair = [encode(left), encode(right)]
    assert vote(pair, np.array([0.3, 0.3]), np.zeros(2, int), 4, 6).tolist() == [pair[0]]
    assert vote(pair, np.array([0.3, 0.4]), np.zeros(2, int), 4, 6).tolist() == [pair[1]]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_equal_halves_are_a_tie_at_any_scale(scale: float) -> None:
    """A mask against three others of the same weight together: neither side has more than half."""
    one, other, both = (np.zeros((4, 6), dtype=bool) for _ in range(3))
    one[0], other[1], both[2] = True, True, True
    masks = [encode(one | both)] + [encode(other | both)] * 3
    found = vote(masks, np.array([3, 1, 1, 1]) * scale, np.zeros(4, int), 4, 6)
    np.testing.assert_array_equal(decode(found[0], 4, 6), both)


# ---------------------------------------------------------------- masks as boxes


def of_boxes(boxes: np.ndarray, scores: np.ndarray) -> Instances:
    """Return detections of one class whose masks fill their boxes, which are whole numbers."""
    masks = []
    for x1, y1, x2, y2 in boxes:
        mask = np.zeros((60, 60), dtype=bool)
        mask[y1:y2, x1:x2] = True
        masks.append(encode(mask))
    return make_instances(1, (60, 60), np.zeros(len(boxes), int), scores, boxes, masks)


def one_each(found: Instances) -> tuple[list[Instances], list[ModelScore]]:
    """Return the detections as those of as many models."""
    return [found.select(np.array([n])) for n in range(len(found))], [ModelScore("m", 1.0, ()) for _ in found.scores]


@pytest.mark.parametrize("kind", ["wbf", "nmw"])
def test_equal_boxes_give_the_mask_of_the_fused_box(kind: str) -> None:
    rng = np.random.default_rng(5)
    members, scores = one_each(of_boxes(np.tile([[11, 20, 40, 37]], (4, 1)), rng.random(4)))
    merge = build_wbf(WBFOptions(), scores) if kind == "wbf" else build_nmw(FuseOptions(), scores)
    merged = merge(members)
    assert tight_boxes(merged.masks, 60, 60).tolist() == merged.boxes.round(3).tolist() == [[11, 20, 40, 37]]


@pytest.mark.parametrize("seed", range(20))
def test_filled_boxes_vote_within_the_bounds_of_the_fused_box(seed: int) -> None:
    """A vote takes the weighted median of sides, the fused box their mean: both lie among the members' sides."""
    rng = np.random.default_rng(seed)
    boxes = np.array([10, 12, 45, 50]) + rng.integers(-2, 3, (5, 4))
    found = of_boxes(boxes, rng.uniform(0.2, 1, 5))
    members, scores = one_each(found)
    assert weighted_boxes(boxes, found.scores, found.labels, 0.55).of_box.tolist() == [0] * 5
    merged = build_wbf(WBFOptions(), scores)(members)
    tight = tight_boxes(merged.masks, 60, 60)
    spread = np.ptp(boxes, axis=0)
    for sides in (tight[0], merged.boxes[0]):
        assert (boxes.min(axis=0) - 1e-4 <= sides).all()
        assert (sides <= boxes.max(axis=0) + 1e-4).all()
    assert (np.abs(tight[0] - merged.boxes[0]) <= spread).all()


def test_two_shifted_boxes_by_hand() -> None:
    """Equal scores leave what both have, and the box is the mean; otherwise the heavier mask has more than half."""
    boxes = np.array([[10, 10, 40, 40], [14, 10, 44, 40]])
    for scores, tight, mean in (((0.5, 0.5), [14, 10, 40, 40], 12), ((0.2, 0.6), [14, 10, 44, 40], 13)):
        members, models = one_each(of_boxes(boxes, np.array(scores)))
        merged = build_wbf(WBFOptions(), models)(members)
        assert tight_boxes(merged.masks, 60, 60).tolist() == [tight]
        np.testing.assert_allclose(merged.boxes, [[mean, 10, mean + 30, 40]], rtol=1e-6)
