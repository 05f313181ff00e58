"""Who stops poor trials: Tune's schedulers, as set up here, against the rules as they are told in the docs."""

import random

import numpy as np
import pytest

from fineseg.cost import Meter
from fineseg.profile.budget import Budget
from fineseg.scheduling.orders import StopRule, TrialOrder
from fineseg.scheduling.sweep import _Ended, _Feed, _OutOfBudget, stopping

EPOCHS = 20
Row = dict[str, float]


def rows(chance: random.Random) -> list[Row]:
    """Draw a trial's validations: every epoch, or every few."""
    every, level = chance.choice([1, 2, 3]), chance.uniform(0, 50)
    return [{"epoch": e, "AP": level + e + chance.gauss(0, 4)} for e in range(every, EPOCHS, every)]


def asha(trials: list[list[Row]], grace: int, judged: int) -> list[int | None]:
    """Return after how many reports each trial is stopped; those before `judged` are only told of."""
    rungs: dict[int, list[float]] = {}
    stops: list[int | None] = []
    for number, reports in enumerate(trials):
        seen: set[int] = set()
        stops.append(None)
        for count, row in enumerate(reports, start=1):
            milestones = [grace * 3**k for k in range(9) if grace * 3**k <= row["epoch"]]
            open_ones = [m for m in milestones if m not in seen]
            if not open_ones:
                continue
            rung = max(open_ones)
            others = rungs.setdefault(rung, [])
            poor = bool(others) and row["AP"] < np.percentile(others, 100 * 2 / 3)
            seen.add(rung)
            others.append(row["AP"])
            if poor and number >= judged:
                stops[-1] = count
                break
    return stops


def median(trials: list[list[Row]], grace: int, judged: int) -> list[int | None]:
    """Return the same for the rule of the median of running means, which needs three others."""
    told: list[list[Row]] = []
    stops: list[int | None] = []
    for number, reports in enumerate(trials):
        mine: list[Row] = []
        stops.append(None)
        for count, row in enumerate(reports, start=1):
            mine.append(row)
            if row["epoch"] < grace:
                continue
            windows = [
                [r["AP"] for r in other if grace <= r["epoch"] <= row["epoch"]]
                for other in told
                if other[-1]["epoch"] >= row["epoch"]
            ]
            means = [np.mean(window) for window in windows if window]
            best = max(r["AP"] for r in mine)
            if len(means) >= 3 and np.median(means) > best and number >= judged:
                stops[-1] = count
                break
        told.append(mine)
    return stops


@pytest.mark.parametrize("name", ["asha", "median"])
@pytest.mark.parametrize("seed", range(8))
def test_rules_stop_whom_they_say(name: str, seed: int) -> None:
    chance = random.Random(seed)
    trials, grace, judged = [rows(chance) for _ in range(12)], chance.choice([1, 2, 4]), chance.choice([0, 4])
    scheduler = stopping(StopRule(name, "AP", grace), trials[:judged])
    found: list[int | None] = [None] * judged
    for number, reports in enumerate(trials[judged:]):
        trial = _Ended(f"{number}")
        scheduler.on_trial_add(None, trial)
        stopped = (i for i, r in enumerate(reports, 1) if scheduler.on_trial_result(None, trial, dict(r)) == "STOP")
        found.append(next(stopped, None))
    expected = {"asha": asha, "median": median}[name](trials, grace, judged)
    assert found == expected
    assert seed or any(stop is not None for stop in expected)


def test_no_rule_stops_nobody() -> None:
    scheduler = stopping(StopRule("none", "AP", 1), [[{"epoch": 1, "AP": 90.0}]])
    assert all(scheduler.on_trial_result(None, _Ended("x"), {"epoch": e, "AP": 0.0}) == "CONTINUE" for e in range(1, 9))


class NoTrials:
    """A sweep with nothing to run."""

    def next(self) -> TrialOrder | None:
        return None


def test_out_of_budget_waits_for_a_report_and_lets_what_is_trained_end() -> None:
    meters = (Meter(Budget("clock", 5), started=1.0), None)
    late, early = (_OutOfBudget(_Feed(NoTrials(), meter)) for meter in meters)  # type: ignore[arg-type]
    assert late("x", {"epoch": 1}) and not late("x", {"epoch": 2, "trained": True}) and not early("x", {"epoch": 1})
    assert not late.stop_all()
