"""A sweep's trials: which there are, what the store holds of them already, and what becomes of each.

A trial's training is the one that a run with its settings would make: it stands under the same key. What only the sweep
knows, who was stopped and who failed, it keeps in an entry of its own.
"""

import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineseg.console import Task, here
from fineseg.cost import Meter
from fineseg.errors import FinesegError, ProfileError
from fineseg.profile.check import check_tables
from fineseg.profile.layers import merge
from fineseg.profile.outputs import best_figure
from fineseg.profile.schema import Profile, SweepTable, TrainTable
from fineseg.profile.space import Point, grid, in_words, random_points
from fineseg.profile.sweep import fixed_settings, model_of, trial_tables
from fineseg.runs import training_key
from fineseg.scheduling.orders import StopRule, TrainingOrder, TrialOrder
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained, note_training, training_order
from fineseg.store import CURVE, LEDGER, append_row, content_key, read_rows, write_text

if TYPE_CHECKING:
    from fineseg.stages.search import AdaptiveSearch

SAMPLES = 10
"""Trials of a sweep that does not say."""
RECORD = "trials.jsonl"
"""In a sweep's entry: a row when a trial starts and one when it ends."""
RAY_FOLDERS = "ray"
"""In a training's entry and in a sweep's: what Ray keeps while it runs."""
ENDED = ("finished", "stopped", "failed")


@dataclass
class Trial:
    """One trial. `history` are its validations: rows with "epoch", "step" and the metric; `note` says what went wrong.

    `status` is "waiting", "running", "finished", "stopped" (by the rule), "failed" (by the settings' fault), "broken"
    (by an error) or "unfinished" (out of time); the last two go on where they were when the command is given again.
    """

    number: int
    point: Point
    key: str
    profile: Profile
    tables: Mapping[str, Any]
    status: str = "waiting"
    note: str = ""
    history: tuple[Mapping[str, Any], ...] = ()


