"""The section of a report on the folds: what each model's trainings scored on the fold that they left out."""

import statistics
from typing import Any

from fineseg.report.records import ReportData
from fineseg.report.templates import render_section

FIGURE = "AP"


def folds(data: ReportData) -> str | None:
    """Return the section with a row for each model, or None for a run without folds."""
    record = data.manifest.get("folds")
    if not record:
        return None
    rows = {
        model: _row([part[FIGURE] for part in table["folds"]])
        for model, table in data.metrics["models"].items()
        if "folds" in table
    }
    return render_section("folds", "folds.html.jinja", rows=rows, images=record["images"], seed=record["seed"])


def _row(values: list[float | None]) -> dict[str, Any]:
    """Return one model's figures, their mean, and their sample standard deviation; None where there is nothing."""
    known = [value for value in values if value is not None]
    return {
        "values": values,
        "mean": statistics.fmean(known) if known else None,
        "spread": statistics.stdev(known) if len(known) > 1 else None,
    }
