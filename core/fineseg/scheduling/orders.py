"""What the driver asks of other processes: plain data from which they rebuild everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

State = tuple[int, int, str]
"""Progress of one topic: done, total, note."""


@dataclass(frozen=True)
class TrainingOrder:
    """One training to run: plain data that a worker rebuilds everything from.

    `tables` is the merged profile, `file` what messages call it, `data_root` where the prepared splits lie, `folder`
    the training's entry in the store.
    """

    model: str
    tables: Mapping[str, Any]
    file: str
    data_root: str
    folder: str
    weights_cache: str
    workers: int
    cpus: int | None
    keep: int
    checkpoint: str


@dataclass(frozen=True)
class PredictionOrder:
    """One shard to predict: which model's weights, which split, which images, and the file to write."""

    topic: str
    model: str
    weights: str
    role: str
    image_ids: tuple[int, ...]
    file: str


@dataclass(frozen=True)
class PredictionSetting:
    """What all shards of a run share; an actor rebuilds everything from it."""

    tables: Mapping[str, Any]
    file: str
    data_root: str
    cpus: int
