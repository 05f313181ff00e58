"""Weights that stand for a training: all of the model's, nothing executed."""

from pathlib import Path

import pytest
import torch
from planted import Planted
from small_models import small_model

from fineseg import FinesegError
from fineseg.catalog import Catalog
from fineseg.mm.given import take_weights
from fineseg.mm.model import build_model
from fineseg.mm.weights import read_checkpoint

CLASSES = 5


@pytest.fixture(scope="module")
def state(catalog: Catalog) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(build_model(small_model(), catalog, CLASSES, weights_cache=None).module.state_dict())


def test_what_the_file_holds_is_what_predicts(state: dict[str, torch.Tensor], catalog: Catalog, tmp_path: Path) -> None:
    torch.save({"state_dict": {**state, "ema.step": torch.ones(1)}, "meta": {"epoch": 12}}, tmp_path / "a.pth")
    surplus = take_weights(small_model(), catalog, CLASSES, tmp_path / "a.pth", tmp_path / "out" / "weights.pth")
    assert surplus == ["ema.step: not in the network"]
    taken = read_checkpoint(tmp_path / "out" / "weights.pth")["model"]
    assert taken.keys() == state.keys() and all(torch.equal(taken[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("drop", "classes", "said"),
    [("rpn_head.rpn_cls.bias", CLASSES, "rpn_cls.bias: not in the file"), (None, CLASSES + 1, "in the file, .* more;")],
)
def test_a_model_that_stays_partly_random_is_refused(
    drop: str | None, classes: int, said: str, state: dict[str, torch.Tensor], catalog: Catalog, tmp_path: Path
) -> None:
    torch.save({name: tensor for name, tensor in state.items() if name != drop}, tmp_path / "a.pth")
    with pytest.raises(FinesegError, match=said):
        take_weights(small_model(), catalog, classes, tmp_path / "a.pth", tmp_path / "weights.pth")
    assert not (tmp_path / "weights.pth").exists()


def test_a_file_that_carries_code_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    torch.save({"state_dict": Planted(tmp_path / "written")}, tmp_path / "a.pth")
    with pytest.raises(FinesegError, match=r"a\.pth: refused: not a file of plain tensors"):
        take_weights(small_model(), catalog, CLASSES, tmp_path / "a.pth", tmp_path / "weights.pth")
    assert not (tmp_path / "written").exists() and not (tmp_path / "weights.pth").exists()
