"""Weights files: what fits is loaded, what does not is named, and nothing is ever executed."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import Planted
from torch import nn

from fineseg import FinesegError
from fineseg.mm.weights import STAND_INS, load_backbone, read_checkpoint, read_tensors
from fineseg.parts import Weights


@pytest.mark.parametrize("nested", [False, True])
def test_a_file_that_carries_code_is_refused_and_does_nothing(tmp_path: Path, nested: bool) -> None:
    planted = Planted(tmp_path / "written")
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": {"weight": torch.ones(2)}, "meta": planted} if nested else planted, path)
    with pytest.raises(FinesegError, match=r"bad\.pth: refused: not a file of plain tensors"):
        read_checkpoint(path)
    with pytest.raises(FinesegError, match="refused"):
        read_tensors(str(path), tmp_path)
    path.write_bytes(pickle.dumps(planted))
    with pytest.raises(FinesegError, match="refused"):
        read_checkpoint(path)
    assert not (tmp_path / "written").exists()


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, weight=np.array([Planted(tmp_path / "written")], dtype=object))
    with pytest.raises(FinesegError, match="refused: not an archive of plain arrays"):
        read_tensors(str(path), tmp_path)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such weights file"), (b"", "refused"), (b"not a checkpoint", "refused"), (b"PK\x03\x04cut", "refused")],
)
def test_missing_and_damaged_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FinesegError, match=message):
        read_tensors(str(path), tmp_path)


def test_what_does_not_match_is_listed(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    path = tmp_path / "w.pth"
    torch.save(
        {"state_dict": {"0.weight": torch.full((2, 3), 7.0), "0.bias": torch.ones(9), "fc.bias": torch.ones(1)}}, path
    )
    notes = load_backbone(net, Weights(str(path)), tmp_path)
    assert torch.equal(net[0].weight.detach(), torch.full((2, 3), 7.0))
    assert "fc.bias: not in the network" in notes
    assert "0.bias: (9,) in the file, (2,) in the network" in notes
    assert "1.weight: not in the file" in notes


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"other": torch.ones(1)}, path)
    with pytest.raises(FinesegError, match="none of its 1 tensors fits this network"):
        load_backbone(nn.Linear(1, 1), Weights(str(path)), tmp_path)


class Calling:
    """A pickle that would call a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attacks(target: Path) -> dict[str, object]:
    """Return objects that would write `target` if what they name were called."""
    write = f"open({str(target)!r}, 'w')"
    inner = target.with_suffix(".inner")
    inner.write_bytes(pickle.dumps(Planted(target)))
    return {
        "system": Calling(os.system, f"touch {target}"),
        "eval": Calling(eval, write),
        "exec": Calling(exec, write),
        "import": Calling(__import__, "os"),
        "torch.load": Calling(torch.load, str(inner)),
        "numpy.load": Calling(np.load, str(inner), None, True),
        "pickle.loads": Calling(pickle.loads, inner.read_bytes()),
        "nested": Calling(Calling, Calling(eval, write)),
        "argument of a stand-in": Calling(argparse.Namespace, Calling(eval, write)),
        "state of a stand-in": argparse.Namespace(inner=Calling(eval, write)),
        "array of objects": np.array([Calling(eval, write)], dtype=object),
        "key": {Calling(eval, write): 1},
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["state_dict", "meta", "message_hub"])
def test_nothing_that_a_file_names_is_called(tmp_path: Path, place: str, zipped: bool) -> None:
    path, target = tmp_path / "bad.pth", tmp_path / "written"
    for name, attack in attacks(target).items():
        checkpoint = {"state_dict": {"weight": torch.ones(2)}, place: {"x": attack}}
        torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(FinesegError, match=r"bad\.pth: refused: not a file of plain tensors"):
            read_tensors(str(path), tmp_path)
        assert not target.exists(), name


@pytest.mark.parametrize(
    "program",
    [
        # getattr(HistoryBuffer, "__init__") as function, as class of a new object, and as what takes items
        b"cbuiltins\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\nX\x08\x00\x00\x00__init__tR(tR.",
        b"cbuiltins\ngetattr\n(ctorch\nSize\nX\x07\x00\x00\x00__new__tR)\x81.",
        b"cmmengine.logging.history_buffer\nHistoryBuffer\n)R(K\x01K\x02u.",
        b"c__builtin__\neval\n(X\x04\x00\x00\x00exittR.",
        b"cposix\nsystem\n(X\x04\x00\x00\x00exittR.",
        b"cfineseg.mm.weights\nread_checkpoint\n(X\x01\x00\x00\x00atR.",
    ],
)
def test_stand_ins_are_no_step_towards_anything(tmp_path: Path, program: bytes) -> None:
    """Hand-written pickle programs: what a stand-in returns can be neither called nor filled."""
    torch.save({}, tmp_path / "plain.pth")
    path = tmp_path / "bad.pth"
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w") as bad:
        for entry in plain.infolist():
            bad.writestr(entry, b"\x80\x02" + program if entry.filename.endswith("data.pkl") else plain.read(entry))
    with pytest.raises(FinesegError, match="refused: not a file of plain tensors"):
        read_checkpoint(path)


def test_what_others_allow_in_this_process_does_not_count(tmp_path: Path) -> None:
    written = tmp_path / "written"
    torch.save({"meta": Planted(written)}, tmp_path / "bad.pth")
    with torch.serialization.safe_globals([open, (getattr, "builtins.getattr")]):
        before = torch.serialization.get_safe_globals()
        with pytest.raises(FinesegError, match="refused"):
            read_checkpoint(tmp_path / "bad.pth")
        assert set(torch.serialization.get_safe_globals()) == set(before)
    assert not written.exists() and not set(STAND_INS) & set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_objects_beside_the_tensors_of_real_files(tmp_path: Path, zipped: bool) -> None:
    from mmengine.config import ConfigDict

    beside = {
        "args": argparse.Namespace(lr=0.1),
        "folder": Path("runs"),
        "scores": [np.float64(1.5), np.arange(3)],
        "config": ConfigDict(model={"type": "x"}),
        "epoch": 12,
    }
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": beside}, path, _use_new_zipfile_serialization=zipped)
    assert list(read_tensors(str(path), tmp_path)) == ["a"]
    meta = read_checkpoint(path)["meta"]
    assert meta["epoch"] == 12 and not vars(meta["args"])
