"""The section of a report that tells what was searched on the held-out split, and what it is worth."""

from collections.abc import Mapping
from typing import Any

from fineseg.report.records import ReportData
from fineseg.report.templates import render_section


def search(data: ReportData) -> str | None:
    """Return the section with the figures of the search and its settings, or None where nothing was searched."""
    found = data.metrics.get("search")
    if found is None:
        return None
    columns = [*found["setting"]["weights"], *found["setting"]["options"]]
    options = {name for setting in found["folds"] for name in setting["options"]} - set(columns)
    columns += sorted(options)
    rows = [("all images", _cells(found["setting"], columns))]
    rows += [(f"without part {n}", _cells(setting, columns)) for n, setting in enumerate(found["folds"], start=1)]
    return render_section("search", "search.html.jinja", found=found, columns=columns, rows=rows)


def _cells(setting: Mapping[str, Any], columns: list[str]) -> list[str]:
    """Return weights and options by column, and the thresholds."""
    values = {**setting["weights"], **setting["options"]}
    return [_word(values.get(name, "as set")) for name in columns] + [_thresholds(setting["thresholds"])]


def _thresholds(least: Any) -> str:
    if not isinstance(least, Mapping):
        return _word(least) if least else "none"
    return ", ".join(f"{name} {value:g}" for name, value in least.items() if value) or "none"


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
