"""The sections of a report that are made of text, tables and charts. Every one is a function of the report's data."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from fineseg.console import duration
from fineseg.report.charts import legend
from fineseg.report.colours import class_colours, model_stroke, strokes_of
from fineseg.report.figures import Line, line_chart, line_of
from fineseg.report.records import ReportData
from fineseg.report.templates import render_section
from fineseg.store import TASK_WEIGHT

COMBINED = "combined"
METRIC = "segm"
FOLDS = "folds"
"""Beside a model's tables of scores: those of its folds, which are another section's."""
PANOPTIC, SEMANTIC = "panoptic", "semantic"
"""Kinds of panoptic models alone, which have a section of their own."""
COUNTS = ("matched", "objects")
"""Columns of a table of scores that count objects."""
CURVES = {
    "loss": "Training loss",
    "PQ": "Validation PQ",
    "AP": "Validation AP",
    "mIoU": "Validation mIoU",
    "lr": "Learning rate",
}
METRIC_TITLES = {
    "segm": "Mask AP",
    "bbox": "Box AP",
    "boundary": "Boundary AP",
    "holes": "IoU of holes",
    "panoptic": "Panoptic quality",
}
METRIC_NOTES = {
    "boundary": ": a mask must also fit along its outline;",
    "holes": ", of objects with holes that are found,",
}
"""What the titles alone leave open, as the table's caption goes on."""
MEANINGS = {
    "AP": "mean over IoU .50:.05:.95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "APs": "small objects",
    "APm": "medium objects",
    "APl": "large objects",
    "matched": "objects with holes, found",
    "objects": "objects with holes",
}


# --------------------------------------------------------------------- scores


@dataclass(frozen=True)
class Cell:
    """One figure of a table: None is shown as a dash, a `count` whole; `best` of its column or row stands out."""

    value: float | None
    best: bool = False
    count: bool = False


def best_model(metrics: Mapping[str, Any]) -> str | None:
    """Return the model of the highest PQ or, without, AP; without any figure the first one, None without models."""
    headline = pq if any(PANOPTIC in table for table in metrics["models"].values()) else _ap
    headlines = {name: headline(table) for name, table in metrics["models"].items()}
    rank: dict[str, float] = {name: -math.inf if value is None else value for name, value in headlines.items()}
    return max(rank, key=rank.__getitem__, default=None)


def is_combined(data: ReportData) -> bool:
    """Return whether the run combined its models; one that did not shows its best model under that name."""
    return COMBINED in data.metrics and data.manifest.get("profile", {}).get("combine", {}) is not None


def merges_instances(data: ReportData) -> bool:
    """Return whether the combination has instances: a fused panoptic map has none with scores."""
    return is_combined(data) and METRIC in data.metrics[COMBINED]


def best_of(values: Sequence[float | None]) -> list[bool]:
    """Return which figures stand out: the highest as they are printed, none where all are alike."""
    printed = [None if value is None else round(value, 1) for value in values]
    top = highest(printed)
    return [value is not None and value == top and len(set(printed) - {None}) > 1 for value in printed]


def scores(data: ReportData) -> str | None:
    """Return the section of scores: a table a metric, the combination against the best model, AP by class."""
    rows = {name: table for name, table in data.metrics["models"].items() if METRIC in table}
    if merges_instances(data):
        rows[COMBINED] = data.metrics[COMBINED]
    if not rows:
        return None
    kinds = dict.fromkeys(kind for table in rows.values() for kind in table if kind not in (FOLDS, PANOPTIC, SEMANTIC))
    bars = [
        _size_bars(data, rows),
        _class_bars(data, {name: data.per_class[name] for name in rows if name in data.per_class}),
    ]
    return render_section(
        "scores",
        title="Things" if data.class_pq else "Scores",
        fused=bool(data.class_pq) and is_combined(data) and COMBINED not in rows,
        tables=[_score_table(kind, rows) for kind in kinds],
        meanings=MEANINGS,
        tiles=[] if data.class_pq else _tiles(data),
        verdict=_verdict(data),
        bars=[each for each in bars if each is not None],
        by_size=_class_bars_by_size(data, [name for name in rows if name in data.per_area]),
    )


