"""The section of a report that tells what its results have cost."""

from collections.abc import Mapping
from typing import Any

from fineseg.console import duration
from fineseg.report.records import ReportData
from fineseg.report.templates import render_section

UNITS = ("steps", "images")
"""What is counted of the stages."""


def cost(data: ReportData) -> str | None:
    """Return the section with a row for each model and stage, or None where the manifest tells nothing of it."""
    table = data.manifest.get("cost")
    if not table or not table["rows"]:
        return None
    rows = [
        {
            "models": ", ".join(row["models"]),
            "stage": row["stage"],
            "at_work": _at_work(row),
            "memory": _memory(row),
            "now": share_words(row["now"]),
            "ever": share_words(row["ever"]),
        }
        for row in table["rows"]
    ]
    totals = {share: share_words(table[share]) for share in ("now", "ever")}
    return render_section("cost", "cost.html.jinja", rows=rows, totals=totals)


def share_words(share: Mapping[str, float]) -> tuple[str, str, str]:
    """Return of what was spent how much was done, the time and the work, as people write them; dashes for nothing."""
    counts = [f"{share[name]:,.0f} {name}" for name in UNITS if share.get(name)]
    work = [f"{share[key]:.3g} {name}" for key, name in (("gpu_hours", "GPU-h"), ("cpu_hours", "CPU-h")) if share[key]]
    return ", ".join(counts) or "-", duration(share["seconds"]) if share["seconds"] else "-", ", ".join(work) or "-"


def _at_work(row: Mapping[str, Any]) -> str:
    """Return the processes, what they have in all, and on what they ran."""
    workers, cores, gpus = (row.get(name) for name in ("workers", "cores", "gpus"))
    parts = [f"{workers} worker{'s' * (workers != 1)}"] if workers else []
    if gpus:
        parts.append(f"{gpus} GPU{'s' * (gpus != 1)}")
    elif cores:
        parts.append(f"{cores} core{'s' * (cores != 1)}")
    return ", ".join(parts) or "-"


def _memory(row: Mapping[str, Any]) -> str:
    found = [(row.get("memory_gib"), "GiB"), (row.get("gpu_memory_gib"), "GiB of the GPU")]
    return ", ".join(f"{value:.2f} {unit}" for value, unit in found if value is not None) or "-"
