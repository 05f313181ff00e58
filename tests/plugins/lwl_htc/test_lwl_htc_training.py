"""The head learns, its tasks weighed by uncertainty, and a training that goes on has the same weights of tasks."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from e_ups_cases import SIDE, STUFF, THINGS, drawn
from lwl_htc_cases import ROWS, small_lwl_htc
from torch.nn import functional as F

from fineseg.catalog import load_catalog
from fineseg.data.split import Split
from fineseg.mm.balancing import add_balancer
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import load_trained, predict_image
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.mm.weights import read_checkpoint
from fineseg.profile.schema import MetricTable, ModelTable, PredictTable, TrainTable
from fineseg.store import read_rows
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic, read_panoptic_rooms

PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.01)
TASKS = ("instance", "semantic")


def pixel_accuracy(built: BuiltModel, images: torch.Tensor, truth: torch.Tensor) -> float:
    built.module.eval()
    with torch.no_grad():
        scores = built.predictor.semantic(built.predictor.encode(images))  # type: ignore[union-attr]
    labels = F.interpolate(scores, size=(SIDE, SIDE), mode="bilinear", align_corners=False).argmax(dim=1)
    built.module.train()
    return float((labels == truth)[truth != 255].float().mean())


def test_it_learns_four_images_by_heart() -> None:
    torch.manual_seed(3)
    table, catalog = small_lwl_htc(**ROWS["both"]), load_catalog(warn=lambda _: None)
    built = build_model(table, catalog, THINGS, weights_cache=None, num_stuff=STUFF)
    built = add_balancer(built, table, catalog)
    detector: Any = built.module.train()
    images, samples = drawn(4)
    truth = torch.cat([sample.gt_sem_seg.sem_seg for sample in samples])
    before = pixel_accuracy(built, images, truth)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    history: list[dict[str, float]] = []
    for _ in range(36):
        total, logs = detector.parse_losses(detector.loss(images, samples))
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimiser.step()
        history.append({name: float(value) for name, value in logs.items()})
    for name in ("loss_semantic_seg", "s2.loss_mask", "s0.loss_cls"):
        first, last = (np.mean([each[name] for each in part]) for part in (history[:4], history[-4:]))
        assert last < 0.7 * first, name
    weights = [each["task_weight.instance"] for each in history]
    assert weights[0] == 1 and weights[-1] < 0.95  # their losses are above 1/2 all the time
    assert pixel_accuracy(built, images, truth) > max(0.8, before + 0.3)


# -------------------------------------------------------------- whole trainings


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder, options = tmp_path_factory.mktemp("rooms"), ShowroomOptions(train=4, size=96)
    generate_panoptic(options, folder, "train", lambda *_: None)
    return read_panoptic_rooms(options, folder, "train")


def trained(table: ModelTable, rooms: Split, folder: Path, resume: Path | None = None) -> list[Mapping[str, Any]]:
    """Train two epochs into a folder, each checkpoint in a subfolder; return the rows of the curve."""
    folder.mkdir(parents=True, exist_ok=True)

    def keep(metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint is not None
        (folder / str(metrics["epoch"])).mkdir()
        for file in checkpoint.iterdir():
            (folder / str(metrics["epoch"]) / file.name).write_bytes(file.read_bytes())

    train = TrainTable(epochs=2, lr=0.01, batch=2, long_side=96, short_side=(64, 80))
    job = TrainingJob(table, train, PREDICT, MetricTable(), rooms, rooms, folder, folder)
    train_model(job, load_catalog(warn=lambda _: None), TrainingEvents(lambda *_: None, keep, resume))
    return list(read_rows(folder / "curve.jsonl"))


def test_a_training_tells_its_weights_and_goes_on_with_them(rooms: Split, tmp_path: Path) -> None:
    table = small_lwl_htc(**ROWS["both"])
    rows = trained(table, rooms, tmp_path / "a")
    assert len(rows) == 4
    for row in rows:
        losses = {"semantic": row["loss_semantic_seg"]}
        losses["instance"] = sum(v for k, v in row.items() if "loss" in k and k not in ("loss", "loss_semantic_seg"))
        weights = {task: row[f"task_weight.{task}"] for task in TASKS}
        expected = sum(weights[task] * losses[task] - math.log(weights[task]) / 2 for task in TASKS)
        assert row["loss"] == pytest.approx(expected, rel=1e-4)
    assert [rows[0][f"task_weight.{task}"] for task in TASKS] == [1, 1]
    assert all(rows[-1][f"task_weight.{task}"] != 1 for task in TASKS)

    again = trained(table, rooms, tmp_path / "b", resume=tmp_path / "a" / "1")
    assert again == rows[2:]
    states = [read_checkpoint(tmp_path / name / "2" / "weights.pth")["model"] for name in "ab"]
    assert torch.equal(states[0]["task_balancer.s"], states[1]["task_balancer.s"])

    built = build_model(
        table, load_catalog(warn=lambda _: None), len(rooms.categories), weights_cache=None, num_stuff=len(rooms.stuff)
    )
    load_trained(built, tmp_path / "a" / "2" / "weights.pth")
    built.module.eval()
    assert predict_image(built, rooms.images[0], PREDICT, torch.device("cpu")).height == 96
