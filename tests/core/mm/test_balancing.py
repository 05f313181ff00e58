"""Task balancing: losses by task, a training whose balancer learns, goes on and rests, and a prediction without it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from small_models import small_model
from torch import Tensor, nn

from fineseg import FinesegError, NoOptions, TaskBalancer
from fineseg.catalog import Catalog, Entry
from fineseg.data.split import Split
from fineseg.mm.balancing import add_balancer, balanced_losses, sum_by_task
from fineseg.mm.given import take_weights
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import load_trained, predict_image
from fineseg.mm.training import TrainingJob, optimiser_config, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.mm.weights import read_checkpoint
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, PredictTable, TrainTable
from fineseg.store import read_rows

TRAIN = TrainTable(
    epochs=3, lr=1e-3, batch=2, long_side=96, short_side=(64, 80), optimiser={"name": "adamw", "weight_decay": 0.5}
)
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.01)


class Doubling(nn.Module):
    """Counts every task exp(w) times, w learned: less and less."""

    def __init__(self, groups: tuple[str, ...]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((len(groups),), 0.5))

    def forward(self, losses: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        weights = dict(zip(losses, self.w.exp(), strict=True))
        return torch.stack([weights[group] * loss for group, loss in losses.items()]).sum() - 7, weights


@pytest.fixture(scope="module")
def balancing(catalog: Catalog) -> Catalog:
    """Return the catalog with two balancers more."""
    good = TaskBalancer("doubling", "", NoOptions, build=lambda _, groups: Doubling(groups))
    bad = TaskBalancer("wrong", "", NoOptions, build=lambda _, groups: groups)
    more = tuple(Entry(part, "toy", "toy-parts", "1.0") for part in (good, bad))
    return replace(catalog, entries=(*catalog.entries, *more))


def balanced(name: str | None = "doubling") -> ModelTable:
    choice = None if name is None else PartChoice(name=name)
    return small_model("mask-rcnn").model_copy(update={"balancer": choice})


def built(table: ModelTable, catalog: Catalog, classes: int = 14) -> BuiltModel:
    torch.manual_seed(3)
    return build_model(table, catalog, classes, weights_cache=None)


# ----------------------------------------------------------------- by task


def test_losses_by_task_the_longest_beginning_decides() -> None:
    logs = {
        "loss": 99.0,
        "loss_rpn_cls": 1.0,
        "s0.loss_cls": 2.0,
        "s0.acc": 50.0,
        "loss_semantic_seg": 4.0,
        "loss_semantic_roi": 8.0,
    }
    groups = {"": "rest", "loss_semantic": "semantic", "loss_semantic_roi": "rois"}
    found = sum_by_task({name: torch.tensor(value) for name, value in logs.items()}, groups)
    assert {task: value.item() for task, value in found.items()} == {"rest": 3.0, "semantic": 4.0, "rois": 8.0}
    with pytest.raises(ValueError, match=r"loss_groups name no task for its loss 's0\.loss_cls'"):
        sum_by_task({"s0.loss_cls": torch.tensor(1.0)}, {"loss": "all"})


def test_what_is_learned_and_what_is_logged(balancing: Catalog) -> None:
    module = built(balanced(), balancing).module
    losses = {
        "loss_a": [torch.tensor(1.0), torch.tensor([2.0, 4.0])],
        "b_loss": torch.tensor(6.0),
        "acc": torch.ones(1),
    }
    groups = {"": "all", "b": "b"}
    total, logs = balanced_losses(Doubling(("all", "b")), groups, module.parse_losses, losses)  # type: ignore[arg-type]
    grown = math.exp(0.5)
    assert total.item() == pytest.approx(grown * (4 + 6) - 7)
    numbers = {name: value.item() for name, value in logs.items()}
    assert numbers == pytest.approx(
        {
            "loss": total.item(),
            "loss_a": 4.0,
            "b_loss": 6.0,
            "acc": 1.0,
            "task_weight.all": grown,
            "task_weight.b": grown,
        }
    )


def test_no_module_is_a_fault_of_the_plugin(balancing: Catalog) -> None:
    table = balanced("wrong")
    with pytest.raises(FinesegError, match="task-balancer 'wrong': build returned tuple, no torch module"):
        add_balancer(built(table, balancing), table, balancing)


def test_a_model_without_a_balancer_is_left_as_it_is(balancing: Catalog) -> None:
    table = balanced(None)
    model = built(table, balancing)
    assert add_balancer(model, table, balancing) is model


# ---------------------------------------------------------------- in training


def run(table: ModelTable, rooms: Split, catalog: Catalog, folder: Path, resume: Path | None = None) -> list[Any]:
    """Train into a folder, with a checkpoint of each epoch in its subfolder; return the rows of the curve."""
    folder.mkdir(parents=True, exist_ok=True)

    def keep(metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint is not None
        target = folder / str(metrics["epoch"])
        target.mkdir()
        for file in checkpoint.iterdir():
            (target / file.name).write_bytes(file.read_bytes())

    job = TrainingJob(table, TRAIN, PREDICT, MetricTable(), rooms, rooms, folder, folder)
    train_model(job, catalog, TrainingEvents(lambda *_: None, keep, resume))
    return read_rows(folder / "curve.jsonl")


@pytest.fixture(scope="module")
def trained(rooms: Split, balancing: Catalog, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(balanced(), rooms, balancing, folder)


def test_every_step_tells_what_the_tasks_weigh(trained: tuple[Path, list[Any]]) -> None:
    rows = trained[1]
    assert len(rows) == 9
    weights = [row["task_weight.all"] for row in rows]
    assert weights[0] == pytest.approx(math.exp(0.5)) and all(np.diff(weights) < 0)  # Adam moves by the rate a step
    assert math.log(weights[-1]) == pytest.approx(0.5 - 8e-3, abs=2e-3)
    for row in rows:
        terms = sum(value for name, value in row.items() if "loss" in name and name != "loss")
        assert row["loss"] == pytest.approx(row["task_weight.all"] * terms - 7, rel=1e-5)
    assert min(row["loss"] for row in rows) < 0


def test_a_resumed_training_has_the_balancer_back(
    trained: tuple[Path, list[Any]], rooms: Split, balancing: Catalog, tmp_path: Path
) -> None:
    folder, rows = trained
    again = run(balanced(), rooms, balancing, tmp_path, folder / "1")
    first, second = (read_checkpoint(each / "3" / "weights.pth")["model"] for each in (folder, tmp_path))
    assert first.keys() == second.keys() and "task_balancer.w" in first
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again == rows[3:]


def test_no_weight_decay(balancing: Catalog) -> None:
    table = balanced()
    model = add_balancer(built(table, balancing), table, balancing)
    wrapper = build_optim_wrapper(model.module, optimiser_config(TRAIN, dict(model.paramwise)))
    decay = {id(p): group["weight_decay"] for group in wrapper.optimizer.param_groups for p in group["params"]}
    found = {name: decay[id(parameter)] for name, parameter in model.module.named_parameters()}
    assert found.pop("task_balancer.w") == 0
    assert set(found.values()) == {0.5}


def test_prediction_leaves_it_out(
    trained: tuple[Path, list[Any]], rooms: Split, balancing: Catalog, tmp_path: Path
) -> None:
    """A balanced training's weights predict with and without the table's word of it, as a file's too."""
    weights = trained[0] / "3" / "weights.pth"
    classes, answers = len(rooms.categories), []
    for name in ("doubling", None):
        model = built(balanced(name), balancing, classes)
        load_trained(model, weights)
        model.module.eval()
        assert not any("balancer" in key for key in model.module.state_dict())
        answers.append(predict_image(model, rooms.images[0], PREDICT, torch.device("cpu")))
    assert len(answers[0]) and np.array_equal(answers[0].scores, answers[1].scores)
    assert take_weights(balanced(), balancing, classes, weights, tmp_path / "weights.pth") == []
    start = balanced().model_copy(update={"weights": str(weights)})
    notes = build_model(start, balancing, classes, weights_cache=tmp_path).notes
    assert len(notes) == 1 and "tensors taken" in notes[0]