def _score_table(kind: str, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for table in rows.values() for key in table.get(kind, {})))
    found = {name: [number(table.get(kind, {}).get(key)) for key in columns] for name, table in rows.items()}
    return {
        "title": METRIC_TITLES.get(kind, kind),
        "note": METRIC_NOTES.get(kind, ""),
        "columns": columns,
        "rows": cell_rows(found, columns),
    }


def cell_rows(figures: Mapping[str, Sequence[float | None]], columns: Sequence[str]) -> dict[str, list[Cell]]:
    """Return the cells of a table with a row a model; the best of a column stands out, unless it counts objects."""
    best = [best_of(column) for column in zip(*figures.values(), strict=True)]
    return {
        model: [
            Cell(value, key not in COUNTS and stands_out[position], key in COUNTS)
            for value, key, stands_out in zip(values, columns, best, strict=True)
        ]
        for position, (model, values) in enumerate(figures.items())
    }


def _verdict(data: ReportData) -> str | None:
    """Return the sentence that sets the combination against the best single model."""
    best = best_model(data.metrics)
    if best is None or data.class_pq or not is_combined(data):
        return None
    alone, together = _ap(data.metrics["models"][best]), _ap(data.metrics[COMBINED])
    if alone is None or together is None:
        return "There is no AP to compare: the split has no true objects to score against."
    gain = round(together, 1) - round(alone, 1)
    where = f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'}" if abs(gain) >= 0.05 else "the same as"
    return f"Combined, the models reach {together:.1f} AP: {where} the best single model, {best}, with {alone:.1f}."


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """Return the headline figures as (figure, what it is, detail)."""
    best, tiles = best_model(data.metrics), []
    if is_combined(data):
        tiles.append((percent(_ap(data.metrics[COMBINED])), "AP combined", _models(len(data.metrics["models"]))))
    if best is not None:
        tiles.append((percent(_ap(data.metrics["models"][best])), "AP of the best single model", best))
    stages = data.manifest.get("seconds", {})
    if stages:
        tiles.append(time_tile(data))
    return tiles


def time_tile(data: ReportData) -> tuple[str, str, str]:
    """Return how long the run took, as (figure, what it is, detail)."""
    seconds = sum(data.manifest.get("seconds", {}).values())
    return duration(seconds), "for this run", _work_words(data.manifest.get("work", {}))


@dataclass(frozen=True)
class Bars:
    """A table of bars: a row of (name, its colour or "", cells) for whatever is measured, a column for each model."""

    title: str
    what: str
    names: list[str]
    rows: list[tuple[str, str, list[Cell]]]


def bar_table(
    title: str, what: str, rows: Mapping[tuple[str, str], Sequence[float | None]], names: Sequence[str]
) -> Bars | None:
    """Return figures [percent] by (name, colour) with one for each of `names`; None where nothing was scored."""
    table = []
    for (name, colour), values in rows.items():
        cells = [Cell(value, best) for value, best in zip(values, best_of(values), strict=True)]
        table.append((name, colour, cells))
    scored = any(cell.value is not None for *_, cells in table for cell in cells)
    return Bars(title, what, list(names), table) if scored else None


def _size_bars(data: ReportData, tables: Mapping[str, Mapping[str, Any]]) -> Bars | None:
    """Return AP by size: a row for each area range."""
    summaries = {name: table.get(METRIC, {}) for name, table in tables.items()}
    keys = [key for key in next(iter(summaries.values())) if key not in ("AP", "AP50", "AP75")]
    named = list(data.manifest.get("profile", {}).get("metric", {}).get("area_ranges", {}))
    titles = named if len(named) == len(keys) else keys
    rows = {
        (title, ""): [number(summary.get(key)) for summary in summaries.values()]
        for title, key in zip(titles, keys, strict=True)
    }
    return bar_table("By size", "Mask AP of each size", rows, list(summaries))


