"""What fineseg does while mmengine trains: seed, count, log, validate, checkpoint, resume."""

import io
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tensorboardX import SummaryWriter

from fineseg.errors import FinesegError
from fineseg.mm.model import BuiltModel
from fineseg.mm.validation import Validation, validate
from fineseg.mm.weights import read_checkpoint
from fineseg.mm.work import at_work
from fineseg.store import (
    CURVE,
    LEDGER,
    NOT_MATCHED,
    TASK_WEIGHT,
    WEIGHTS,
    append_row,
    read_rows,
    write_beside,
    write_text,
)

if TYPE_CHECKING:
    from fineseg.mm.training import TrainingJob

STATE = "state.pth"
"""In a checkpoint folder, beside the weights: what else resuming needs."""


@dataclass(frozen=True)
class TrainingEvents:
    """How a training process speaks to whoever started it.

    `progress(step, total, note)` comes after every step; `checkpoint(metrics, folder)` on every rank alike, with a
    folder on rank 0 only, which may be removed when it returns. `resume_from` is a checkpoint folder. `enough` is asked
    after a checkpoint, on every rank alike: whether to stop there.
    """

    progress: Callable[[int, int, str], None]
    checkpoint: Callable[[Mapping[str, Any], Path | None], None]
    resume_from: Path | None = None
    enough: Callable[[], bool] = lambda: False


