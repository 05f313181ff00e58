"""Semantic scores as the store keeps them: what comes back, how much it may be off, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import draw_scores, warp

from fineseg import FinesegError
from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.data.panoptic_json import read_panoptic
from fineseg.semantic_store import SemanticScores, decode, encode_compact, encode_full, label_map


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
