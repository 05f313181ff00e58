"""Losses from profiles: behind mmdet's calls, in trainings of one head or several, refused where they do not fit."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from htc_cases import STUFF, small_htc
from mmdet.models.losses import CrossEntropyLoss
from small_models import MASK_RCNN, POINTREND, small_model
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg import FinesegError, Loss, NoOptions
from fineseg.catalog import Catalog, Entry
from fineseg.data.split import Split
from fineseg.mm.losses import ClassLoss, MaskLoss, SemanticLoss, SlotLoss, chosen_losses
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import load_trained
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.mm.weights import read_checkpoint
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, PredictTable, TrainTable
from fineseg.store import read_rows

TRAIN = TrainTable(epochs=1, lr=1e-3, batch=2, long_side=96, short_side=(64, 80))
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.01)
Function = Callable[[Tensor, Tensor], Tensor]


class Called(nn.Module):
    """A function as a loss that counts its calls; `scale` is a buffer that is not in its state."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function, self.calls = function, 0
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        self.calls += 1
        return self.function(logits, truth) * self.scale


def stateful(_: Any) -> nn.Module:
    return nn.Linear(1, 1)


@pytest.fixture
def made() -> list[Called]:
    """Return the losses that parts of the catalog `losses` have built."""
    return []


@pytest.fixture
def losses(catalog: Catalog, made: list[Called]) -> Catalog:
    """Return the catalog with what heads learn from anyway, and with parts that are wrong."""

    def builds(function: Function) -> Callable[[Any], nn.Module]:
        def build(_: Any) -> nn.Module:
            made.append(Called(function))
            return made[-1]

        return build

    parts = (
        Loss("cells", "", NoOptions, builds(F.binary_cross_entropy_with_logits), serves=("mask",)),
        Loss("rows", "", NoOptions, builds(F.cross_entropy), serves=("class",)),
        Loss("threefold", "", NoOptions, builds(lambda *given: 3 * F.cross_entropy(*given)), serves=("class",)),
        Loss("pixels", "", NoOptions, builds(lambda *given: F.cross_entropy(*given, ignore_index=255)), ("semantic",)),
        Loss("function", "", NoOptions, lambda _: F.cross_entropy, serves=("class",)),
        Loss("stateful", "", NoOptions, stateful, serves=("class",)),
    )
    more = tuple(Entry(part, "toy", "toy-parts", "1.0") for part in parts)
    return replace(catalog, entries=(*catalog.entries, *more))


def with_losses(table: ModelTable, **chosen: str) -> ModelTable:
    return table.model_copy(update={"losses": {slot: PartChoice(name=name) for slot, name in chosen.items()}})


CELLS_AND_ROWS = {"mask": "cells", "class": "rows"}


# ------------------------------------------------------------ behind mmdet's calls