class Sweep:
    """The trials of a profile's `[sweep]`, in order; it answers the scheduler (`scheduling.orders.Trials`)."""

    def __init__(self, context: Context, prepared: Prepared, table: SweepTable, samples: int | None) -> None:
        self.context = context
        self.prepared = prepared
        self.table = table
        self.model = model_of(context.profile, table)
        self.fixed = fixed_settings(context.profile, table)
        base = self._open(0, {})
        told = table.model_dump(mode="json", exclude={"samples", "budget"})
        self.folder = context.store.folder("sweep", content_key({"sweep": told, "training": base.key}))
        self.rows = {row["key"]: row for row in read_rows(self.folder / RECORD)}
        self.trials: list[Trial] = []
        self.search: AdaptiveSearch | None = None
        self.samples = self._fill(samples)
        self.waiting = deque(trial for trial in self.trials if trial.status == "waiting")
        self.tasks: dict[int, Task] = {}
        self.open: dict[int, ExitStack] = {}
        self.overall: Task | None = None

    # ------------------------------------------------------------- what there is

    def _fill(self, samples: int | None) -> int:
        """Open all trials that are known before one runs; return how many there are to be."""
        space, count = self.table.space, samples or self.table.samples or SAMPLES
        if self.table.search == "optuna":
            points = [dict(row["settings"]) for row in self.rows.values()][:count]
        elif self.table.search == "random":
            points = random_points(space, count, self.table.seed)
        else:
            points = grid(space)
        faults = []
        for point in points:
            try:
                self._add(point)
            except ProfileError as error:
                faults += [f"sweep: the trial {in_words(point)}: {fault}" for fault in error.faults]
        if faults:
            raise ProfileError(faults)
        self._take_up()
        if self.table.search != "optuna":
            return len(self.trials)
        from fineseg.stages.search import AdaptiveSearch

        self.search = AdaptiveSearch(space, self.table.seed, len(self.rows))
        for trial in self.trials:
            if trial.status in ENDED:
                self._tell(trial)
        return count

    def _open(self, number: int, point: Point) -> Trial:
        context = self.context
        tables = trial_tables(context.tables, context.profile, self.table, point)
        profile = check_tables(tables, context.catalog, context.file)
        key = training_key(profile, context.catalog, self.model, self.prepared.digests, self.prepared.splits)
        return Trial(number, point, key, profile, tables)

    def _add(self, point: Point) -> Trial | None:
        """Open one more trial; two points of one training are one trial."""
        trial = self._open(len(self.trials) + 1, point)
        if any(other.key == trial.key for other in self.trials):
            return None
        self.trials.append(trial)
        return trial

    def _take_up(self) -> None:
        """Find out which trials have ended: in this sweep, or as a run's training.

        Where none has worked, those that failed are tried again: what they failed by may have been mended.
        """
        for trial in self.trials:
            row = self.rows.get(trial.key, {})
            if trial.status != "waiting":
                continue
            if self.context.store.finished("train", trial.key) is not None:
                trial.status, trial.history = "finished", self._validations(trial)
            elif row.get("status") == "stopped":
                trial.status, trial.history = "stopped", tuple(row["history"])
        worked = any(trial.status in ENDED for trial in self.trials)
        for trial in self.trials:
            row = self.rows.get(trial.key, {})
            if worked and trial.status == "waiting" and row.get("status") == "failed":
                trial.status, trial.note, trial.history = "failed", row["note"], tuple(row["history"])

    def folder_of(self, trial: Trial) -> Path:
        """Return the entry of a trial's training."""
        return self.context.store.folder("train", trial.key)

    def _validations(self, trial: Trial) -> tuple[Mapping[str, Any], ...]:
        metric = self.table.metric
        rows = {row["epoch"]: row for row in read_rows(self.folder_of(trial) / CURVE) if metric in row}
        return tuple({name: rows[epoch][name] for name in ("epoch", "step", metric)} for epoch in sorted(rows))

    def score(self, trial: Trial) -> float | None:
        """Return the metric of the checkpoint that predicts: the last one's, or the best one's."""
        if not trial.history:
            return None
        if self._train(trial).checkpoint == "last":
            return float(trial.history[-1][self.table.metric])
        best_by = best_figure(trial.profile, self.context.catalog, self.model)
        rows = [row for row in read_rows(self.folder_of(trial) / CURVE) if {best_by, self.table.metric} <= row.keys()]
        known = {row["epoch"] for row in trial.history}
        validated = [row for row in rows if row["epoch"] in known]
        best = max(validated, key=lambda row: row[best_by], default=trial.history[-1])
        return float(best[self.table.metric])

    def epochs(self, trial: Trial) -> int:
        """Return how many epochs a trial has when it is through."""
        return trial.profile.epochs_of(self.model)

    def work(self, trial: Trial) -> dict[str, float]:
        """Return the optimiser steps and seconds that a trial's training has taken so far."""
        rows = read_rows(self.folder_of(trial) / LEDGER)
        seconds = round(sum(row["seconds"] for row in rows), 1)
        return {"steps": sum(row["steps"] for row in rows), "seconds": seconds}

    def best(self) -> Trial | None:
        """Return the finished trial of the highest score."""
        finished = [trial for trial in self.trials if trial.status == "finished" and trial.history]
        return max(finished, key=lambda trial: self.score(trial) or 0.0, default=None)

    def _train(self, trial: Trial) -> TrainTable:
        return trial.profile.train_of(self.model)

    # ------------------------------------------------------- for the scheduler

    @property
    def rule(self) -> StopRule:
        """Who stops poor trials."""
        return StopRule(self.table.scheduler, self.table.metric, self.table.grace)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to run."""
        return not self.waiting and len(self.trials) >= self.samples

    def left(self) -> int:
        """Return how many trials have not ended."""
        return self.samples - self.ended()

    def histories(self) -> list[tuple[Mapping[str, Any], ...]]:
        """Return the validations of trials that had ended before this command."""
        return [trial.history for trial in self.trials if trial.status in ENDED and trial.number not in self.tasks]

    def next(self) -> TrialOrder | None:
        """Start the next trial: take its entry's lock and show it."""
        trial = self.waiting.popleft() if self.waiting else self._ask()
        if trial is None:
            return None
        context, stack = self.context, ExitStack()
        stack.enter_context(context.store.writing("train", trial.key))
        task = stack.enter_context(context.console.task(f"trial {trial.number}", 0, "steps", waits=True))
        self.open[trial.number], self.tasks[trial.number] = stack, task
        trial.status = "running"
        self._note(trial)
        trial.history = self._validations(trial)
        return self._order(trial)

    def _ask(self) -> Trial | None:
        """Return a trial that the adaptive search suggests, or None when there are enough or no others."""
        while self.search is not None and len(self.trials) < self.samples:
            number = len(self.trials) + 1
            point = self.search.ask(number, [trial.point for trial in self.trials])
            if point is None:
                break
            try:
                trial = self._add(point)
            except ProfileError:  # a combination that cannot be, of values each of which can
                trial = None
            if trial is None:
                self.search.tell(number, point, {}, None, stopped=False)
                self.samples -= 1
                continue
            self._take_up()
            if trial.status == "waiting":
                return trial
            self._tell(trial)
        return None

    def _training(self, trial: Trial) -> TrainingOrder:
        # A training reports where it writes a checkpoint, and every validation is to be reported.
        often = {"models": {self.model: {"train": {"checkpoint_every": 1}}}}
        context = replace(self.context, profile=trial.profile, tables=merge(trial.tables, often))
        entry = Trained(self.model, trial.key, self.folder_of(trial), self.prepared.fold)
        order = training_order(context, self.prepared, entry, topic=f"trial {trial.number}")
        return replace(order, place=(0, self.samples))  # each has the cores of one in a full round

    def _order(self, trial: Trial) -> TrialOrder:
        epochs = self.epochs(trial)
        return TrialOrder(
            number=trial.number,
            training=self._training(trial),
            metric=self.table.metric,
            epochs=epochs,
            history=tuple(row for row in trial.history if row["epoch"] < epochs),
        )

    def show(self, topic: str, state: tuple[int, int, str]) -> None:
        """Show a running trial's progress."""
        for number, task in list(self.tasks.items()):
            if topic == f"trial {number}" and number in self.open:
                task.update(state[0], state[1] or None, state[2])

    def trained(self, number: int) -> None:
        """Mark a trial's training as finished: a run takes it from the store now."""
        trial = self.trials[number - 1]
        note_training(self.prepared, self._training(trial))
        self.context.store.finish("train", trial.key, {"model": self.model})
        self.tasks[number].complete()
        shutil.rmtree(self.folder_of(trial) / RAY_FOLDERS, ignore_errors=True)
        self._end(trial, "finished")

    def stopped(self, number: int) -> None:
        """Note that the rule stopped a trial."""
        self._end(self.trials[number - 1], "stopped")

    def broke_off(self, number: int, fault: str | None, trace: str) -> None:
        """Note why a trial ended early."""
        trial = self.trials[number - 1]
        if fault is not None:
            self._end(trial, "failed", fault)
        elif trace:
            log = self.folder_of(trial) / "error.txt"
            write_text(log, trace)
            self._end(trial, "broken", trace if "\n" not in trace else f"see {here(log)}")
        else:
            self._end(trial, "unfinished")

    def _end(self, trial: Trial, status: str, note: str = "") -> None:
        trial.history = self._validations(trial)
        trial.status, trial.note = status, note
        score = self.score(trial)
        words = [status, in_words(trial.point)] + ([f"{self.table.metric} {score:.2f}"] if score is not None else [])
        self.tasks[trial.number].note = ", ".join(words)
        if note:
            self.context.console.say(f"trial {trial.number} {status}: {note}")
        self.open.pop(trial.number).close()
        if status in ENDED:
            self._note(trial)
            self._tell(trial)
        self.show_overall()

    def show_overall(self) -> None:
        """Show how many trials have ended."""
        if self.overall is not None:
            self.overall.note = f"{self.ended()} of {self.samples} trials"

    def let_go(self, *error: Any) -> None:
        """Let go of the trials that were started and have not ended."""
        for number, stack in self.open.items():
            self.trials[number - 1].status = "unfinished"
            stack.__exit__(*error)
        self.open.clear()

    def ended(self) -> int:
        """Return how many trials have ended."""
        return sum(trial.status in ENDED for trial in self.trials)

    def _note(self, trial: Trial) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        row = {"key": trial.key, "settings": trial.point, "status": trial.status, "note": trial.note}
        append_row(self.folder / RECORD, {**row, "history": list(trial.history)})

    def _tell(self, trial: Trial) -> None:
        if self.search is not None:
            values = {row["epoch"]: row[self.table.metric] for row in trial.history}
            score = None if trial.status == "failed" else self.score(trial)
            self.search.tell(trial.number, trial.point, values, score, stopped=trial.status == "stopped")


def run_sweep(sweep: Sweep, meter: Meter | None) -> None:
    """Run the trials that have not ended, until `meter` says that the budget is spent.

    Raises `FinesegError` when none of them works, or when another process runs the same sweep.
    """
    context, store = sweep.context, sweep.context.store
    if not sweep.complete:
        with ExitStack() as stack:
            stack.enter_context(store.writing("sweep", sweep.folder.name))
            stack.push(sweep.let_go)
            sweep.overall = stack.enter_context(context.console.task("sweep"))
            sweep.show_overall()
            context.scheduler.sweep(sweep, sweep.rule, meter, sweep.folder / RAY_FOLDERS, sweep.show)
    if not any(trial.history for trial in sweep.trials):
        _raise_faults(sweep.trials)


def _raise_faults(trials: Sequence[Trial]) -> None:
    lines = [f"trial {trial.number}: {trial.note}" for trial in trials if trial.note]
    if lines:
        raise FinesegError("\n".join([*lines, "no trial has worked; the same command tries them again"]))
