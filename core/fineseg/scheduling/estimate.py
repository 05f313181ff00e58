"""What the trainings of a command will take, told while they run: from their own first steps, so that none is wasted.

A training that the store holds in part is judged by its earlier epochs, any other by a few steps after the first ones,
which are slow, or by its first epoch where that is over sooner. One that waits for room is taken to do as much work an
epoch as the others. Validations are not in the first steps, so not in an estimate that goes by them.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fineseg.console import duration
from fineseg.cost import Meter, work_of
from fineseg.profile.budget import work_words
from fineseg.scheduling.orders import State
from fineseg.store import LEDGER, read_rows

SLOW_STEPS = 3
"""The first steps of a process, which are slow: memory is found, kernels are chosen."""
TIMED_STEPS = 5
TIMED_SECONDS = 5.0
"""A pace is taken from at least so many steps over so long [s]: progress is read twice a second."""
MOVED = 0.1
"""An estimate that changes by more than this share is told again."""
NAMED = 6
"""So many trainings a line names; of more it tells the sum."""


@dataclass
class Forecast:
    """What one training will take: `units` cores or GPUs for `epoch` seconds (None: not known yet) times `epochs`."""

    name: str
    units: int
    epochs: int
    epoch: float | None = None
    assumed: bool = False

    @property
    def seconds(self) -> float:
        """Time that it takes."""
        return (self.epoch or 0.0) * self.epochs

    @property
    def work(self) -> float:
        """Core-seconds or GPU-seconds that it takes."""
        return self.seconds * self.units


def assume(forecasts: Sequence[Forecast]) -> list[Forecast]:
    """Return the forecasts with those not known yet taken to do the mean work an epoch of the others, at least one."""
    known = [forecast for forecast in forecasts if forecast.epoch is not None]
    mean = sum((forecast.epoch or 0.0) * forecast.units for forecast in known) / len(known)
    return [
        Forecast(f.name, f.units, f.epochs, mean / f.units, assumed=True) if f.epoch is None else f for f in forecasts
    ]


def makespan(seconds: Sequence[float], side_by_side: int) -> float:
    """Return when the last of some tasks ends that begin in this order, so many at a time [s]."""
    free = [0.0] * side_by_side
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def estimate_line(forecasts: Sequence[Forecast], side_by_side: int, *, gpu: bool, where: str) -> str:
    """Return what is said of trainings: each one's time, the time of all, and their work; `where` is "2 cores"."""
    named = [f"{f.name} {duration(f.seconds)}{' (as the others)' * f.assumed}" for f in forecasts[:NAMED]]
    named += [f"{len(forecasts) - NAMED} more"] if len(forecasts) > NAMED else []
    time_of_all = duration(makespan([f.seconds for f in forecasts], side_by_side))
    work = work_words(sum(f.work for f in forecasts), gpu=gpu)
    return f"estimate: {', '.join(named)}; all training about {time_of_all} and {work} on {where}"


def excess_line(forecasts: Sequence[Forecast], side_by_side: int, meter: Meter, left: float) -> str | None:
    """Return by how much an estimate is above what is `left` of a budget, and what would fit; None where all fits."""
    clock = meter.budget.kind == "clock"

    def total(some: Sequence[Forecast]) -> float:
        return makespan([f.seconds for f in some], side_by_side) if clock else sum(f.work for f in some)

    if (needed := total(forecasts)) <= left:
        return None
    share = max(left, 0.0) / needed
    lengths = {f.epochs for f in forecasts}
    length = max(lengths)
    epochs = f"{int(share * length)} of {length}" if len(lengths) == 1 else f"{100 * share:.0f} % of the"
    whole: list[Forecast] = []
    for forecast in forecasts:
        whole += [forecast] if total([*whole, forecast]) <= left else []
    models = f", or {' and '.join(f.name for f in whole)} to the end" if whole else ""
    return (
        f"budget: the estimate is {meter.budget.words(needed - left)} over the budget of {meter.budget.words()}, which "
        f"is enough for about {epochs} epochs of each model{models}; trainings stop at their next checkpoint when it "
        "is spent"
    )


