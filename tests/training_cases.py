"""A short training of small models, and what it reports."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fineseg.mm.training_hook import TrainingEvents
from fineseg.mm.weights import read_checkpoint
from fineseg.profile.schema import PredictTable, TrainTable

TRAIN = TrainTable(
    epochs=3, lr=1e-3, batch=2, long_side=96, short_side=(64, 80), optimiser={"name": "adamw"}, schedule={"warmup": 2}
)
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.01)


class Recorder:
    """Keeps every checkpoint that a training reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics: list[dict[str, Any]] = []
        self.steps: list[int] = []

    def checkpoint(self, metrics: Mapping[str, Any], folder: Path | None) -> None:
        assert folder is not None
        shutil.copytree(folder, self.folder / str(metrics["epoch"]))
        self.metrics.append(dict(metrics))

    def events(self, resume_from: Path | None = None) -> TrainingEvents:
        return TrainingEvents(lambda step, total, note: self.steps.append(step), self.checkpoint, resume_from)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "weights.pth")["model"])