def _class_bars(
    data: ReportData,
    figures: Mapping[str, Sequence[float]],
    title: str = "By class",
    what: str = "Mask AP of each class",
) -> Bars | None:
    """Return AP by class: a row for each class of `figures` by model."""
    rows = {
        (category.name, colour): [number(values[label]) for values in figures.values()]
        for label, (category, colour) in enumerate(zip(data.categories, class_colours(data.categories), strict=True))
    }
    return bar_table(title, what, rows, list(figures))


def _class_bars_by_size(data: ReportData, names: Sequence[str]) -> list[Bars]:
    """Return AP by class of the objects of each area range."""
    ranges = dict.fromkeys(area for name in names for row in data.per_area[name] for area in row)
    tables = []
    for area in ranges:
        figures = {name: [row.get(area, math.nan) for row in data.per_area[name]] for name in names}
        tables.append(_class_bars(data, figures, area, f"Mask AP of each class, {area} objects"))
    return [table for table in tables if table is not None]


def pq(table: Mapping[str, Any], group: str = "All", figure: str = "pq") -> float | None:
    """Return a panoptic model's figure of a group of classes."""
    return number(table.get(PANOPTIC, {}).get(group, {}).get(figure))


def _ap(table: Mapping[str, Any]) -> float | None:
    return number(table.get(METRIC, {}).get("AP"))


def number(value: Any) -> float | None:
    """Return a figure, None for one that there is not: None or nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def highest(values: Sequence[float | None]) -> float | None:
    """Return the largest figure, None without any."""
    return max((value for value in values if value is not None), default=None)


def percent(value: float | None) -> str:
    """Return a figure in words."""
    return "-" if value is None else f"{value:.1f}"


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"


# ------------------------------------------------------------ training curves


def training_curves(data: ReportData) -> str | None:
    """Return the section of training curves, or None where no model left any."""
    strokes = strokes_of(list(data.curves), COMBINED)
    charts = []
    for key, title in CURVES.items():
        lines = [line_of(rows, key, strokes[model], noisy=key == "loss") for model, rows in data.curves.items()]
        charts += _chart(title, [line for line in lines if line is not None], f"curves-{key}")
    if not charts:
        return None
    shown = {model: stroke for model, stroke in strokes.items() if data.curves[model]}
    terms = [
        entry
        for position, model in enumerate(data.curves)
        for entry in (_terms(data, model, position), _task_weights(data, model, position))
        if entry is not None
    ]
    return render_section("curves", charts=charts, legend=legend(shown), terms=terms)


def _chart(title: str, lines: Sequence[Line], name: str) -> list[tuple[str, str, Markup]]:
    """Return a chart as (title, words for those who cannot see it, SVG), or nothing without lines."""
    if not lines:
        return []
    ends = "; ".join(f"{line.values[0]:.4g} to {line.values[-1]:.4g} at step {line.steps[-1]:.0f}" for line in lines)
    floor = 0.0 if all(line.values.min() >= 0 for line in lines) else None  # a balanced loss may be negative
    return [(title, f"{title} over steps: {ends}", line_chart(lines, name=name, floor=floor))]


def _terms(data: ReportData, model: str, position: int) -> dict[str, Any] | None:
    """Return one model's losses term by term, or None where its total is all that was logged."""
    rows = data.curves[model]
    keys = [key for key in _logged(rows) if "loss" in key and key != "loss"]
    lines = {key: line_of(rows, key, model_stroke(i), noisy=True) for i, key in enumerate(keys)}
    return _detail(f"Loss of {model}, term by term", f"Loss terms of {model}", lines, f"terms-{position}")


