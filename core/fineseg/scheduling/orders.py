"""What the driver asks of other processes: plain data from which they rebuild everything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fineseg.cost import Meter

State = tuple[int, int, str]
"""Progress of one topic: done, total, note."""


@dataclass(frozen=True)
class TrainingOrder:
    """One training to run: plain data that a worker rebuilds everything from.

    `tables` is the merged profile, `file` what messages call it, `data_root` where the prepared splits lie, `folder`
    the training's entry in the store. `best_by` is the figure of validations whose highest checkpoint is kept, of None
    the last one is. `whole` trains on all labelled images instead of the training split, `fold` on
    all folds of `folds_file` but that one. `topic` is what its progress is posted under; the model's name where there
    is none. With a `meter` a training stops at the first checkpoint where the budget is spent, before the last of its
    `epochs`. `place` (n, N) says that it is the nth of N trainings that were asked for, finished ones included, from 0:
    its share of the cores goes by that, so that a command that is given again trains as it would have.
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
    best_by: str | None
    epochs: int
    whole: bool = False
    fold: int | None = None
    folds_file: str = ""
    topic: str = ""
    meter: Meter | None = None
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class TrialOrder:
    """One trial of a sweep to run: its training, and how much of that an earlier command has done.

    `history` are the validations that the training's entry holds already, each a row with "epoch" and `metric`.
    """

    number: int
    training: TrainingOrder
    metric: str
    epochs: int
    history: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class StopRule:
    """Who stops poor trials ("none", "asha" or "median") by a metric, and the epochs before which nobody is stopped."""

    name: str
    metric: str
    grace: int


class Trials(Protocol):
    """Where a sweep's trials come from, and who is told how they end; called in the driver alone."""

    def left(self) -> int:
        """Return how many trials have not ended."""

    def histories(self) -> list[tuple[Mapping[str, Any], ...]]:
        """Return the validations of every trial that earlier commands ended: the rule goes by them too."""

    def next(self) -> TrialOrder | None:
        """Return the next trial to run, or None when there are none left."""

    def trained(self, number: int) -> None:
        """A trial came to its last epoch, and its weights stand."""

    def stopped(self, number: int) -> None:
        """The rule stopped a trial."""

    def broke_off(self, number: int, fault: str | None, trace: str) -> None:
        """A trial ended early: the user's `fault` if it is one, the `trace` of an error, or neither: out of time."""


@dataclass(frozen=True)
class PredictionOrder:
    """One shard to predict: which model's weights, which split, which images, and the file to write.

    A model with `ends` writes a file for each that is named there; `file` is one of them, which the order goes by.
    A dense ensemble has `members`, predictions by name and the weights that make them, and no model of its own.
    """

    topic: str
    model: str
    weights: str
    role: str
    image_ids: tuple[int, ...]
    file: str
    ends: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Mapping[str, str]:
        """The files to write, by the names of the ends; "" for a model with a single head."""
        return self.ends or {"": self.file}


@dataclass(frozen=True)
class PredictionSetting:
    """What all shards of a run share; an actor rebuilds everything from it."""

    tables: Mapping[str, Any]
    file: str
    data_root: str
    cpus: int