class TrainingHook(Hook):
    """Runs after mmengine's own hooks, so that a checkpoint holds the schedule's state after the epoch.

    Each phase of a training, of so many `steps`, has a runner and a hook of its own; what is told outside is counted
    over all of them.
    """

    priority = "LOWEST"

    def __init__(
        self, job: "TrainingJob", built: BuiltModel, events: TrainingEvents, steps: int, phase: int = 0
    ) -> None:
        self.job = job
        self.built = built
        self.events = events
        self.phase = phase
        self.total_steps = steps * len(job.model.phases)
        self.steps_before = steps * phase
        self.epochs_before = job.train.epochs * phase
        self.unlogged_steps = 0
        self.mark = time.monotonic()
        self.scalars: SummaryWriter | None = None

    def before_train(self, runner: Runner) -> None:
        """Take up the state of a checkpoint, or note on rank 0 what weights did not match."""
        if self.events.resume_from is not None:
            self._resume(runner, self.events.resume_from)
        elif self.job.rank == 0 and self.phase == 0:
            write_text(self.job.folder / NOT_MATCHED, "".join(f"{n}\n" for n in self.built.notes))
        if self.job.rank == 0:
            done = self.steps_before + runner.iter
            _cut_curve(self.job.folder / CURVE, done)
            self.scalars = SummaryWriter(str(self.job.folder / "tensorboard"), purge_step=done + 1)

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed by epoch and rank: a resumed training draws what an undisturbed one draws."""
        epoch = self.epochs_before + runner.epoch
        seed = (self.job.train.seed * 1_000_003 + epoch) * 1_009 + self.job.rank
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the step, log the losses, refuse to go on with a loss that is not a number."""
        losses = {name: _number(value) for name, value in (outputs or {}).items() if _shown(name)}
        if not math.isfinite(losses.get("loss", 0.0)):
            raise FinesegError(
                f"training stopped at step {self.steps_before + runner.iter}: the loss is {losses['loss']}; lower "
                "train.lr, set train.clip_norm, or lengthen train.schedule.warmup"
            )
        self.unlogged_steps += 1
        step, epoch = self.steps_before + runner.iter + 1, self.epochs_before + runner.epoch + 1
        if self.job.rank == 0:
            rate = float(runner.optim_wrapper.get_lr()["lr"][0])
            self._log({"step": step, "epoch": epoch, "lr": rate, **losses})
        self.events.progress(step, self.total_steps, f"epoch {epoch}, loss {losses.get('loss', 0.0):.3f}")

    def after_train_epoch(self, runner: Runner) -> None:
        """Validate and checkpoint where the profile asks for it, and always after the last epoch of a phase."""
        train, epoch = self.job.train, runner.epoch + 1
        last = epoch == train.epochs
        metrics: dict[str, Any] = {"epoch": self.epochs_before + epoch, "step": self.steps_before + runner.iter}
        validated = bool(train.validate_every) and (last or epoch % train.validate_every == 0)
        if validated:
            metrics |= self._validate(runner)
        self._log_epoch(metrics)
        due = validated if train.checkpoint == "best" else epoch % train.checkpoint_every == 0
        if due or last:
            self._checkpoint(runner, metrics)
            if metrics["step"] < self.total_steps and self.events.enough():
                runner.train_loop.stop_training = True

    def _log_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Keep what was done: counted steps and seconds, and the validation scores beside the losses."""
        if self.job.rank != 0:
            return
        now = time.monotonic()
        work = {"steps": self.unlogged_steps, "seconds": round(now - self.mark, 3), **at_work(self.job.world)}
        self.unlogged_steps, self.mark = 0, now
        append_row(self.job.folder / LEDGER, work)
        if metrics.keys() - {"epoch", "step"}:
            self._log(metrics)

    def _log(self, row: Mapping[str, Any]) -> None:
        """Keep one row of numbers at a step, for the report and for TensorBoard."""
        append_row(self.job.folder / CURVE, row)
        if self.scalars is not None:
            for name in row.keys() - {"step", "epoch"}:
                self.scalars.add_scalar(name, row[name], row["step"])

    def after_train(self, runner: Runner) -> None:
        """Close the TensorBoard file."""
        if self.scalars is not None:
            self.scalars.close()

    def _validate(self, runner: Runner) -> dict[str, float]:
        """Score the validation images; the same numbers on every rank."""
        job, step = self.job, self.steps_before + runner.iter
        validation = Validation(job.validation, job.predict, job.metric, job.gives)

        def progress(done: int, images: int) -> None:
            self.events.progress(step, self.total_steps, f"validating {done}/{images}")

        self.built.module.eval()
        figures = validate(self.built, validation, progress, job.rank, job.world)
        self.built.module.train()
        return figures

    def _checkpoint(self, runner: Runner, metrics: Mapping[str, Any]) -> None:
        if self.job.rank != 0:
            self.events.checkpoint(metrics, None)
            return
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            _save({"model": self.built.module.state_dict()}, folder / WEIGHTS)
            state = {
                "optimiser": runner.optim_wrapper.state_dict(),
                "schedules": [schedule.state_dict() for schedule in runner.param_schedulers or []],
                "epoch": runner.epoch + 1,
                "step": runner.iter,
                "phase": self.phase,
            }
            _save(state, folder / STATE)
            self.events.checkpoint(metrics, folder)

    def _resume(self, runner: Runner, folder: Path) -> None:
        state = read_checkpoint(folder / STATE)
        self.built.module.load_state_dict(read_checkpoint(folder / WEIGHTS)["model"])
        runner.optim_wrapper.load_state_dict(state["optimiser"])
        for schedule, saved in zip(runner.param_schedulers or [], state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        runner.train_loop._epoch = state["epoch"]
        runner.train_loop._iter = state["step"]


def _save(state: Mapping[str, Any], file: Path) -> None:
    """Write a checkpoint; of a full disk torch's own writer of files says only "unexpected pos"."""
    whole = io.BytesIO()
    torch.save(state, whole)
    write_beside(file, lambda beside: beside.write_bytes(whole.getbuffer()))


def _shown(name: str) -> bool:
    """Whether a number of a step is kept: the losses, and what a balancer makes of the tasks."""
    return "loss" in name or name.startswith(TASK_WEIGHT)


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


def _cut_curve(path: Path, step: int) -> None:
    """Drop what a killed process logged after the checkpoint that training goes on from."""
    if path.exists():
        write_text(path, "".join(json.dumps(row) + "\n" for row in read_rows(path) if row["step"] <= step))
