"""A sweep through Ray Tune: its schedulers stop poor trials; each trial runs one training through Ray Train.

A trial is a process of Tune that takes no core: it builds the same trainer as a run does, with any number of workers,
and hands its validations on. Only the trainers' workers take cores, and no more trials are let in than there is room
for, so that trials and their workers do not wait for each other. Nothing is ever taken up from the state that Tune
writes: what earlier commands did stands in the store.
"""

import logging
import math
import os
import secrets
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep at once, as it ends a run
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints its settings even when it is to be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": str(7 * 86400),
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has nothing to report, and ends no sweep
}

from ray import PlacementGroupID, tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from fineseg.cost import Meter
from fineseg.errors import BrokenOff, FinesegError
from fineseg.scheduling.board import watched
from fineseg.scheduling.estimate import Running, SweepEstimate
from fineseg.scheduling.orders import State, StopRule, TrialOrder, Trials
from fineseg.scheduling.session import nodes, total
from fineseg.scheduling.training import STARTING, plan_side_by_side, train_one
from fineseg.store import CURVE, read_json, read_rows, write_json

FAULT = "fault.json"
"""In a training's entry, from a trial to the driver: what went wrong."""
TRAINED = "trained"
"""In a trial's last result: its weights stand."""
REDUCTION = 3
"""ASHA lets one in so many trials go on at each rung."""
OTHERS = 3
"""The median of fewer trials stops nobody."""
MANY = 100_000
"""More epochs than a training has, more trials than a sweep."""
MARKS = 2**20
"""Of so many, one each marks what is reserved for the workers of a trial."""
FREE_INTERVAL = 1.0
"""Least time between two looks at what is reserved [s]."""


def run_trials(
    trials: Trials,
    rule: StopRule,
    meter: Meter | None,
    folder: Path,
    show: Callable[[str, State], None],
    say: Callable[[str], None],
) -> None:
    """Run trials until there are none left, or `meter` says that the budget is spent.

    After it no trial starts, and those that run stop at their next report. Tune keeps its state in `folder` meanwhile.
    `say` is told what all will take, once that is known.
    """
    machines = nodes()
    gpu = any(gpus for _, gpus in machines)
    if meter is not None:
        meter.budget.check(gpu=gpu)
    feed = _Feed(trials, meter)
    if feed.first is None:
        return
    feed.room, cores = plan_side_by_side([feed.first.training] * trials.left(), machines)
    shutil.rmtree(folder, ignore_errors=True)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # how trials end is told by us
    units = feed.first.training.workers * (1 if gpu else cores[0])
    estimate = SweepEstimate(trials.left(), feed.room, gpu, total(machines), say, stops=rule.name != "none")

    def heard(topic: str, state: State) -> None:
        show(topic, state)
        estimate.see(topic, state)

    def begin(order: TrialOrder) -> None:
        training = order.training
        estimate.begun[training.topic] = Running(training.topic, Path(training.folder), units, order.epochs)
        show(training.topic, STARTING)

    feed.begin = begin
    with watched(heard) as board:
        trainable = tune.with_parameters(run_trial, board=board, cpus=cores[0], gpu=gpu)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"memory": 1}),  # a byte stands for nothing, which Tune does not allow
            tune_config=tune.TuneConfig(
                search_alg=feed,
                scheduler=stopping(rule, trials.histories()),
                num_samples=MANY,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                stop=_OutOfBudget(feed),
                callbacks=[_Ends(feed)],
                verbose=0,
            ),
        )
        tuner.fit()
    shutil.rmtree(folder, ignore_errors=True)
    if feed.failure is not None:
        raise feed.failure


# ----------------------------------------------------------------- in the driver


