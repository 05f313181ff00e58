"""A training process without Ray: what it reports, and that a resumed training equals an undisturbed one."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted import Planted
from small_models import small_model
from training_cases import PREDICT, TRAIN, Recorder, weights

from fineseg import FinesegError
from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.mm.training import TrainingJob, optimiser_config, schedule_config, train_model
from fineseg.profile.schema import MetricTable, TrainTable
from fineseg.store import read_rows


def job(split: Split, folder: Path, train: TrainTable = TRAIN) -> TrainingJob:
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(small_model(), train, PREDICT, MetricTable(), split, split, folder, folder)


def test_a_resumed_training_equals_an_undisturbed_one(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    straight = Recorder(tmp_path / "straight")
    train_model(job(rooms, tmp_path / "a"), catalog, straight.events())
    assert [m["epoch"] for m in straight.metrics] == [1, 2, 3]
    assert straight.steps[-1] == 9  # 6 rooms, 2 a step, 3 epochs

    resumed = Recorder(tmp_path / "resumed")
    train_model(job(rooms, tmp_path / "a"), catalog, resumed.events(tmp_path / "straight" / "1"))
    assert resumed.steps[0] == 4
    first, second = weights(tmp_path / "straight" / "3"), weights(tmp_path / "resumed" / "3")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [row["step"] for row in read_rows(tmp_path / "a" / "curve.jsonl")]
    assert steps == list(range(1, 10))
    assert sum(row["steps"] for row in read_rows(tmp_path / "a" / "ledger.jsonl")) == 9 + 6


@pytest.mark.parametrize("name", ["state.pth", "weights.pth"])
def test_a_checkpoint_that_carries_code_is_not_resumed(
    name: str, rooms: Split, catalog: Catalog, tmp_path: Path
) -> None:
    short = TRAIN.model_copy(update={"epochs": 1})
    recorder = Recorder(tmp_path / "c")
    train_model(job(rooms, tmp_path / "a", short), catalog, recorder.events())
    torch.save({"model": Planted(tmp_path / "written")}, tmp_path / "c" / "1" / name)
    with pytest.raises(FinesegError, match=rf"{name}: refused: not a file of plain tensors"):
        train_model(job(rooms, tmp_path / "a"), catalog, Recorder(tmp_path / "d").events(tmp_path / "c" / "1"))
    assert not (tmp_path / "written").exists()


def test_validation_reports_ap(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"epochs": 2, "validate_every": 2, "checkpoint_every": 2})
    recorder = Recorder(tmp_path / "c")
    train_model(job(rooms, tmp_path / "a", train), catalog, recorder.events())
    (metrics,) = recorder.metrics
    assert metrics["epoch"] == 2 and 0 <= metrics["AP"] <= 100


def test_nothing_to_train_on(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    empty = replace(rooms, objects={})
    with pytest.raises(FinesegError, match="split 'train' holds no image with an object to train on"):
        train_model(job(empty, tmp_path / "a"), catalog, Recorder(tmp_path).events())


def test_a_diverging_loss_stops_with_advice(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    wild = TRAIN.model_copy(update={"lr": 1e30})
    with pytest.raises(FinesegError, match=r"the loss is (nan|inf); lower train\.lr"):
        train_model(job(rooms, tmp_path / "a", wild), catalog, Recorder(tmp_path / "c").events())


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU answers")
def test_fp16_needs_a_gpu(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    half = TRAIN.model_copy(update={"precision": "fp16"})
    with pytest.raises(FinesegError, match='"fp16" needs a GPU'):
        train_model(job(rooms, tmp_path / "a", half), catalog, Recorder(tmp_path / "c").events())


def learning_rates(train: TrainTable, steps_per_epoch: int) -> list[float]:
    from mmengine.registry import PARAM_SCHEDULERS

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=train.lr)
    schedules = [PARAM_SCHEDULERS.build({**c, "optimizer": optimiser}) for c in schedule_config(train, steps_per_epoch)]
    rates = []
    for _ in range(train.epochs * steps_per_epoch):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        for schedule in schedules:
            schedule.step()
    return rates


def test_step_schedule_in_closed_form() -> None:
    train = TRAIN.model_copy(update={"epochs": 4, "lr": 0.02})
    train = TrainTable.model_validate(
        {**train.model_dump(), "schedule": {"steps": (3,), "gamma": 0.1, "warmup": 5, "warmup_start": 0.2}}
    )
    rates = learning_rates(train, 10)
    assert rates[0] == pytest.approx(0.02 * 0.2)
    assert rates[4:30] == pytest.approx([0.02] * 26)
    assert rates[30:] == pytest.approx([0.002] * 10)


def test_cosine_schedule_in_closed_form() -> None:
    train = TrainTable.model_validate({**TRAIN.model_dump(), "schedule": {"name": "cosine", "end": 0.1}, "lr": 1.0})
    rates = learning_rates(train, 10)
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_optimiser_follows_the_table() -> None:
    sgd = TrainTable(epochs=1, lr=0.01, optimiser={"name": "sgd", "momentum": 0.8}, clip_norm=35)
    config = optimiser_config(sgd, {"backbone": {"lr_mult": 0.1}})
    assert config["optimizer"] == {"type": torch.optim.SGD, "lr": 0.01, "momentum": 0.8, "weight_decay": 1e-4}
    assert config["clip_grad"] == {"max_norm": 35, "norm_type": 2}
    assert config["paramwise_cfg"] == {"custom_keys": {"backbone": {"lr_mult": 0.1}}}
