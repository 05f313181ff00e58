"""Near-same pictures: what a look is worth, and the search against plain loops."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageOps

from fineseg.data import twins
from fineseg.data.twins import ALIKE, Twin, find_twins, look_at

KEPT = twins.FREQUENCIES**2


def picture(seed: int, side: tuple[int, int] = (240, 180)) -> Image.Image:
    """Return blobs of colour with amplitudes that fall with the frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side[1], side[0], 3))
    for cells in (4, 8, 16, 32):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(coarse.resize(side, Image.Resampling.BICUBIC)) / cells
    pixels -= pixels.min()
    return Image.fromarray((pixels * 255 / pixels.max()).astype(np.uint8))


def likeness(first: Image.Image, second: Image.Image) -> float:
    return float(look_at(first) @ look_at(second))


def test_a_look_is_what_the_definition_says() -> None:
    """The cosine transform written out as sums, for one picture."""
    image = picture(0)
    grey = np.asarray(image.convert("L").resize((128, 128), Image.Resampling.BOX), dtype=float)
    small = np.array([[grey[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean() for x in range(32)] for y in range(32)])
    wanted = np.zeros((16, 16))
    waves = [np.cos(np.pi * frequency * (np.arange(32) + 0.5) / 32) for frequency in range(16)]
    for v in range(16):
        for u in range(16):
            scale = (0.5 if v == 0 else 1) * (0.5 if u == 0 else 1)
            wanted[v, u] = (small * np.outer(waves[v], waves[u])).sum() * np.sqrt(scale) * np.hypot(u, v)
    np.testing.assert_allclose(look_at(image), (wanted / np.linalg.norm(wanted)).ravel(), atol=1e-6)


def test_what_leaves_a_picture_the_same() -> None:
    image = picture(1)
    assert likeness(image, image) == pytest.approx(1, abs=1e-6)
    darker = image.point(lambda value: value * 0.6 + 20)
    assert likeness(image, darker) > 0.99
    assert likeness(image, image.resize((97, 71))) > 0.99
    assert likeness(image, image.convert("P", palette=Image.Palette.ADAPTIVE)) > 0.97
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
    assert deep.mode == "I;16" and likeness(image, deep) > 0.99
    others = [likeness(image, picture(seed)) for seed in range(2, 40)]
    assert max(np.abs(others)) < 0.6


@pytest.mark.parametrize("grey", [0, 255, 77])
def test_flat_pictures_are_like_no_other(grey: int) -> None:
    flat = Image.new("L", (50, 40), grey)
    noise = np.random.default_rng(0).integers(0, 2, (40, 50), dtype=np.uint8)
    assert not look_at(flat).any()
    assert not look_at(Image.fromarray(noise + np.uint8(grey // 2))).any()
    assert not look_at(Image.new("F", (5, 5), float("nan"))).any()
    assert look_at(Image.new("RGB", (1, 1))).shape == (KEPT,)
    blank = np.zeros((3, KEPT), np.float32)
    assert find_twins(blank, np.zeros(3, int), np.arange(3)) == []


def test_mirrored_pictures_are_found_as_such() -> None:
    images = [picture(3), ImageOps.mirror(picture(3)), ImageOps.flip(picture(3)), picture(3).resize((90, 90))]
    looks = np.stack([look_at(image) for image in images])
    mirror, resized = find_twins(looks, np.zeros(4, int), np.arange(4))
    assert (mirror.first, mirror.second, mirror.mirrored) == (0, 1, True)
    assert resized.second == 3 and (resized.first, resized.mirrored) in [(0, False), (1, True)]


def by_loops(looks: np.ndarray, splits: np.ndarray, contents: np.ndarray) -> list[Twin]:
    """Return the best earlier twins, by comparing two looks at a time and mirrored ones by turning signs."""
    signs = np.where(np.arange(KEPT) % 16 % 2 == 1, -1, 1)
    found = []
    for second in range(len(looks)):
        for elsewhere in (True, False):
            best = None
            for first in range(second):
                if contents[first] == contents[second] or (splits[first] != splits[second]) != elsewhere:
                    continue
                for mirrored in (False, True):
                    value = float(looks[first] @ (looks[second] * signs if mirrored else looks[second]))
                    if value >= ALIKE and (best is None or value > best.likeness):
                        best = Twin(first, second, value, mirrored)
            found += [best] if best else []
    return found


@pytest.mark.parametrize("at_once", [3, 7, 64])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_equals_loops(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    signs = np.where(np.arange(KEPT) % 16 % 2 == 1, -1, 1)
    looks = rng.normal(size=(6, KEPT))[rng.integers(0, 6, 40)] + rng.normal(size=(40, KEPT)) * 0.25
    looks[rng.random(40) < 0.4] *= signs
    looks = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)
    splits, contents = np.sort(rng.integers(0, 3, 40)), rng.integers(0, 30, 40)
    seen: list[tuple[int, int]] = []
    found = find_twins(looks, splits, contents, lambda done, total: seen.append((done, total)))
    wanted = by_loops(looks, splits, contents)
    assert len(wanted) > 20
    assert [(t.first, t.second, t.mirrored) for t in found] == [(t.first, t.second, t.mirrored) for t in wanted]
    np.testing.assert_allclose([t.likeness for t in found], [t.likeness for t in wanted], atol=1e-5)
    assert seen == [(min(start + at_once, 40), 40) for start in range(0, 40, at_once)]


def test_none_and_one() -> None:
    assert find_twins(np.zeros((0, KEPT), np.float32), np.zeros(0, int), np.zeros(0, int)) == []
    assert find_twins(look_at(picture(0))[None], np.zeros(1, int), np.zeros(1, int)) == []


def test_memory_does_not_grow_with_the_pairs() -> None:
    """6,000 pictures, a third of them the same one: 18 million pairs, of which two million are alike."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(6000, KEPT)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    looks[::3] = looks[0]
    tracemalloc.start()
    found = find_twins(looks, np.arange(6000) // 3000, np.arange(6000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 999 + 1000 + 999  # the first one has no earlier twin, the first of each split none in its own
    assert peak < 250e6
