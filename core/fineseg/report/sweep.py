"""The report of a sweep: its trials as a table, their settings against their scores, and the scores over training."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.console import duration
from fineseg.report.colours import Stroke
from fineseg.report.cost import cost
from fineseg.report.figures import line_chart, line_of
from fineseg.report.page import write_report
from fineseg.report.records import ReportData
from fineseg.report.sections import what_ran
from fineseg.report.templates import render_section

TEMPLATE = "sweep.html.jinja"
WIDTH, HEIGHT, TOP, SIDE = 1000, 380, 44, 90
"""Of the plot of settings; room above its axes and beside them [units]."""
QUARTERS = (0, 0.25, 0.5, 0.75, 1)
LETTERS = 16
"""Of a value or a name on the plot."""
_STOPS = ((0x5B, 0x6E, 0xE1), (0x1F, 0x9A, 0xC9), (0x1A, 0x9F, 0x5A), (0xC9, 0x9A, 0x00), (0xE8, 0x56, 0x0A))
_GREY = "#8a9099"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One upright line of the plot: where it stands, its name, its key, and (height, words) of its ticks."""

    x: float
    name: str
    key: str
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Crossing:
    """One trial on the plot: its corners as SVG has them, "x,y x,y ..."."""

    points: str
    colour: str
    kind: str
    title: str


def write_sweep_report(path: Path, data: ReportData, record: Record) -> Path:
    """Write the page of a sweep; `record` is what sweep.json holds, `data` what every report is told."""
    sections = (
        lambda _: trials(record),
        lambda _: coordinates(record),
        lambda _: over_time(record),
        cost,
        what_ran,
    )
    return write_report(path, data, sections)


# ------------------------------------------------------------------- sections


def trials(record: Record) -> str:
    """Return the section with a row for each trial, the best first."""
    keys = list(record["sweep"]["space"])
    colours = trial_colours(record["trials"])
    rows = [
        {
            "number": trial["number"],
            "best": trial["number"] == record["best"],
            "colour": colours[trial["number"]],
            "settings": [words_of(trial["settings"].get(key)) for key in keys],
            "score": "-" if trial["score"] is None else f"{trial['score']:.2f}",
            "epochs": f"{_epochs_done(trial)} of {trial['epochs']}",
            "time": duration(trial["seconds"]),
            "status": trial["status"],
            "note": trial["note"],
        }
        for trial in ranked(record["trials"])
    ]
    return render_section(
        "trials",
        TEMPLATE,
        tiles=_tiles(record),
        verdict=_verdict(record),
        columns=[(record["names"][key], key) for key in keys],
        shortened=[(record["names"][key], key) for key in keys if record["names"][key] != key],
        metric=record["metric"],
        rows=rows,
    )


def coordinates(record: Record) -> str | None:
    """Return the section with the parallel coordinates of the trials that have a score, or None where none has."""
    scored = [trial for trial in ranked(record["trials"]) if trial["score"] is not None]
    if not scored:
        return None
    keys = list(record["sweep"]["space"])
    places = [_place(record["sweep"]["space"][key]) for key in keys] + [_score_place(scored)]
    step, names = (WIDTH - 2 * SIDE) / len(keys), [record["names"][key] for key in keys]
    axes = [
        Axis(round(SIDE + number * step, 1), _cut(name), key, [(_height(share), _cut(words)) for share, words in ticks])
        for number, (name, key, (_, ticks)) in enumerate(
            zip([*names, record["metric"]], [*keys, "score"], places, strict=True)
        )
    ]
    colours = trial_colours(record["trials"])
    lines = []
    for trial in reversed(scored):
        values = [*(trial["settings"][key] for key in keys), trial["score"]]
        shares = [share(value) for (share, _), value in zip(places, values, strict=True)]
        corners = [(axis.x, _height(share)) for axis, share in zip(axes, shares, strict=True)]
        kind = "best" if trial["number"] == record["best"] else "" if trial["status"] == "finished" else "early"
        points = " ".join(f"{x:g},{y:g}" for x, y in corners)
        lines.append(Crossing(points, colours[trial["number"]], kind, _title(trial, names, record["metric"])))
    plot = {
        "width": WIDTH,
        "height": HEIGHT,
        "top": TOP,
        "bottom": HEIGHT - 20,
        "axes": axes,
        "lines": lines,
        "alt": "; ".join(line.title for line in reversed(lines)),
    }
    return render_section("coordinates", TEMPLATE, plot=plot, metric=record["metric"])


