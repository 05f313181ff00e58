"""Semantic scores as the store keeps them: what comes back, how much it may be off, and files that are none."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import draw_scores, warp

from fineseg import FinesegError
from fineseg.data.masks import encode
from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.data.panoptic_json import read_panoptic
from fineseg.semantic_store import (
    SemanticMasks,
    SemanticScores,
    decode,
    encode_compact,
    encode_full,
    label_map,
    mean_scores,
)


def drawn(rng: np.random.Generator, classes: int, cells: tuple[int, int]) -> np.ndarray:
    """Draw probabilities [classes, *cells], most of them small."""
    return np.asarray(rng.dirichlet(np.full(classes, 0.3), cells).transpose(2, 0, 1), np.float32)


def by_loops(given: np.ndarray, top: int) -> np.ndarray:
    """Return the cells as the compact form keeps them, one cell and one class at a time."""
    classes, height, width = given.shape
    found = np.zeros(given.shape)
    for y in range(height):
        for x in range(width):
            best = sorted(range(classes), key=lambda c: -given[c, y, x])[:top]
            steps = {c: float(np.rint(given[c, y, x] * np.float32(255))) for c in best}
            kept = {c: step / 255 for c, step in steps.items() if step}
            rest = max(0.0, 1 - sum(kept.values())) / max(classes - len(kept), 1)
            for c in range(classes):
                found[c, y, x] = kept.get(c, rest)
    return found


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 12), top=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_what_comes_back_equals_loops(seed: int, classes: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 9, 2))
    given = drawn(rng, classes, (height, width))
    found = decode(encode_compact(SemanticScores(given, (height, width)), top=top, stride=1), "x")
    assert found.size == (height, width) and found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, by_loops(given, top), atol=1e-6)
    if top >= classes:
        np.testing.assert_allclose(found.probabilities, given, atol=classes / 510 + 1e-6)
        np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=classes / 510 + 1e-5)


def test_the_full_form_loses_nothing() -> None:
    given = drawn(np.random.default_rng(0), 133, (7, 9))
    found = decode(encode_full(SemanticScores(given, (30, 40))), "x")
    np.testing.assert_array_equal(found.probabilities, given)
    assert found.size == (30, 40)


@pytest.mark.parametrize("cells", [(64, 88), (32, 44), (8, 11), (100, 30)])
def test_the_grid_follows_from_the_image_alone(cells: tuple[int, int]) -> None:
    """Whatever grid the scores come on, those of several models can be averaged."""
    given = np.zeros((3, *cells), np.float32)
    given[0], given[2, : cells[0] // 2] = 0.25, 0.75
    given[1, cells[0] // 2 :] = 0.75
    found = decode(encode_compact(SemanticScores(given, (62, 87))), "x")
    assert found.probabilities.shape == (3, 16, 22)
    for row, expected in ((1, (64, 0, 191)), (14, (64, 191, 0))):
        np.testing.assert_allclose(found.probabilities[:, row] * 255, np.tile(expected, (22, 1)).T, atol=1e-4)


def test_cells_are_means_of_what_is_under_them() -> None:
    given = drawn(np.random.default_rng(1), 4, (12, 20))
    found = decode(encode_compact(SemanticScores(given, (12, 20)), top=4), "x").probabilities
    expected = given.reshape(4, 3, 4, 5, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(found, expected, atol=4 / 510)


def test_equal_scores_give_equal_bytes() -> None:
    scores = SemanticScores(drawn(np.random.default_rng(2), 20, (40, 50)), (160, 200))
    assert encode_compact(scores) == encode_compact(scores)
    assert len(encode_compact(scores)) < 0.2 * len(encode_full(scores))


@pytest.mark.parametrize(("cells", "size"), [((16, 22), (62, 87)), ((1, 1), (5, 3)), ((200, 90), (150, 64))])
def test_labels_of_pixels_are_the_most_probable_of_blended_cells(cells: tuple[int, int], size: tuple[int, int]) -> None:
    """By the formula of linear interpolation between the centres of cells, borders repeated."""
    given = drawn(np.random.default_rng(3), 5, cells)
    found = label_map(SemanticScores(given, size))
    blended = np.zeros((5, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = (y + 0.5) * cells[0] / size[0] - 0.5, (x + 0.5) * cells[1] / size[1] - 0.5
            for row, high in ((int(np.floor(v)), 1 - v % 1), (int(np.floor(v)) + 1, v % 1)):
                for column, wide in ((int(np.floor(u)), 1 - u % 1), (int(np.floor(u)) + 1, u % 1)):
                    row_at, column_at = min(max(row, 0), cells[0] - 1), min(max(column, 0), cells[1] - 1)
                    blended[:, y, x] += high * wide * given[:, row_at, column_at]
    best = np.sort(blended, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    assert found.dtype == np.uint8 and clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], blended.argmax(axis=0)[clear])


def test_masks_are_probabilities_of_0_and_1_and_the_first_has_what_they_share() -> None:
    first, second = np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    first[:, :2], second[1, :3] = True, True
    scores = SemanticMasks([(2, encode(first)), (0, encode(second))], 3, (3, 4))
    expected = np.zeros((3, 3, 4), np.float32)
    expected[2] = first
    expected[0] = second & ~first
    assert scores.classes == 3 and (scores.probabilities == expected).all()
    assert label_map(scores).tolist() == [[2, 2, 255, 255], [2, 2, 0, 255], [2, 2, 255, 255]]
    assert label_map(decode(encode_full(scores), "x")).tolist() == label_map(scores).tolist()


@pytest.mark.parametrize("labels", [(1, 1), (0, 3), (-1,)])
def test_masks_of_labels_that_are_none(labels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must differ and lie in"):
        SemanticMasks([(label, b"0") for label in labels], 3, (3, 4))


@pytest.mark.parametrize("weights", [None, (2.0, 1.0, 0.0), (0.5, 0.25, 0.25)])
def test_the_mean_of_models_on_one_grid(weights: tuple[float, ...] | None) -> None:
    rng = np.random.default_rng(8)
    members = [SemanticScores(drawn(rng, 4, (3, 5)), (12, 20)) for _ in range(3)]
    mean = mean_scores(members, weights)
    shares = np.full(3, 1 / 3) if weights is None else np.array(weights) / sum(weights)
    np.testing.assert_allclose(
        mean.probabilities, np.tensordot(shares, [each.probabilities for each in members], 1), atol=1e-6
    )
    assert mean.size == (12, 20)


def test_the_mean_stands_on_the_finest_grid() -> None:
    coarse = SemanticScores(np.full((2, 1, 1), 0.5, np.float32), (4, 4))
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    fine = SemanticMasks([(0, encode(left)), (1, encode(~left))], 2, (4, 4))
    for members in ((coarse, fine), (fine, coarse)):
        found = mean_scores(members).probabilities
        np.testing.assert_allclose(found, np.where([left, ~left], 0.75, 0.25))
    mask = SemanticMasks([(1, encode(left))], 2, (4, 4))
    np.testing.assert_allclose(mean_scores([fine, mask]).probabilities, [left / 2, np.where(left, 0.5, 0.5)])
    assert label_map(mean_scores([fine, mask], [1, 3])).tolist() == [[1] * 4] * 4
    assert label_map(mean_scores([mask, mask])).tolist() == [[1, 1, 255, 255]] * 4
    assert mean_scores([fine]) is fine and mean_scores([coarse, fine], [0, 2]) is fine


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_labels_are_those_of_all_classes_enlarged(seed: int, classes: int) -> None:
    """Also where planes are left out that are the largest nowhere: against enlarging every one as a whole."""
    rng = np.random.default_rng(seed)
    cells, size = tuple(rng.integers(1, 7, 2).tolist()), tuple(rng.integers(1, 90, 2).tolist())
    given = drawn(rng, classes, cells) * (rng.random((classes, 1, 1)) < 0.8).astype(np.float32)
    large = np.stack([cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in given])
    found = label_map(SemanticScores(given, size))
    ranked = np.sort(large, axis=0)
    clear = (ranked[-1] - (ranked[-2] if classes > 1 else 0) > 1e-5) | (ranked[-1] == 0)
    expected = np.where(large.max(axis=0) > 0, large.argmax(axis=0), 255)
    assert (found == expected)[clear].all()


def test_scores_that_have_no_mean() -> None:
    small, large = (SemanticScores(np.ones((2, 1, 1), np.float32) / 2, (side, 4)) for side in (4, 5))
    other = SemanticScores(np.ones((3, 1, 1), np.float32) / 3, (4, 4))
    for members in ((small, large), (small, other)):
        with pytest.raises(ValueError, match="of one size and of the same classes"):
            mean_scores(members)
    with pytest.raises(ValueError, match="nothing to average"):
        mean_scores([small, small], [0, 0])


@pytest.mark.parametrize("shape", [(3, 4), (0, 4, 4), (257, 2, 2)])
def test_scores_that_do_not_fit_the_form(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 256 classes"):
        encode_compact(SemanticScores(np.zeros(shape, np.float32), (4, 4)))


def test_files_that_hold_none() -> None:
    sound = encode_compact(SemanticScores(drawn(np.random.default_rng(4), 3, (4, 4)), (16, 16)))
    for content in (b"", b"no zip", sound[: len(sound) // 2], sound[:-40]):
        with pytest.raises(FinesegError, match=r"scores\.npz: holds no semantic scores \("):
            decode(content, "scores.npz")


@pytest.mark.realdata
def test_little_is_lost_of_real_images(shared_data: Path) -> None:
    """On scores drawn from COCO's truth: hardly a pixel changes its class, and as many are right."""
    folder = shared_data / "coco_panoptic_train100"
    split = read_panoptic(folder / "panoptic_train100.json", folder / "panoptic_train100", folder / "images", "train")
    right = np.zeros(2)
    for image in split.images[:4]:
        rng = np.random.default_rng(image.id)
        truth = load_map(split.panoptic[image.id], image)
        cells = (image.height * 5 // 12, image.width * 5 // 12)
        given = SemanticScores(draw_scores(rng, warp(rng, truth, 3.0), 133, cells), (image.height, image.width))
        content = encode_compact(given)
        assert len(content) < 250_000
        whole, kept, true = label_map(given), label_map(decode(content, "x")), semantic_labels(truth)
        assert np.mean((whole == kept)[true != 255]) > 0.985
        right += [np.mean((each == true)[true != 255]) for each in (whole, kept)]
    assert 0.6 < right[0] / 4 < 0.95
    assert abs(right[0] - right[1]) / 4 < 0.003