class _Feed(Searcher):  # type: ignore[misc]
    """Hands Tune the next trial whenever there is room for one."""

    def __init__(self, trials: Trials, meter: Meter | None) -> None:
        super().__init__()
        self.trials = trials
        self.meter = meter
        self.first = self._next()
        self.room = 1
        self.live: dict[str, tuple[TrialOrder, int]] = {}
        self.reserved = _Reserved()
        self.begin: Callable[[TrialOrder], None] = lambda _: None
        self.failure: Exception | None = None

    def _next(self) -> TrialOrder | None:
        order = self.trials.next()
        if order is not None and self.meter is not None:
            self.meter.watch(order.training.folder)
        return order

    def out_of_budget(self) -> bool:
        """Say whether the budget is spent."""
        return self.meter is not None and self.meter.is_spent()

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a trial, None while there is no room, or that there are no more."""
        if len(self.live) >= self.room:
            return None
        if self.failure is not None or self.out_of_budget():
            return Searcher.FINISHED
        order, self.first = self.first or self._next(), None
        if order is None:
            return Searcher.FINISHED
        mark = 2 + secrets.randbelow(MARKS)
        self.live[trial_id] = order, mark
        self.begin(order)
        return {"order": order, "mark": mark}

    def ended(self, trial_id: str, result: Mapping[str, Any], death: str) -> None:
        """Tell whose trial it is how it ended."""
        order, mark = self.live.pop(trial_id, (None, 0))
        if order is None:
            return
        self.reserved.marks.add(mark)
        note = Path(order.training.folder) / FAULT
        try:
            if result.get(TRAINED):
                self.trials.trained(order.number)
            elif note.exists():
                self.trials.broke_off(order.number, **read_json(note))
            elif death:
                self.trials.broke_off(order.number, None, death)
            elif self.out_of_budget():
                self.trials.broke_off(order.number, None, "")
            else:
                self.trials.stopped(order.number)
        except Exception as error:  # Tune would only log it
            self.failure = self.failure or error

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Leave it to `_Ends`, which is told more."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: what a sweep knows stands in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes what it was given into its state

    def __deepcopy__(self, memo: Any) -> "_Feed":
        return self


class _Reserved:
    """What is still reserved for the workers of trials that have ended.

    Tune kills a trial that it stops, and with it what runs its training; the cores stay reserved then. Ray's own
    cleaner asks the dashboard, which does not run here.
    """

    def __init__(self) -> None:
        self.marks: set[float] = set()
        self.next = 0.0

    def free(self) -> None:
        """Give back what ended trials have left, now and then."""
        if not self.marks or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + FREE_INTERVAL
        for group, row in placement_group_table().items():
            marks = {bundle.get("memory") for bundle in row["bundles"].values()}
            if row["state"] != "REMOVED" and marks & self.marks:
                remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group)))


class _Ends(TrialProgressCallback):  # type: ignore[misc]
    """Hears from Tune how trials end, in place of the callback that would print it."""

    def __init__(self, feed: _Feed) -> None:
        self.feed = feed

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune looks around once more: a good time to give back what is left over."""
        self.feed.reserved.free()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Say nothing: the board shows what goes on."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, or was stopped."""
        self.feed.ended(trial.trial_id, trial.last_result or {}, "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process died."""
        self.feed.ended(trial.trial_id, {}, trial.get_error() or "its process died")


@dataclass
class _OutOfBudget(tune.Stopper):  # type: ignore[misc]
    """Stops whatever reports when the budget is spent."""

    feed: _Feed

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return not result.get(TRAINED) and self.feed.out_of_budget()

    def stop_all(self) -> bool:
        """Let trials come to a report first: it is where they can be taken up again."""
        return False


@dataclass(frozen=True)
class _Ended:
    """Stands for a trial of an earlier command."""

    trial_id: str


def stopping(rule: StopRule, histories: Sequence[Sequence[Mapping[str, Any]]]) -> TrialScheduler:
    """Return Tune's scheduler for a rule, told of what earlier commands' trials reported.

    It counts epochs. A trial's last report comes when its weights stand, so a rule that stops it there stops nothing.
    """
    common = {"time_attr": "epoch", "metric": rule.metric, "mode": "max", "grace_period": rule.grace}
    ended = [(_Ended(f"ended-{number}"), history) for number, history in enumerate(histories)]
    if rule.name == "asha":
        asha = ASHAScheduler(**common, max_t=MANY, reduction_factor=REDUCTION)
        for trial, history in ended:
            asha.on_trial_add(None, trial)
            for row in history:
                asha.on_trial_result(None, trial, dict(row))
        return asha
    if rule.name == "median":
        median = MedianStoppingRule(**common, min_samples_required=OTHERS, min_time_slice=math.inf)
        for trial, history in ended:
            for row in history:
                median.on_trial_complete(None, trial, dict(row))  # takes the row in and judges nobody
        return median
    return FIFOScheduler()


# ------------------------------------------------------------ in a trial's process


def run_trial(config: dict[str, Any], board: Any, cpus: int, gpu: bool) -> None:
    """Run one trial: report what its training has validated before, train, and report the end."""
    order: TrialOrder = config["order"]
    folder = Path(order.training.folder)
    (folder / FAULT).unlink(missing_ok=True)
    try:
        for row in order.history:
            tune.report(dict(row))
        done = max((row["epoch"] for row in order.history), default=0)
        handover = _Handover(order.metric, done, order.epochs)
        train_one(order.training, board, cpus, gpu, callbacks=[handover], mark=config["mark"])
        rows = [row for row in read_rows(folder / CURVE) if order.metric in row]
        if not rows:
            raise FinesegError(f"the validations give no {order.metric}: there are no true objects to score against")
        tune.report({**rows[-1], TRAINED: True})
    except BrokenOff as error:
        write_json(folder / FAULT, {"fault": None, "trace": str(error)})
    except FinesegError as error:
        write_json(folder / FAULT, {"fault": str(error), "trace": ""})
    except Exception:
        write_json(folder / FAULT, {"fault": None, "trace": traceback.format_exc()})


class _Handover(TuneReportCallback):  # type: ignore[misc]
    """Hands a training's new validations on to Tune, but for the last epoch's: the weights do not stand yet."""

    def __init__(self, metric: str, done: int, epochs: int) -> None:
        super().__init__()
        self.metric = metric
        self.done = done
        self.epochs = epochs

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Hear of a report of all workers; the first worker's counts."""
        if self.done < metrics[0]["epoch"] < self.epochs and self.metric in metrics[0]:
            super().after_report(run_context, metrics, None)
