"""An ablation table as text, as Markdown, and as sections of a report: what was measured beside what was published."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fineseg.console import duration
from fineseg.report.cost import cost
from fineseg.report.page import write_report
from fineseg.report.records import ReportData
from fineseg.report.sections import COUNTS, METRIC_TITLES, training_curves, what_ran
from fineseg.report.templates import render_section

TEMPLATE = "ablation.html.jinja"
CURVES = ("step", "loss", "lr", "PQ", "AP", "mIoU")
"""What of a training's log the page draws; the terms of a dozen losses would hide it."""
UNITS = (("memory_gib", "Memory GiB"), ("gpu_memory_gib", "GPU GiB"))

Record = Mapping[str, Any]


def write_ablation_report(path: Path, data: ReportData, record: Record) -> Path:
    """Write the page of a table; `record` is what table.json holds, `data` what every report is told."""
    curves = {
        name: [{key: row[key] for key in CURVES if key in row} for row in rows] for name, rows in data.curves.items()
    }
    drawn = replace(data, curves=curves)
    return write_report(path, drawn, (lambda _: table_section(record), training_curves, cost, what_ran))


# ---------------------------------------------------------------------- text


def as_text(record: Record) -> str:
    """Return the table in aligned columns, and below it what is to be said of single rows."""
    headers, lines = summary(record)
    widths = [max(len(line[column]) for line in [headers, *lines]) for column in range(len(headers))]

    def aligned(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([aligned(headers), *(aligned(line) for line in lines), *remarks(record)])


def as_markdown(record: Record) -> str:
    """Return a Markdown page with the table, every figure of every kind, and remarks."""
    headers, lines = summary(record)
    parts = [f"# {record['title'] or record['table']}", _markdown_table(headers, lines)]
    for kind, figures in kinds(record).items():
        scored = [row for row in record["rows"] if kind in row["metrics"]]
        cells = [
            [row["name"], *(cell_words(figure, row["metrics"][kind].get(figure)) for figure in figures)]
            for row in scored
        ]
        parts += [f"## {_title(kind)}", _markdown_table(["Row", *figures], cells)]
    said = remarks(record)
    parts += ["\n".join(f"- {line}" for line in said)] * bool(said)
    return "\n\n".join([*parts, f"Measured with `{record['command']}`, {record['started']}.\n"])


def _markdown_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    left = [header in ("Row", "Change") for header in headers]
    rule = ["---" if is_left else "---:" for is_left in left]
    rows = [headers, rule, *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def summary(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return headers and cells of the table: figures, differences, cost, and the paper's; columns of nothing left out.

    A figure of each kind stands for it, the first: the headline with its difference to the row that each builds on.
    """
    chief, figure = headline(record)
    others = [kind for kind in kinds(record) if kind != chief]
    headers = ["Row", "Change", figure, "+/-", *map(_title, others), "Train", *(name for _, name in UNITS)]
    headers += ["Paper", "Paper +/-", "Here +/-"]
    lines = []
    for row in record["rows"]:
        scores, published = row["metrics"], row["published_gain"] or {}
        firsts = [next(iter(scores[kind].values()), None) if kind in scores else None for kind in others]
        lines.append(
            [
                row["name"],
                row["words"],
                _figure(scores[chief][figure]) if chief in scores else row["status"],
                _signed(row["gain"]),
                *map(_figure, firsts),
                _time(row),
                *(_most(row, unit) for unit, _ in UNITS),
                _figure(row["published"].get(figure)),
                _signed(published.get(figure)),
                _signed(published.get("measured")),
            ]
        )
    used = [number for number, header in enumerate(headers) if number < 3 or any(line[number] for line in lines)]
    return [headers[number] for number in used], [[line[number] for number in used] for line in lines]


def headline(record: Record) -> tuple[str, str]:
    """Return the kind and the figure that rows are compared by."""
    kind, figure = record["headline"]
    return kind, figure


def remarks(record: Record) -> list[str]:
    """Return a line for whatever the columns do not say of a row."""
    said = []
    for row in record["rows"]:
        if row["why"]:
            said.append(f"{row['name']}: {row['status']}: {row['why']}")
        if row["shares_training_of"]:
            said.append(f"{row['name']}: has the training of {row['shares_training_of']}")
        if row["note"]:
            said.append(f"{row['name']}: {row['note']}")
        over = row["published_gain"]
        if over is not None and over["over"] != row["on"]:
            said.append(f"{row['name']}: the paper's difference is over {over['over']}")
    return said


def kinds(record: Record) -> dict[str, list[str]]:
    """Return the names of the figures of each kind of score that a row has."""
    found: dict[str, list[str]] = {}
    for row in record["rows"]:
        for kind, figures in row["metrics"].items():
            known = found.setdefault(kind, [])
            known += [figure for figure in figures if figure not in known]
    return found


def _title(kind: str) -> str:
    return METRIC_TITLES.get(kind, kind)


def cell_words(name: str, value: float | None) -> str:
    """Return a figure as a table prints it; counts of objects are whole."""
    return f"{value:,.0f}" if name in COUNTS and value is not None else _figure(value)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.1f}" if round(value, 1) else "0.0"


def _time(row: Record) -> str:
    return duration(sum(entry["seconds"] for entry in row["trainings"])) if row["trainings"] else ""


def _most(row: Record, unit: str) -> str:
    return _figure(max((entry[unit] for entry in row["trainings"] if unit in entry), default=None))


# ------------------------------------------------------------------- section


def table_section(record: Record) -> str:
    """Return the section with the table, measured and published figures side by side, and all figures of each kind."""
    headers, cells = summary(record)
    chief, figure = headline(record)
    rows = [
        {"cells": line, "settings": _settings(row), "scored": chief in row["metrics"]}
        for line, row in zip(cells, record["rows"], strict=True)
    ]
    bars = [
        (row["name"], row["metrics"].get(chief, {}).get(figure), row["published"].get(figure)) for row in record["rows"]
    ]
    tables = []
    for kind, figures in kinds(record).items():
        scored = [row for row in record["rows"] if kind in row["metrics"]]
        lines = [
            (row["name"], [cell_words(name, row["metrics"][kind].get(name)) or "\N{EN DASH}" for name in figures])
            for row in scored
        ]
        tables.append((_title(kind), figures, lines))
    return render_section(
        "ablation",
        TEMPLATE,
        title=record["title"] or record["table"],
        headers=headers,
        rows=rows,
        figure=figure,
        bars=bars,
        published=any(published is not None for *_, published in bars),
        tables=tables,
        remarks=remarks(record),
    )


def _settings(row: Record) -> str:
    said = [f"{key} = {value}" for key, value in row["set"].items()]
    return "; ".join([*said, f"scores {row['scores']}"])
