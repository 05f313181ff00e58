"""Estimates of trainings: their arithmetic, and when they are told."""

import itertools
import random
from pathlib import Path

import pytest

from fineseg.cost import Meter
from fineseg.profile.budget import Budget
from fineseg.scheduling import estimate
from fineseg.scheduling.estimate import (
    Estimate,
    Forecast,
    Running,
    SweepEstimate,
    assume,
    estimate_line,
    excess_line,
    makespan,
)
from fineseg.store import append_row


def test_makespan_against_a_clock_that_ticks() -> None:
    chance = random.Random(1)
    for _ in range(200):
        tasks, slots = [chance.randint(1, 9) for _ in range(chance.randint(1, 8))], chance.randint(1, 4)
        waiting, ticks = list(tasks), 0
        running: list[int] = []
        while waiting or running:
            while waiting and len(running) < slots:
                running.append(waiting.pop(0))
            running = [left - 1 for left in running if left > 1]
            ticks += 1
        assert makespan(tasks, slots) == ticks


def test_unknown_trainings_do_the_mean_work() -> None:
    known = [Forecast("a", 1, 4, 10.0), Forecast("b", 3, 2, 10.0)]
    filled = assume([known[0], Forecast("c", 2, 5), known[1]])
    assert filled[0] == known[0] and filled[2] == known[1]
    assert filled[1] == Forecast("c", 2, 5, 10.0, assumed=True)  # (10 + 30) / 2 core-seconds on 2 cores
    assert filled[1].seconds == 50 and filled[1].work == 100


def test_the_line() -> None:
    forecasts = [Forecast("m1", 1, 4, 100.0), Forecast("m2", 1, 4, 92.5), Forecast("m4", 2, 12, 35.0, assumed=True)]
    assert estimate_line(forecasts, 2, gpu=False, where="2 cores") == (
        "estimate: m1 6:40, m2 6:10, m4 7:00 (as the others); all training about 13:10 and 0.4 CPU-hours on 2 cores"
    )
    many = estimate_line([Forecast(f"r{i}", 1, 1, 60.0) for i in range(9)], 1, gpu=True, where="1 GPU")
    assert many.startswith("estimate: r0 1:00, ") and "r5 1:00, 3 more; all training about 9:00 and 0.1 GPU-h" in many


@pytest.mark.parametrize(
    ("budget", "over", "fits"),
    [
        (
            Budget("cpu", 600),
            "0.1 CPU-hours over the budget of 0.2 CPU-hours",
            "6 of 10 epochs of each model, or a to",
        ),
        (Budget("cpu", 200), "0.2 CPU-hours over the budget of 3.3 CPU-minutes", "2 of 10 epochs of each model; train"),
        (Budget("clock", 250), "4:10 over the budget of 4:10", "5 of 10 epochs of each model; trainings stop at"),
    ],
)
def test_what_is_over_the_budget(budget: Budget, over: str, fits: str) -> None:
    forecasts = [Forecast("a", 1, 10, 50.0), Forecast("b", 1, 10, 50.0)]
    line = excess_line(forecasts, 2, Meter(budget), budget.seconds) or ""
    assert line.startswith(f"budget: the estimate is {over}, which is enough for about {fits}")
    assert excess_line(forecasts, 2, Meter(Budget(budget.kind, 1000)), 1000) is None


def test_epochs_that_differ_are_told_as_a_share() -> None:
    line = excess_line([Forecast("a", 2, 10, 50.0), Forecast("b", 2, 5, 40.0)], 1, Meter(Budget("gpu", 700)), 700)
    assert line is not None and "enough for about 50 % of the epochs of each model, or b to the end" in line


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimate, "time", clock)
    return clock


def running(folder: Path, *names: str, epochs: int = 10) -> list[Running]:
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    return [Running(name, folder / name, 1, epochs) for name in names]


def test_told_once_from_the_steps_after_the_slow_ones(tmp_path: Path, clock: Clock) -> None:
    said: list[str] = []
    follows = Estimate(running(tmp_path, "a", "b", "c"), 2, False, "2 cores", said.append)
    for name in ("a", "b"):
        follows.see(name, (0, 0, "loading"))
    clock.now = 50.0  # the first steps take long
    for step in range(3, 10):
        clock.now += 2.0
        follows.see("a", (step, 100, ""))
    assert not said  # b runs too, and is not known yet
    for step in itertools.count(3):
        clock.now += 4.0
        follows.see("b", (step, 200, ""))
        if said:
            break
    assert step == 8  # five steps after the third
    assert said == [
        "estimate: a 3:20, b 13:20, c 8:20 (as the others); all training about 13:20 and 0.4 CPU-hours on 2 cores"
    ]
    follows.see("c", (0, 0, "loading"))
    for step in range(3, 20):  # two seconds a step as a has: 5:00 less, more than a tenth of 25:00
        clock.now += 2.0
        follows.see("c", (step, 100, ""))
    assert len(said) == 2 and "c 3:20; all training about 13:20 and 0.3 CPU-hours" in said[1]


def test_earlier_epochs_tell_at_once(tmp_path: Path, clock: Clock) -> None:
    trainings = running(tmp_path, "a")
    for seconds in (40.0, 60.0):
        append_row(
            tmp_path / "a" / "ledger.jsonl", {"steps": 5, "seconds": seconds, "workers": 1, "cores": 2, "gpus": 0}
        )
    said: list[str] = []
    meter = Meter(Budget("cpu", 400))
    follows = Estimate(running(tmp_path, "a"), 1, False, "2 cores", said.append, meter)
    follows.see("a", (0, 0, "loading"))
    # 100 core-seconds an epoch on the one core of now, eight epochs left
    assert said[0] == "estimate: a 13:20; all training about 13:20 and 0.2 CPU-hours on 2 cores"
    assert len(said) == 2 and "enough for about 4 of 8 epochs of each model" in said[1]
    assert trainings[0].before == 0


def test_a_short_training_is_judged_by_its_first_epoch_and_a_failed_one_not_waited_for(
    tmp_path: Path, clock: Clock
) -> None:
    said: list[str] = []
    follows = Estimate(running(tmp_path, "a", "b"), 2, False, "2 cores", said.append)
    for name in ("a", "b"):
        follows.see(name, (1, 60, ""))
    follows.ended("b")
    append_row(tmp_path / "a" / "ledger.jsonl", {"steps": 6, "seconds": 3.0, "workers": 1, "cores": 1, "gpus": 0})
    follows.see("a", (6, 60, ""))
    assert said == ["estimate: a 30 s; all training about 30 s and 30 CPU-seconds on 2 cores"]


@pytest.mark.parametrize("stops", [False, True])
def test_a_sweep_is_judged_by_its_first_trial_of_a_known_pace(tmp_path: Path, stops: bool) -> None:
    said: list[str] = []
    told = SweepEstimate(5, 2, False, "2 cores", said.append, stops)
    for number in (1, 2):
        told.begun[f"trial {number}"] = Running(f"trial {number}", tmp_path / str(number), 1, 3)
    told.see("trial 2", (0, 30, "loading"))
    told.see("something else", (30, 30, ""))
    assert not said
    (tmp_path / "2").mkdir()
    append_row(tmp_path / "2" / "ledger.jsonl", {"steps": 10, "seconds": 40.0, "cores": 1, "gpus": 0})
    for state in ((10, 30, ""), (20, 30, "")):
        told.see("trial 2", state)
    line = "estimate: trial 2 2:00; if all 5 are alike, about 6:00 and 0.2 CPU-hours on 2 cores"
    assert said == [line + ", less what is stopped early" * stops]
