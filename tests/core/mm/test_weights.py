"""Weights files: what fits is loaded, what does not is named, and nothing is ever executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import Planted
from torch import nn

from fineseg import FinesegError
from fineseg.mm.weights import load_backbone, read_checkpoint, read_tensors
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
