"""A sweep's page: every trial on it, in order, escaped; the plot's corners against values worked out by hand."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from fineseg.report.records import ReportData
from fineseg.report.sweep import coordinates, over_time, ranked, trial_colours, trials, write_sweep_report

HOSTILE = "<script>alert('lr')</script>"
SPACE = {
    "train.lr": {"log_uniform": [1e-4, 1e-2]},
    "train.epochs": {"integer": [1, 3]},
    "models.a.neck": {"choice": ["fpn", {"name": HOSTILE}, [1, 2]]},
}


def trial(number: int, status: str, score: float | None, lr: float = 1e-3, epochs: int = 2, neck: Any = "fpn") -> Any:
    history = [] if score is None else [{"epoch": e, "step": 9 * e, "AP50": score * e / 2} for e in (1, 2)]
    settings = {"train.lr": lr, "train.epochs": epochs, "models.a.neck": neck}
    return {
        "number": number,
        "settings": settings,
        "status": status,
        "score": score,
        "epochs": 2,
        "steps": 18,
        "seconds": 61.0,
        "note": HOSTILE if status == "failed" else "",
        "history": history,
    }


def record(*found: Any, best: int | None = 2) -> dict[str, Any]:
    names = {"train.lr": "lr", "train.epochs": "epochs", "models.a.neck": "neck"}
    return {
        "metric": "AP50",
        "model": "a",
        "sweep": {"space": SPACE},
        "names": names,
        "best": best,
        "work": {"optimizer_steps": 36, "forward_passes": 0},
        "trials": list(found),
    }


FULL = record(
    trial(1, "finished", 10.0, lr=1e-4),
    trial(2, "finished", 30.0, lr=1e-2, epochs=3, neck={"name": HOSTILE}),
    trial(3, "stopped", 40.0, neck=[1, 2]),
    trial(4, "failed", None),
)


def test_the_best_that_is_through_comes_first() -> None:
    assert [found["number"] for found in ranked(FULL["trials"])] == [2, 1, 3, 4]
    cells = re.findall(r'<th scope="row">.*?</span>(\d+)</th>', trials(FULL))
    assert cells == ["2", "1", "3", "4"]
    colours = trial_colours(FULL["trials"])
    assert len(set(colours.values())) == 4 and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours.values())


def test_nothing_of_the_user_is_markup() -> None:
    for section in (trials(FULL), coordinates(FULL) or ""):
        assert "<script>" not in section and "&lt;script&gt;" in section


def test_lines_cross_axes_at_their_values() -> None:
    page = coordinates(FULL) or ""
    found = {
        int(number): [tuple(map(float, pair.split(","))) for pair in points.split()]
        for points, number in re.findall(r'points="([^"]*)"[^>]*><title>trial (\d)', page)
    }
    assert set(found) == {1, 2, 3}
    bottom, top = found[1][0][1], found[2][0][1]
    assert bottom > top  # the smallest rate is below

    def shares(number: int) -> list[float]:
        return [(bottom - y) / (bottom - top) for _, y in found[number]]

    assert shares(1) == pytest.approx([0, 1 / 2, 0, 0], abs=1e-3)
    assert shares(2) == pytest.approx([1, 1, 1 / 2, 2 / 3], abs=2e-3)
    assert shares(3) == pytest.approx([math.log(10) / math.log(100), 1 / 2, 1, 1], abs=1e-3)
    assert len({x for line in found.values() for x, _ in line}) == 4
    assert re.findall(r'polyline class="(\w*)"', page) == ["early", "", "best"]


def test_without_scores_there_is_only_the_table() -> None:
    empty = record(trial(1, "waiting", None), best=None)
    assert coordinates(empty) is None and over_time(empty) is None
    assert "No trial is through yet" in trials(empty)
    one = record(trial(2, "finished", 5.0))
    assert coordinates(one) and over_time(one)


def test_the_page_is_whole(tmp_path: Path) -> None:
    data = ReportData(
        title="Rooms: sweep of a",
        profile="rooms.toml",
        manifest={"command": "fineseg sweep rooms.toml --demo"},
    )
    page = write_sweep_report(tmp_path / "report.html", data, FULL).read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Trials", "Settings and AP50", "AP50 over training", "What ran"]
    assert "fineseg sweep rooms.toml\n" in page or "<code>fineseg sweep rooms.toml</code>" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
