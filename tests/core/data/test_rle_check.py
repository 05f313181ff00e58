"""Soundness of compressed RLE against pycocotools' own encoder and a plain decoder."""

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from fineseg.data import rle_check
from fineseg.data.rle_check import find_unsound


def encoded(mask: np.ndarray) -> bytes:
    counts: bytes = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def plain_runs(counts: bytes) -> list[int] | None:
    """Decode as COCO's C code does, one character after the other; None where it would read past the end."""
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value, place, more = 0, 0, True
        while more:
            if at >= len(counts) or not 0 <= counts[at] - 48 <= 63:
                return None
            character = counts[at] - 48
            value |= (character & 31) << (5 * place)
            more = bool(character & 32)
            at, place = at + 1, place + 1
            if not more and character & 16:
                value -= 1 << (5 * place)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


@seed(0)
@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0, 0.02, 0.5, 1]))
def test_every_mask_that_pycocotools_encodes_is_sound(height: int, width: int, draw: int, share: float) -> None:
    mask = np.random.default_rng(draw).random((height, width)) < share
    assert find_unsound([encoded(mask)], [height * width]) == {}
    assert find_unsound([encoded(mask)], [height * width + 1]) == {
        0: f"the runs of counts cover {height * width} pixels; the image has {height * width + 1}"
    }


@seed(1)
@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=12).map(lambda b: bytes(47 + c % 66 for c in b)), min_size=1, max_size=5))
def test_verdict_on_any_string_is_that_of_a_plain_decoder(texts: list[bytes]) -> None:
    pixels = []
    sound = []
    for text in texts:
        runs = plain_runs(text)
        pixels.append(sum(runs) if runs and sum(runs) > 0 else 7)
        sound.append(bool(runs) and min(runs or [0]) >= 0 and sum(runs or []) > 0 and max(runs or [0]) < 2**34)
    faults = find_unsound(texts, pixels)
    assert [index not in faults for index in range(len(texts))] == sound


def test_small_chunks_give_the_same_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    counts = [encoded(rng.random((9, 11)) < 0.3) for _ in range(40)]
    counts[7], counts[20], counts[39] = b"", b"X", b"11"
    whole = find_unsound(counts, [99] * 40)
    monkeypatch.setattr(rle_check, "_CHUNK", 30)
    assert find_unsound(counts, [99] * 40) == whole
    assert sorted(whole) == [7, 20, 39]


@pytest.mark.parametrize(
    ("counts", "fault"),
    [
        (b"", "counts is empty"),
        (b"4\x00", "counts holds a character that no RLE has"),
        (b"4z", "counts holds a character that no RLE has"),
        (b"4P", "counts stops inside a number"),
        (b"4", "the runs of counts cover 4 pixels; the image has 16"),
        (b"4O9", "counts holds a run of impossible length"),
        (b"PPPPPPPP0", "counts holds a run of impossible length"),
    ],
)
def test_faults_in_words(counts: bytes, fault: str) -> None:
    assert find_unsound([b"`0", counts, b"00`0"], [16, 16, 16]) == {1: fault}


def test_nothing_to_check() -> None:
    assert find_unsound([], []) == {}