def over_time(record: Record) -> str | None:
    """Return the section with every trial's metric over its steps, or None where nothing was validated."""
    metric, colours = record["metric"], trial_colours(record["trials"])
    found = [(trial, line_of(trial["history"], metric, Stroke(colours[trial["number"]]))) for trial in record["trials"]]
    lines = [line for _, line in found if line is not None]
    if not lines:
        return None
    ends = "; ".join(f"trial {trial['number']} {line.values[-1]:.4g}" for trial, line in found if line is not None)
    entry = (f"Validation {metric}", f"Last {metric} of each trial: {ends}", line_chart(lines, name="sweep-metric"))
    return render_section("over_time", TEMPLATE, entry=entry, metric=metric)


# ---------------------------------------------------------------------- words


def ranked(found: Sequence[Record]) -> list[Record]:
    """Return trials by score, those that are through before others, those without a score last."""
    return sorted(
        found,
        key=lambda trial: (
            trial["status"] != "finished",
            math.inf if trial["score"] is None else -trial["score"],
            trial["number"],
        ),
    )


def trial_colours(found: Sequence[Record]) -> dict[int, str]:
    """Return a colour for each trial by the rank of its score, from cold to warm; grey without a score."""
    scored = sorted((trial for trial in found if trial["score"] is not None), key=lambda trial: trial["score"])
    colours = {trial["number"]: _GREY for trial in found}
    for rank, trial in enumerate(scored):
        colours[trial["number"]] = _between(rank / max(1, len(scored) - 1))
    return colours


def words_of(value: Any) -> str:
    """Return a setting as the table shows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tiles(record: Record) -> list[tuple[str, str, str]]:
    counts = Counter(trial["status"] for trial in record["trials"])
    best = next((trial for trial in record["trials"] if trial["number"] == record["best"]), None)
    tiles = [(f"{best['score']:.1f}", f"best {record['metric']}", f"trial {best['number']}")] if best else []
    tiles.append((str(len(record["trials"])), "trials", ", ".join(f"{count} {name}" for name, count in counts.items())))
    spent = sum(trial["seconds"] for trial in record["trials"])
    tiles.append((duration(spent), "of training", f"{record['work']['optimizer_steps']:,} optimizer steps in this run"))
    return tiles


def _verdict(record: Record) -> str | None:
    through = [trial for trial in ranked(record["trials"]) if trial["status"] == "finished"]
    finished = [trial for trial in through if trial["score"] is not None]
    if not finished:
        return "No trial is through yet; the same command goes on."
    if len(finished) == 1:
        return None
    gap = finished[0]["score"] - finished[-1]["score"]
    return (
        f"The best and the worst trial that were trained to the end are {gap:.1f} points of {record['metric']} apart."
    )


def _title(trial: Record, names: Sequence[str], metric: str) -> str:
    settings = ", ".join(f"{name} {words_of(v)}" for name, v in zip(names, trial["settings"].values(), strict=True))
    return f"trial {trial['number']}: {settings}; {metric} {trial['score']:.2f}, {trial['status']}"


def _epochs_done(trial: Record) -> int:
    return max((row["epoch"] for row in trial["history"]), default=0)


def _cut(words: str) -> str:
    return words if len(words) <= LETTERS else f"{words[: LETTERS - 1].rstrip()}…"


# ------------------------------------------------------------------- geometry


def _place(entry: Record) -> tuple[Any, list[tuple[float, str]]]:
    """Return of a swept key where a value stands on its axis, from 0 below to 1 above, and the axis's ticks."""
    if entry.get("choice") is not None:
        choices = list(entry["choice"])
        last = max(1, len(choices) - 1)
        return (lambda value: choices.index(value) / last), [(i / last, words_of(c)) for i, c in enumerate(choices)]
    low, high = entry.get("log_uniform") or entry.get("uniform") or entry["integer"]
    share, ticks = _scale(low, high, log=entry.get("log_uniform") is not None)
    if entry.get("integer") is not None:
        whole = sorted({round(low + (high - low) * part) for part in QUARTERS})
        ticks = [(share(value), str(value)) for value in whole]
    return share, ticks


def _score_place(scored: Sequence[Record]) -> tuple[Any, list[tuple[float, str]]]:
    values = [trial["score"] for trial in scored]
    low, high = min(values), max(values)
    return _scale(low, high) if high > low else ((lambda _: 0.5), [(0.5, words_of(low))])


def _scale(low: float, high: float, *, log: bool = False) -> tuple[Any, list[tuple[float, str]]]:
    ticks = [(low * (high / low) ** part if log else low + (high - low) * part) for part in QUARTERS]

    def share(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)

    return share, [(share(tick), f"{tick:.3g}") for tick in ticks]


def _height(share: float) -> float:
    return round(HEIGHT - 20 - share * (HEIGHT - 20 - TOP), 1)


def _between(share: float) -> str:
    at = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    first = min(int(at), len(_STOPS) - 2)
    mixed = [round(a + (b - a) * (at - first)) for a, b in zip(_STOPS[first], _STOPS[first + 1], strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