def slopes(loss: nn.Module, logits: Tensor, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Return a loss and its gradient."""
    logits = logits.clone().requires_grad_()
    found = loss(logits, *rest, **named).sum()
    found.backward()
    assert logits.grad is not None
    return found.detach(), logits.grad


@pytest.mark.parametrize("shape", [(6, 5, 7, 7), (6, 5, 11), (1, 1, 4)])
def test_as_a_mask_heads_own(shape: tuple[int, ...]) -> None:
    masks, labels = torch.randn(shape), torch.randint(shape[1], shape[:1])
    targets = torch.rand(shape[0], *shape[2:])
    own = slopes(CrossEntropyLoss(use_mask=True, loss_weight=0.7), masks, targets, labels)
    found = slopes(MaskLoss(Called(F.binary_cross_entropy_with_logits), loss_weight=0.7), masks, targets, labels)
    torch.testing.assert_close(found, own)


@pytest.mark.parametrize("weights", [torch.ones(9), torch.tensor([1, 0, 1, 1, 0, 1, 1, 1, 0.0])])
def test_as_a_box_heads_own(weights: Tensor) -> None:
    scores, labels = torch.randn(9, 4), torch.randint(4, (9,))
    call = (scores, labels, weights)
    own = slopes(CrossEntropyLoss(loss_weight=2.0), *call, avg_factor=float(weights.sum()), reduction_override=None)
    found = slopes(ClassLoss(Called(F.cross_entropy), 2.0), *call, avg_factor=1.0, reduction_override=None)
    torch.testing.assert_close(found, own)
    assert not found[1][weights == 0].any()
    with pytest.raises(NotImplementedError, match="not reduction 'none'"):
        ClassLoss(Called(F.cross_entropy))(*call, reduction_override="none")


def test_as_a_semantic_heads_own() -> None:
    scores, labels = torch.randn(2, 4, 5, 6), torch.randint(4, (2, 5, 6))
    labels[:, 1] = 255
    own = slopes(CrossEntropyLoss(ignore_index=255, avg_non_ignore=True, loss_weight=0.2), scores, labels)
    pixels = Called(lambda *given: F.cross_entropy(*given, ignore_index=255))
    torch.testing.assert_close(slopes(SemanticLoss(pixels, 0.2), scores, labels), own)


@pytest.mark.parametrize(("given", "seen"), [(torch.float16, torch.float32), (torch.float64, torch.float64)])
def test_logits_are_in_single_precision_at_least(given: torch.dtype, seen: torch.dtype) -> None:
    def check(logits: Tensor, truth: Tensor) -> Tensor:
        assert logits.dtype == seen
        return logits.sum()

    labels = torch.zeros(2, dtype=torch.int64)
    ClassLoss(Called(check))(torch.zeros(2, 3, dtype=given), labels, torch.ones(2), avg_factor=2.0)
    MaskLoss(Called(check))(torch.zeros(2, 3, 4, 4, dtype=given), torch.zeros(2, 4, 4), labels)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("function", "loss 'function': build returned function, no torch module"),
        ("stateful", r"loss 'stateful': has a state \(weight, bias\), which prediction would lack"),
    ],
)
def test_parts_that_are_no_stateless_modules(name: str, said: str, losses: Catalog) -> None:
    with pytest.raises(FinesegError, match=said):
        chosen_losses(with_losses(small_model("mask-rcnn"), **{"class": name}), losses)


def build(table: ModelTable, catalog: Catalog, *, stuff: int = 0) -> BuiltModel:
    torch.manual_seed(3)
    chosen = chosen_losses(table, catalog)
    return build_model(table, catalog, 4, weights_cache=None, num_stuff=stuff, losses=chosen)


def test_a_branch_that_options_leave_out(losses: Catalog) -> None:
    said = r"losses\.semantic: with its options the model's head has no such loss; leave it out"
    with pytest.raises(FinesegError, match=said):
        build(with_losses(small_htc(), semantic="pixels"), losses, stuff=STUFF)
    module = build(with_losses(small_htc(semantic=True), semantic="pixels"), losses, stuff=STUFF).module
    assert slots_in(module) == {"SemanticLoss": 1}


def slots_in(module: nn.Module) -> dict[str, int]:
    names = [type(each).__name__ for each in module.modules() if isinstance(each, SlotLoss)]
    return {name: names.count(name) for name in sorted(set(names))}


def test_every_end_that_has_the_slot_takes_it(losses: Catalog) -> None:
    ends = {"x": PartChoice(name="mask-rcnn", **MASK_RCNN), "y": PartChoice(name="pointrend", **POINTREND)}
    table = small_model().model_copy(update={"head": None, "ends": ends})
    module: Any = build(with_losses(table, **CELLS_AND_ROWS), losses).module
    assert [slots_in(end) for end in module.ends] == [
        {"ClassLoss": 1, "MaskLoss": 1},
        {"ClassLoss": 1, "MaskLoss": 2},  # the coarse mask's and the points'
    ]
    other = {**ends, "y": PartChoice(name="solov2", grids=[12, 10, 8, 6, 4], width=16, convs=1)}
    module = build(with_losses(table.model_copy(update={"ends": other}), **CELLS_AND_ROWS), losses).module
    assert [slots_in(end) for end in module.ends] == [{"ClassLoss": 1, "MaskLoss": 1}, {}]


# -------------------------------------------------------------------- in trainings


def run(table: ModelTable, rooms: Split, catalog: Catalog, folder: Path) -> tuple[list[Any], Mapping[str, Tensor]]:
    """Train one epoch; return the rows of the curve and the weights."""
    folder.mkdir()
    kept: list[Mapping[str, Tensor]] = []

    def keep(metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint is not None
        kept.append(read_checkpoint(checkpoint / "weights.pth")["model"])

    job = TrainingJob(table, TRAIN, PREDICT, MetricTable(), rooms, rooms, folder, folder)
    train_model(job, catalog, TrainingEvents(lambda *_: None, keep, None))
    return read_rows(folder / "curve.jsonl"), kept[-1]


@pytest.fixture
def own(rooms: Split, catalog: Catalog, tmp_path: Path) -> tuple[list[Any], Mapping[str, Tensor]]:
    """Return a training with the head's own losses."""
    return run(small_model("mask-rcnn"), rooms, catalog, tmp_path / "own")


def test_the_heads_own_losses_from_a_profile_train_the_same(
    own: tuple[list[Any], Mapping[str, Tensor]], rooms: Split, losses: Catalog, made: list[Called], tmp_path: Path
) -> None:
    table = with_losses(small_model("mask-rcnn"), **CELLS_AND_ROWS)
    rows, weights = run(table, rooms, losses, tmp_path / "same")
    assert len(rows) == len(own[0]) == 3
    for row, plain in zip(rows, own[0], strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**plain, "seconds": 0}, rel=1e-4)
    assert weights.keys() == own[1].keys()
    assert all(torch.allclose(weights[name], own[1][name], atol=1e-5) for name in weights)
    assert [each.calls for each in made] == [3, 3]


def test_another_loss_trains_another_model(
    own: tuple[list[Any], Mapping[str, Tensor]], rooms: Split, losses: Catalog, tmp_path: Path
) -> None:
    """Its value is learnt from; the weights predict in a model that knows nothing of it."""
    table = with_losses(small_model("mask-rcnn"), **{"class": "threefold"})
    rows, weights = run(table, rooms, losses, tmp_path / "other")
    first, plain = rows[0], own[0][0]
    assert first["loss_cls"] == pytest.approx(3 * plain["loss_cls"], rel=1e-5)
    assert first["loss"] == pytest.approx(plain["loss"] + 2 * plain["loss_cls"], rel=1e-5)
    assert first["loss_mask"] == pytest.approx(plain["loss_mask"], rel=1e-5)
    assert not torch.equal(weights["roi_head.bbox_head.fc_cls.weight"], own[1]["roi_head.bbox_head.fc_cls.weight"])
    torch.save({"model": dict(weights)}, tmp_path / "weights.pth")
    model = build_model(table, losses, len(rooms.categories), weights_cache=None, init=False)
    load_trained(model, tmp_path / "weights.pth")
    assert slots_in(model.module) == {}
