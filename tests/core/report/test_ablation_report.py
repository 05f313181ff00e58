"""An ablation table's text, Markdown and page: every row once, differences with a sign, nothing of the user markup."""

import re
from pathlib import Path
from typing import Any

import pytest

from fineseg.report.ablation import as_markdown, as_text, kinds, summary, table_section, write_ablation_report
from fineseg.report.records import ReportData

HOSTILE = "<script>alert('p6')</script> | x"


def row(name: str, ap: float | None = None, **more: Any) -> dict[str, Any]:
    """Return a row of table.json, scored where `ap` is given."""
    segm = {"AP": ap, "AP50": 90.0, "APs": None}
    scored = {"status": "scored", "metrics": {"segm": segm, "boundary": {"AP": 33.33}}}
    return {
        "name": name,
        "words": f"the change of {name}",
        "on": None,
        "base": None,
        "set": {"train.lr": 0.1},
        "scores": "a",
        "note": "",
        "status": "not run",
        "why": "",
        "metrics": {},
        "gain": None,
        "published": {},
        "published_gain": None,
        "trainings": [],
        "shares_training_of": None,
        **(scored if ap is not None else {}),
        **more,
    }


def record(*rows: Any) -> dict[str, Any]:
    return {
        "table": "t",
        "title": "",
        "headline": ["segm", "AP"],
        "command": "fineseg ablate p.toml t",
        "started": "2020-01-02",
        "rows": list(rows),
    }


TRAINING = {"model": "a", "steps": 5, "seconds": 125.0, "memory_gib": 1.26, "devices": ["cpu"]}
FULL = record(
    row("start", 50.04, published={"AP": 60.0}, trainings=[TRAINING]),
    row(
        "wide",
        51.96,
        words=HOSTILE,
        on="start",
        base="start",
        gain=1.92,
        published={"AP": 59.25},
        published_gain={"over": "start", "AP": -0.75, "measured": 1.92},
        trainings=[TRAINING, {**TRAINING, "seconds": 60.0, "memory_gib": 2.0}],
        shares_training_of="start",
    ),
    row("gpu", status="left out", why="needs a GPU", on="wide"),
    row("last", published={"AP": 70.0}, published_gain={"over": "wide", "AP": 10.75, "measured": None}, on="gpu"),
)


def test_the_columns() -> None:
    headers, lines = summary(FULL)
    assert headers == [
        "Row",
        "Change",
        "AP",
        "+/-",
        "Boundary AP",
        "Train",
        "Memory GiB",
        "Paper",
        "Paper +/-",
        "Here +/-",
    ]
    assert lines == [
        ["start", "the change of start", "50.0", "", "33.3", "2:05", "1.3", "60.0", "", ""],
        ["wide", HOSTILE, "52.0", "+1.9", "33.3", "3:05", "2.0", "59.2", "-0.8", "+1.9"],
        ["gpu", "the change of gpu", "left out", "", "", "", "", "", "", ""],
        ["last", "the change of last", "not run", "", "", "", "", "70.0", "+10.8", ""],
    ]
    assert kinds(FULL) == {"segm": ["AP", "AP50", "APs"], "boundary": ["AP"]}


def test_columns_that_hold_nothing_are_left_out() -> None:
    assert summary(record(row("one"), row("two", 3.0)))[0] == ["Row", "Change", "AP", "Boundary AP"]
    another = row("one", 3.0)
    another["metrics"]["corners"] = {"share": 44.4, "objects": 3}
    headers, ((*_, corners),) = summary(record(another))
    assert headers[-1] == "corners" and corners == "44.4"


@pytest.mark.parametrize(("gain", "said"), [(0.04, "0.0"), (-0.04, "0.0"), (0.06, "+0.1"), (-12.0, "-12.0")])
def test_differences_have_a_sign_unless_there_is_none(gain: float, said: str) -> None:
    assert summary(record(row("one", 3.0, gain=gain)))[1][0][3] == said


def test_the_text_is_aligned() -> None:
    lines = as_text(FULL).splitlines()
    assert len({line.index("33.3") + 4 for line in lines[1:3]} | {lines[0].index("Boundary AP") + 11}) == 1
    assert lines[5:] == [
        "wide: has the training of start",
        "gpu: left out: needs a GPU",
        "last: the paper's difference is over wide",
    ]


def test_the_markdown() -> None:
    text = as_markdown(FULL)
    assert text.startswith("# t\n\n| Row | Change | AP |") and text.endswith("2020-01-02.\n")
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()]
        assert len(set(cells)) == 1, table
    assert "| start | 50.0 | 90.0 |  |" in tables[1]


def test_the_page(tmp_path: Path) -> None:
    curve = [{"step": step, "loss": 1 / step, "loss_cls": 0.1} for step in range(1, 9)]
    data = ReportData(
        title="Rooms: t",
        profile="rooms.toml",
        manifest={"command": "fineseg ablate rooms.toml t --demo", "table": "t"},
        metrics={"models": {}},
        per_class={},
        categories=(),
        curves={"start": curve, "wide": curve},
        examples=(),
        submission=None,
    )
    page = write_ablation_report(tmp_path / "report.html", data, FULL).read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Table", "Training curves", "What ran"]
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<code>fineseg ablate rooms.toml t</code>" in page and "loss_cls" not in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)


@pytest.mark.parametrize("published", [True, False])
def test_bars_have_the_lengths_of_the_figures(published: bool) -> None:
    rows = [row("one", 12.34, published={"AP": 45.6} if published else {}), row("two")]
    section = table_section(record(*rows))
    assert re.findall(r"--share:([\d.]+)%", section) == (["12.3", "45.6"] if published else ["12.3"])
    assert ("Measured and published AP" in section) == published
