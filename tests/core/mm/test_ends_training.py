"""Trainings of two ends: in phases that a checkpoint remembers, or at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from htc_cases import HEAD as HTC
from small_models import MASK_RCNN
from training_cases import PREDICT, TRAIN, Recorder, weights

from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, ScheduleTable, TrainTable
from fineseg.store import read_rows

SHORT = TRAIN.model_copy(update={"epochs": 2, "schedule": ScheduleTable(warmup=4)})
STEPS = 3
"""Of an epoch: 6 rooms, 2 a step."""


def job(split: Split, folder: Path, train: TrainTable, training: str) -> TrainingJob:
    folder.mkdir(parents=True, exist_ok=True)
    model = ModelTable(
        backbone=PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False),
        neck=PartChoice(name="fpn", channels=16),
        ends={"one": PartChoice(name="mask-rcnn", **MASK_RCNN), "two": PartChoice(name="htc", **HTC)},
        ends_training=training,
    )
    gives = dict.fromkeys(model.heads, ("instances",))
    return TrainingJob(model, train, PREDICT, MetricTable(), split, split, folder, folder, gives=gives)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return what of a model moved: "backbone", "neck", "ends.0"..., running statistics included."""
    moved = [name.split(".") for name, value in after.items() if not torch.equal(value, before[name])]
    return {".".join(parts[: 2 if parts[0] == "ends" else 1]) for parts in moved}


@pytest.fixture(scope="module")
def straight(
    rooms: Split, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]], list[int]]:
    """Return a folder with the checkpoints of a training in two phases of two epochs, its metrics and steps."""
    folder: Path = tmp_path_factory.mktemp("straight")
    recorder = Recorder(folder)
    train_model(job(rooms, folder / "entry", SHORT, "frozen-first"), catalog, recorder.events())
    return folder, recorder.metrics, recorder.steps


def test_the_second_end_learns_on_what_the_first_has_left(
    straight: tuple[Path, list[dict[str, Any]], list[int]],
) -> None:
    folder, metrics, steps = straight
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4] and [row["step"] for row in metrics] == [3, 6, 9, 12]
    assert steps == list(range(1, 4 * STEPS + 1))
    after = [weights(folder / str(epoch)) for epoch in (1, 2, 3, 4)]
    assert changed(after[0], after[1]) == {"backbone", "neck", "ends.0"}
    assert changed(after[1], after[2]) == changed(after[2], after[3]) == {"ends.1"}


def test_each_phase_has_a_schedule_of_its_own(straight: tuple[Path, list[dict[str, Any]], list[int]]) -> None:
    rows = read_rows(straight[0] / "entry" / "curve.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13)) and [row["epoch"] for row in rows[::3]] == [1, 2, 3, 4]
    rates = [row["lr"] for row in rows]
    assert rates[:6] == rates[6:] and rates[0] < rates[5]
    ends = [{name.partition(".")[0] for name in row if "." in name} for row in rows]
    assert ends == [{"one"}] * 6 + [{"two"}] * 6


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_training_equals_an_undisturbed_one(
    straight: tuple[Path, list[dict[str, Any]], list[int]], epoch: int, rooms: Split, catalog: Catalog, tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path)
    resumed = job(rooms, tmp_path / "entry", SHORT, "frozen-first")
    train_model(resumed, catalog, recorder.events(straight[0] / str(epoch)))
    assert recorder.steps == list(range(STEPS * epoch + 1, 4 * STEPS + 1))
    assert not changed(weights(straight[0] / "4"), weights(tmp_path / "4"))


def test_a_training_out_of_time_begins_no_phase(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    short = SHORT.model_copy(update={"epochs": 1})
    events = TrainingEvents(lambda *_: None, recorder.checkpoint, None, lambda: True)
    train_model(job(rooms, tmp_path / "entry", short, "frozen-first"), catalog, events)
    assert [row["epoch"] for row in recorder.metrics] == [1]


def test_joint_training_moves_everything_and_is_scored_by_the_mean(
    rooms: Split, catalog: Catalog, tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path)
    once = SHORT.model_copy(update={"validate_every": 2})
    train_model(job(rooms, tmp_path / "entry", once, "joint"), catalog, recorder.events())
    first, last = recorder.metrics
    assert changed(weights(tmp_path / "1"), weights(tmp_path / "2")) == {"backbone", "neck", "ends.0", "ends.1"}
    assert "AP" not in first and last["AP"] == pytest.approx((last["one.AP"] + last["two.AP"]) / 2)
    row = read_rows(tmp_path / "entry" / "curve.jsonl")[0]
    parts = [value for name, value in row.items() if "loss" in name and name != "loss"]
    assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert {name.partition(".")[0] for name in row if "." in name} == {"one", "two"}
