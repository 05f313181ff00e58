"""Run lengths, panoptic PNGs, stored predictions and weights: any bytes give data that is safe to use, or one line."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_sets import draw
from fuzz.mutation import assert_one_line, examples, mutated_bytes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from planted import Planted

from fineseg import FinesegError
from fineseg.data import masks
from fineseg.data.panoptic import decode_ids, encode_ids
from fineseg.data.rle_check import find_unsound
from fineseg.mm.weights import read_checkpoint, read_tensors
from fineseg.predictions import read_instances, write_instances

# ---------------------------------------------------------------- run lengths


def runs_of(counts: bytes) -> list[int] | None:
    """Return the runs of compressed counts, one character at a time, None for counts that are none."""
    runs: list[int] = []
    value, shift = 0, 0
    for byte in counts:
        if not 48 <= byte <= 111:
            return None
        digit = byte - 48
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (1 << shift) if digit & 16 else 0
            value += runs[-2] if len(runs) > 2 else 0
            runs.append(value)
            value, shift = 0, 0
    return runs if runs and not shift else None


COUNTS = st.one_of(
    st.binary(max_size=30),
    st.lists(st.integers(48, 111), max_size=30).map(bytes),
    mutated_bytes(masks.encode(np.random.default_rng(0).random((9, 7)) > 0.5)),
    st.just(masks.encode(np.ones((9, 7), bool))),
)


@examples(1000)
@given(drawn=st.lists(COUNTS, min_size=1, max_size=6), pixels=st.sampled_from((63, 63, 1, 0, 10**18, 2**62)))
def test_run_lengths(drawn: list[bytes], pixels: int) -> None:
    """What passes covers the image to the pixel by any decoder; what a plain decoder finds sound passes."""
    faults = find_unsound(drawn, [pixels] * len(drawn))
    for index, counts in enumerate(drawn):
        runs = runs_of(counts)
        sound = runs is not None and min(runs) >= 0 and sum(runs) == pixels
        if index not in faults:
            assert sound
            if pixels == 63:
                assert masks.areas([counts], 9, 7)[0] == sum(runs[1::2])
        else:
            assert_one_line(FinesegError(faults[index]))
            assert not sound or len(counts) > 7  # a number may be padded with characters beyond any image


# ------------------------------------------------------------------------ PNG


def png(mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (6, 5, 3), np.uint8)).convert(mode).save(content, "PNG")
    return content.getvalue()


@examples(500)
@given(content=st.sampled_from((encode_ids(np.arange(30).reshape(6, 5)), png("P"), png("RGBA"))).flatmap(mutated_bytes))
def test_panoptic_png(content: bytes) -> None:
    try:
        ids = decode_ids(content, "map.png")
    except FinesegError as error:
        assert_one_line(error)
    else:
        assert ids.dtype == np.int32 and ids.ndim == 2 and ids.min(initial=0) >= 0


# --------------------------------------------------------- stored predictions


@pytest.fixture(scope="module")
def parquet(folder: Path) -> bytes:
    write_instances(folder / "sound.parquet", draw(3, images=3)[1].values())
    return (folder / "sound.parquet").read_bytes()


@examples(500)
@given(data=st.data())
def test_stored_predictions(data: st.DataObject, parquet: bytes, folder: Path) -> None:
    file = folder / "p.parquet"
    file.write_bytes(data.draw(mutated_bytes(parquet)))
    try:
        found = read_instances([file])
    except FinesegError as error:
        assert_one_line(error)
        return
    for instances in found.values():
        assert not find_unsound(list(instances.masks), [instances.height * instances.width] * len(instances))


# -------------------------------------------------------------------- weights


def saved(value: object, *, zipped: bool = True) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=zipped)
    return content.getvalue()


STATE = {"state_dict": {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2, dtype=torch.float16)}, "epoch": 3}


@pytest.fixture(scope="module")
def checkpoints(folder: Path) -> list[bytes]:
    """Return sound files of both of torch's formats, an .npz, and one that carries code."""
    content = io.BytesIO()
    np.savez(content, weight=np.ones((2, 3)), bias=np.zeros(2))
    carries = saved({"model": Planted(folder / "written")})
    return [saved(STATE), saved(STATE, zipped=False), content.getvalue(), carries]


@examples(300)
@given(data=st.data())
def test_weights(data: st.DataObject, checkpoints: list[bytes], folder: Path) -> None:
    content = data.draw(st.sampled_from(checkpoints))
    changed = data.draw(mutated_bytes(content))
    for suffix in ("pth", "npz"):
        file = folder / f"w.{suffix}"
        file.write_bytes(changed)
        try:
            found = read_tensors(str(file), folder)
        except FinesegError as error:
            assert_one_line(error)
        else:
            assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in found.items())
    assert not (folder / "written").exists()


def test_a_file_that_carries_code_is_among_the_checkpoints(checkpoints: list[bytes], folder: Path) -> None:
    """Loaded without our loader it would leave its mark: the fuzzer above looks at something that can happen."""
    torch.load(io.BytesIO(checkpoints[3]), weights_only=False)
    assert (folder / "written").exists()
    (folder / "written").unlink()
    (folder / "c.pth").write_bytes(checkpoints[3])
    with pytest.raises(FinesegError, match="refused"):
        read_checkpoint(folder / "c.pth")
    assert not (folder / "written").exists()
