"""The sections of a report that are read from the matching: where AP is lost, precision over recall, sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from fineseg.report.charts import count_bars, legend, percent_lines
from fineseg.report.colours import class_colours, strokes_of
from fineseg.report.records import Analysis, Numbers, ReportData
from fineseg.report.sections import COMBINED, best_model, is_combined
from fineseg.report.templates import render_section

TEMPLATE = "analysis.html.jinja"
KINDS = {
    "localisation": "right class, IoU .1 to .5 with its object",
    "classification": "IoU from .5 with an object of another class",
    "both": "IoU .1 to .5 with an object of another class",
    "duplicate": "a better scored detection has the object already",
    "background": "IoU below .1 with everything",
    "missed": "objects that no detection comes near",
}
"""Kinds of errors and what they are, in the order of the page."""
IOUS = {"50": "IoU .50", "75": "IoU .75", "mean": "Mean over IoU .50:.95"}
RECALL_TICKS = tuple((part / 100, str(part)) for part in range(0, 101, 25))
SHOWN_CLASSES = 4
"""Classes of the highest AP, and as many of the lowest, whose curves are shown at once."""
SHOWN_CONFUSIONS = 10
SIZE_TICKS = 7


@dataclass(frozen=True)
class Loss:
    """A cell: AP points that mending would gain, how many errors, and the gain as a part [percent] of the highest."""

    gain: float | None
    count: int
    share: float


def analysed(data: ReportData) -> dict[str, Analysis]:
    """Return the analyses in the order of the page: models as the run has them, then the combination."""
    names = [*data.metrics["models"], *([COMBINED] if is_combined(data) else [])]
    return {name: data.analyses[name] for name in names if name in data.analyses}


def chief(data: ReportData) -> str | None:
    """Return whose errors and images count most: the combination, else the best model."""
    found = analysed(data)
    return COMBINED if COMBINED in found else best_model({"models": {n: data.metrics["models"][n] for n in found}})


# ------------------------------------------------------------ where AP is lost


def errors(data: ReportData) -> str | None:
    """Return the section of what each kind of error costs, or None where nothing was analysed."""
    found, name = analysed(data), chief(data)
    if not found or name is None:
        return None
    highest = max((gain or 0.0 for each in found.values() for gain in each.gains.values()), default=0.0)
    rows = [(kind, KINDS[kind], [_loss(each, kind, highest) for each in found.values()]) for kind in KINDS]
    return render_section(
        "errors",
        TEMPLATE,
        names=list(found),
        base=[each.ap50 for each in found.values()],
        rows=rows,
        verdict=_verdict(name, found[name]),
        chief=name,
        confusions=_confusions(data, found[name]),
    )


def _loss(analysis: Analysis, kind: str, highest: float) -> Loss:
    gain = analysis.gains[kind]
    return Loss(gain, analysis.counts[kind], 100 * max(0.0, gain or 0.0) / highest if highest > 0 else 0.0)


def _verdict(name: str, analysis: Analysis) -> str | None:
    gains = {kind: gain for kind, gain in analysis.gains.items() if gain is not None and gain > 0}
    if not gains or analysis.ap50 is None:
        return None
    worst = max(gains, key=gains.__getitem__)
    reached = analysis.ap50 + gains[worst]
    return (
        f"{name} loses most to the error “{worst}”: without it its AP50 of {analysis.ap50:.1f} would be {reached:.1f}."
    )


def _confusions(data: ReportData, analysis: Analysis) -> list[tuple[str, str, int]]:
    names = [category.name for category in data.categories]
    return [(names[true], names[said], count) for true, said, count in analysis.confusions[:SHOWN_CONFUSIONS]]


# ------------------------------------------------------ precision over recall


def precision_recall(data: ReportData) -> str | None:
    """Return the section of precision over recall: over all classes, of the best and worst, and of each."""
    found, name = analysed(data), chief(data)
    if not found or name is None:
        return None
    strokes = strokes_of(list(found), COMBINED)

    def chart(title: str, curves: dict[str, Numbers]) -> Markup:
        areas = ", ".join(f"{model} {_area(values):.1f}" for model, values in curves.items())
        lines = [(values, strokes[model]) for model, values in curves.items()]
        return percent_lines(
            lines, RECALL_TICKS, ("recall [%]", "precision [%]"), f"{title}: precision over recall; area below: {areas}"
        )

    overall = [
        (title, chart(title, {m: a.mean_precision[key] for m, a in found.items()}))
        for key, title in IOUS.items()
        if None not in found[name].mean_precision[key]
    ]
    by_class, colours = [], class_colours(data.categories)
    for label in _ranked(found[name]):
        curves = {m: curve for m, a in found.items() if (curve := a.precision["mean"][label]) is not None}
        title = data.categories[label].name
        by_class.append((title, colours[label], f"{_area(curves[name]):.1f}", chart(title, curves)))
    if not overall:
        return None
    shown = by_class if len(by_class) <= 2 * SHOWN_CLASSES else by_class[:SHOWN_CLASSES] + by_class[-SHOWN_CLASSES:]
    rest = [] if shown is by_class else by_class[SHOWN_CLASSES:-SHOWN_CLASSES]
    return render_section(
        "precision_recall", TEMPLATE, legend=legend(strokes), overall=overall, shown=shown, rest=rest, chief=name
    )


def _area(values: Numbers) -> float:
    measured = [value for value in values if value is not None]
    return sum(measured) / max(1, len(measured))


def _ranked(analysis: Analysis) -> list[int]:
    """Return the classes with truth by falling AP."""
    areas = {label: _area(values) for label, values in enumerate(analysis.precision["mean"]) if values is not None}
    return sorted(areas, key=lambda label: -areas[label])


# ------------------------------------------------------------ sizes of objects


def object_sizes(data: ReportData) -> str | None:
    """Return the section of how large the true objects are and how many of each size are found."""
    found = analysed(data)
    first = next(iter(found.values()), None)
    if first is None or not first.objects:
        return None
    strokes = strokes_of(list(found), COMBINED)
    ticks = _size_ticks(first.edges)
    words = "; ".join(f"{name} {count:,}" for name, count in zip(_buckets(first.edges), first.objects, strict=True))
    charts = [
        (
            "True objects",
            count_bars(first.objects, ticks, ("side length [pixels]", "objects"), f"True objects by size: {words}"),
        )
    ]
    for title, key in (("Recall at IoU .50", "recall50"), ("Recall, mean over IoU .50:.95", "recall")):
        lines = [(getattr(analysis, key), strokes[name]) for name, analysis in found.items()]
        text = f"{title} by size, as in the table below"
        charts.append((title, percent_lines(lines, ticks, ("side length [pixels]", "recall [%]"), text, middles=True)))
    columns = list(zip(*(analysis.recall50 for analysis in found.values()), strict=True))
    rows = list(zip(_buckets(first.edges), first.objects, columns, strict=True))
    ranges = _ranges(data)
    return render_section(
        "sizes", TEMPLATE, legend=legend(strokes), charts=charts, names=list(found), rows=rows, ranges=ranges
    )


def _buckets(edges: Sequence[float]) -> list[str]:
    return [f"{low:.0f} to {high:.0f}" for low, high in pairwise(edges)]


def _size_ticks(edges: Sequence[float]) -> list[tuple[float, str]]:
    step = -(-len(edges) // SIZE_TICKS)
    return [(n / (len(edges) - 1), f"{edges[n]:.0f}") for n in range(0, len(edges), step)]


def _ranges(data: ReportData) -> list[str]:
    """Return the profile's area ranges as side lengths, in words."""
    ranges: dict[str, Any] = data.manifest.get("profile", {}).get("metric", {}).get("area_ranges", {})
    return [
        f"{name} from {low**0.5:.0f}" + (f" to {high**0.5:.0f}" if high < 1e10 else "")
        for name, (low, high) in ranges.items()
    ]