def _task_weights(data: ReportData, model: str, position: int) -> dict[str, Any] | None:
    """Return what one model's tasks weighed over its training, or None where nothing balanced them."""
    rows = data.curves[model]
    keys = [key for key in _logged(rows) if key.startswith(TASK_WEIGHT)]
    lines = {key.removeprefix(TASK_WEIGHT): line_of(rows, key, model_stroke(i)) for i, key in enumerate(keys)}
    return _detail(
        f"Weights of {model}'s tasks, by which their losses are multiplied",
        f"Task weights of {model}",
        lines,
        f"weights-{position}",
    )


def _logged(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _detail(summary: str, title: str, lines: Mapping[str, Line | None], name: str) -> dict[str, Any] | None:
    """Return a chart to be unfolded and its legend, or None without lines."""
    found = {key: line for key, line in lines.items() if line is not None}
    if not found:
        return None
    (chart,) = _chart(title, list(found.values()), name)
    return {"summary": summary, "legend": legend({key: line.stroke for key, line in found.items()}), "chart": chart}


# -------------------------------------------------------------------- what ran


def what_ran(data: ReportData) -> str | None:
    """Return the section that says how the figures came about and how to come by them again."""
    manifest = data.manifest
    words = manifest.get("command") or ["fineseg", "run", data.profile]
    command = words if isinstance(words, str) else shlex.join(words)
    return render_section(
        "what_ran",
        data=data,
        manifest=manifest,
        command=command,
        facts=_facts(manifest),
        resolved=json.dumps(manifest.get("profile", {}), indent=2, default=str, ensure_ascii=False),
        stages=[(name, duration(seconds), seconds) for name, seconds in manifest.get("seconds", {}).items()],
        trainings=manifest.get("trainings", {}),
        work=_work_words(manifest.get("work", {})),
        full=_full(command, data) if "--demo" in command.split() else None,
    )


def _full(command: str, data: ReportData) -> str:
    """Return the command that does at full size what was done at demo size; the verbs take a profile, one a table."""
    words = shlex.split(command)
    table = [data.manifest["table"]] if "table" in data.manifest else []
    variant = [word for before, word in pairwise(words) if "--variant" in (before, word)]
    variant += [word for word in words if word.startswith("--variant=")]
    return shlex.join([*words[:2], data.profile, *table, *variant])


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is said in a line each, as (what, value); what the manifest lacks is left out."""
    git, hardware, software = manifest.get("git"), manifest.get("hardware", {}), manifest.get("environment", {})
    gpus = hardware.get("gpus") or []
    facts = [
        ("Started", manifest.get("started")),
        ("Git commit", None if git is None else git["commit"] + (", with uncommitted changes" if git["dirty"] else "")),
        ("Data", manifest.get("data", {}).get("root")),
        *_shared(manifest.get("profile", {})),
        ("Processor", software.get("processor")),
        ("CPUs", hardware.get("cpus")),
        ("Memory", f"{hardware['memory_gib']} GiB" if "memory_gib" in hardware else None),
        ("GPUs", (", ".join(map(str, gpus)) or "none") if "gpus" in hardware else None),
        ("Platform", software.get("platform")),
        ("Python", software.get("python")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _shared(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each of the competition's models with ends: what these share, and what is each one's own."""
    lines, models = [], profile.get("models", {})
    chosen = profile.get("competition", {}).get("models") or models
    for name, table in models.items():
        if name in chosen and table.get("ends"):
            ends = " and ".join(f"{name}/{end} ({choice['name']})" for end, choice in table["ends"].items())
            shared = f"backbone {table['backbone']['name']} and neck {table['neck']['name']}"
            how = table.get("ends_training") or "joint"
            lines.append((f"Ends of {name}", f"{ends} share {shared}, {how} training; all else is each end's own"))
    return lines


def _work_words(work: Mapping[str, int]) -> str:
    """Return what was computed, in words; what was found in the store is no work."""
    if not work:
        return ""
    if not any(work.values()):
        return "nothing was left to compute"
    units = {"optimizer_steps": "optimizer steps", "forward_passes": "images predicted"}
    return ", ".join(f"{count:,} {units.get(name, name.replace('_', ' '))}" for name, count in work.items())