@dataclass
class Running:
    """One training as the estimate follows it. `units` are its cores or GPUs, `epochs` all that it is to have."""

    name: str
    folder: Path
    units: int
    epochs: int
    started: bool = False
    over: bool = False
    epoch: float | None = None
    before: int = 0
    since: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        self.before = len(read_rows(self.folder / LEDGER))

    def look(self, state: State, now: float) -> None:
        """Take a state of its progress, as it is `now` [s]."""
        done, total, _ = state
        self.started = True
        if self.epoch is not None or not total or done < SLOW_STEPS:
            return
        if self.since is None:
            self.since = (done, now)
        steps, seconds = done - self.since[0], now - self.since[1]
        if steps >= TIMED_STEPS and seconds >= TIMED_SECONDS:
            self.epoch = seconds / steps * total / self.epochs

    def look_back(self, *, gpu: bool) -> None:
        """Take the epochs that its ledger tells of: those of this command, or else the earlier ones."""
        if self.epoch is not None:
            return
        rows = read_rows(self.folder / LEDGER)
        rows = [row for row in rows[self.before :] or rows if bool(row.get("gpus")) == gpu]
        if rows:
            self.epoch = sum(work_of(row, gpu=gpu) for row in rows) / len(rows) / self.units

    def forecast(self) -> Forecast:
        """Return what it takes in this command; an epoch that an earlier one trained has a row."""
        return Forecast(self.name, self.units, max(self.epochs - self.before, 1), self.epoch)


@dataclass
class Estimate:
    """Follows trainings that run `side_by_side`, and says once it is known what all of them will take."""

    trainings: Sequence[Running]
    side_by_side: int
    gpu: bool
    where: str
    say: Callable[[str], None]
    meter: Meter | None = None
    said: float | None = None
    left: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.meter is not None:
            self.left = self.meter.budget.seconds - self.meter.spent()

    def see(self, name: str, state: State) -> None:
        """Take a state of one training's progress, and say what there is to say."""
        running = next(training for training in self.trainings if training.name == name)
        known = running.epoch is not None
        running.look(state, time.monotonic())
        running.look_back(gpu=self.gpu)
        if running.epoch is not None and not known:
            self._tell()

    def ended(self, name: str) -> None:
        """Wait no longer for what a training's steps tell."""
        next(training for training in self.trainings if training.name == name).over = True

    def _tell(self) -> None:
        begun = sum(training.started for training in self.trainings)
        waited_for = [t for t in self.trainings if t.started and not t.over and t.epoch is None]
        if begun < min(self.side_by_side, len(self.trainings)) or waited_for:
            return
        forecasts = assume([t.forecast() for t in self.trainings if t.epoch is not None or not t.over])
        work = sum(forecast.work for forecast in forecasts)
        if self.said is not None and abs(work - self.said) <= MOVED * self.said:
            return
        self.said = work
        self.say(estimate_line(forecasts, self.side_by_side, gpu=self.gpu, where=self.where))
        if self.meter is not None:
            excess = excess_line(forecasts, self.side_by_side, self.meter, self.left)
            if excess is not None:
                self.say(excess)


@dataclass
class SweepEstimate:
    """Follows the trials of a sweep, `count` in all, and says once what they will take, from the first known pace."""

    count: int
    side_by_side: int
    gpu: bool
    where: str
    say: Callable[[str], None]
    stops: bool
    begun: dict[str, Running] = field(default_factory=dict)
    said: bool = False

    def see(self, name: str, state: State) -> None:
        """Take a state of a trial's progress."""
        running = self.begun.get(name)
        if self.said or running is None:
            return
        running.look(state, time.monotonic())
        running.look_back(gpu=self.gpu)
        if running.epoch is not None:
            self.said = True
            self.say(self._line(Forecast(name, running.units, running.epochs, running.epoch)))

    def _line(self, one: Forecast) -> str:
        time_of_all = duration(makespan([one.seconds] * self.count, self.side_by_side))
        work = work_words(one.work * self.count, gpu=self.gpu)
        less = ", less what is stopped early" if self.stops else ""
        return (
            f"estimate: {one.name} {duration(one.seconds)}; if all {self.count} are alike, about {time_of_all} and "
            f"{work} on {self.where}{less}"
        )
