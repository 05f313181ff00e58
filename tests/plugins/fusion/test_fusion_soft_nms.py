"""Soft-NMS in rounds against the sequential loop written plainly, and against mmcv's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fineseg_fusion.soft_nms import linear_soft_nms, overlapping_pairs


def iou_of(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


def plain_loop(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float, min_score: float
) -> dict[int, float]:
    """Soft-NMS as one reads it in the paper: class by class, one detection after the other."""
    result: dict[int, float] = {}
    for label in set(labels.tolist()):
        left = {n: float(scores[n]) for n in range(len(scores)) if labels[n] == label}
        while left:
            top = max(left, key=lambda n: (left[n], -n))
            result[top] = left.pop(top)
            for n in list(left):
                overlap = iou_of(boxes[top], boxes[n])
                if overlap > threshold:
                    left[n] *= 1 - overlap
                    if left[n] < min_score:
                        del left[n]
    return result


def draw(rng: np.random.Generator, n: int, grid: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw clusters of boxes; on a grid they are whole numbers, with equal boxes and boxes at the very threshold."""
    centres = rng.uniform(0, 100, (max(n // 5, 1), 2))[rng.integers(0, max(n // 5, 1), n)]
    corner = centres + rng.normal(0, 4, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 40, (n, 2))], axis=1)
    boxes = np.round(boxes / 8) * 8 if grid else boxes
    return boxes.astype(np.float32), rng.random(n).astype(np.float32), rng.integers(0, 3, n)


def assert_same(result: tuple[np.ndarray, np.ndarray], expected: dict[int, float]) -> None:
    kept, scores = result
    assert kept.tolist() == sorted(expected)
    np.testing.assert_allclose(scores, [expected[n] for n in kept], rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 60),
    grid=st.booleans(),
    threshold=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]),
    min_score=st.sampled_from([0.0, 0.001, 0.2]),
)
def test_equals_the_plain_loop(seed: int, n: int, grid: bool, threshold: float, min_score: float) -> None:
    boxes, scores, labels = draw(np.random.default_rng(seed), n, grid)
    result = linear_soft_nms(boxes, scores, labels, threshold, min_score)
    assert_same(result, plain_loop(boxes.astype(float), scores, labels, threshold, min_score))


@pytest.mark.parametrize("seed", range(20))
def test_equal_scores_go_in_input_order(seed: int) -> None:
    """One decay at most for a detection, so that ties stay exact: two boxes a cluster, scores on three levels."""
    rng = np.random.default_rng(seed)
    boxes = np.repeat(np.arange(12)[:, None] * [100.0, 0, 100, 0] + [0, 0, 50, 50], 2, axis=0)
    boxes[1::2, 0] += rng.integers(0, 30, 12)
    order = rng.permutation(24)
    boxes, scores = boxes[order], rng.choice([0.25, 0.5, 1.0], 24)
    labels = np.zeros(24, dtype=np.int64)
    assert_same(linear_soft_nms(boxes, scores, labels, 0.4, 0.01), plain_loop(boxes, scores, labels, 0.4, 0.01))


def test_identical_boxes_leave_the_highest() -> None:
    boxes = np.tile([[10.0, 10, 50, 60]], (6, 1))
    kept, scores = linear_soft_nms(boxes, np.array([0.3, 0.9, 0.2, 0.9, 0.5, 0.8]), np.zeros(6, int), 0.5, 1e-3)
    assert kept.tolist() == [1]
    assert scores.tolist() == [0.9]
    kept, _ = linear_soft_nms(boxes, np.full(6, 0.5), np.arange(6), 0.5, 1e-3)
    assert kept.tolist() == list(range(6))


def test_threshold_is_strict_and_only_a_decay_drops() -> None:
    half = np.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [500, 500, 510, 510]])  # IoU of the first two: 0.5
    scores, labels = np.array([0.9, 0.8, 1e-6]), np.zeros(3, dtype=np.int64)
    kept, unchanged = linear_soft_nms(half, scores, labels, 0.5, 0.5)
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(unchanged, scores)
    kept, lowered = linear_soft_nms(half, scores, labels, 0.49, 0.4)
    np.testing.assert_allclose(lowered, [0.9, 0.4, 1e-6])
    assert linear_soft_nms(half, scores, labels, 0.49, 0.41)[0].tolist() == [0, 2]


def test_boxes_without_area_overlap_nothing() -> None:
    boxes = np.array([[5.0, 5, 5, 9], [5, 5, 5, 9], [9, 9, 3, 3], [0, 0, 20, 20]])
    for threshold in (0.0, 0.5):
        assert overlapping_pairs(boxes, np.zeros(4, int), threshold)[0].size == 0


def test_numbers_that_are_not_finite_are_refused() -> None:
    boxes = np.tile([[10.0, 10, 50, 60]], (3, 1))
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite"):
            linear_soft_nms(boxes, np.array([0.1, wrong, 0.5]), np.zeros(3, int), 0.5, 1e-3)
        with pytest.raises(ValueError, match="must be finite"):
            linear_soft_nms(np.add(boxes, [0, 0, wrong, 0]), np.ones(3), np.zeros(3, int), 0.5, 1e-3)


def test_equals_mmcv_where_the_conventions_agree() -> None:
    """mmcv decays at IoU >= threshold and drops any low box: no IoU at the threshold and no low score here."""
    import torch
    from mmcv import ops

    for seed in range(20):
        rng = np.random.default_rng(seed)
        boxes, scores, _ = draw(rng, 60, grid=False)
        scores = 0.1 + 0.9 * scores
        kept, lowered = linear_soft_nms(boxes, scores, np.zeros(60, int), 0.5, 1e-3)
        dets, index = ops.soft_nms(
            torch.from_numpy(boxes), torch.from_numpy(scores), 0.5, min_score=1e-3, method="linear"
        )
        order = np.argsort(index.numpy())
        assert index.numpy()[order].tolist() == kept.tolist()
        np.testing.assert_allclose(dets[:, 4].numpy()[order], lowered, rtol=1e-4)
