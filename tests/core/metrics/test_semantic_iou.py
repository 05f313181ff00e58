"""Mean IoU against plain loops over pixels."""

import json
import math

import numpy as np
import pytest

from fineseg.metrics.semantic_iou import PixelCounts, SemanticResult, count_pixels, semantic_result


def by_loops(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> list[float]:
    ious = []
    for label in range(classes):
        inside = union = 0
        for truth, found in pairs:
            for true, said in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
                if true == 255:
                    continue
                inside += true == label and said == label
                union += label in (true, said)
        ious.append(100 * inside / union if union else math.nan)
    return ious


@pytest.mark.parametrize("seed", range(8))
def test_as_loops_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 8))
    pairs = []
    for _ in range(3):
        size = tuple(rng.integers(1, 9, 2))
        truth = rng.choice([*range(classes - 1), 255], size).astype(np.uint8)  # the last class is never true
        found = np.where(rng.random(size) < 0.6, truth, rng.integers(0, classes, size))
        found = np.where(found == 255, 0, found).astype(np.uint8)
        pairs.append((truth, found))
    total = PixelCounts.none(classes)
    for truth, found in pairs:
        total += count_pixels(truth, found, classes)
    result, wanted = semantic_result(total), by_loops(pairs, classes)
    np.testing.assert_allclose(result.classes, wanted)
    np.testing.assert_allclose(result.miou, np.nanmean(wanted))
    again = SemanticResult.from_plain(json.loads(json.dumps(result.plain(), allow_nan=False)))
    np.testing.assert_equal((again.miou, again.classes), (result.miou, result.classes))


def test_pixels_of_which_nothing_is_known_count_nowhere() -> None:
    truth = np.array([[0, 0, 255, 255]], np.uint8)
    counts = count_pixels(truth, np.array([[0, 1, 1, 2]], np.uint8), 3)
    result = semantic_result(counts)
    assert result.classes[:2] == (50.0, 0.0) and math.isnan(result.classes[2])
    assert result.miou == 25.0


def test_of_nothing_there_is_no_figure() -> None:
    truth = np.full((2, 3), 255, np.uint8)
    result = semantic_result(count_pixels(truth, np.zeros((2, 3), np.uint8), 2))
    assert math.isnan(result.miou) and result.plain() == {"mIoU": None, "classes": [None, None]}


def test_what_is_no_pair_of_maps_is_refused() -> None:
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="is of shape"):
        count_pixels(zeros, zeros[:1], 3)
    with pytest.raises(ValueError, match="labels run up to 3; there are 3 classes"):
        count_pixels(zeros, zeros + 3, 3)
