"""What results have cost, from the ledgers of their entries: one row for each epoch trained and each shard predicted.

A row holds "seconds", "steps" or "images", and what was at work meanwhile: "workers", "cores" and "gpus" in all, the
"device", and the peak memory of one process [GiB]. Work on GPUs counts as GPU-hours (GPUs x time), any other as
CPU-hours (cores x time). What a process did before it was killed in the middle of an epoch or shard is in no row.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fineseg.profile.budget import Budget
from fineseg.store import LEDGER, read_rows

Row = Mapping[str, Any]
COUNTED = {"train": "steps", "predict": "images"}
"""What the rows of a stage count."""


def work_of(row: Row, *, gpu: bool) -> float:
    """Return the GPU-seconds of a row, or the core-seconds of one that had no GPU."""
    if bool(row.get("gpus")) != gpu:
        return 0.0
    # rows of older stores do not tell their cores: one a worker is the least
    units = row["gpus"] if gpu else row.get("cores") or row.get("workers") or 1
    return float(units * row["seconds"])


def spent(rows: Sequence[Row], stage: str) -> dict[str, float]:
    """Return what rows of a stage add up to: what they count, seconds, CPU-hours and GPU-hours."""
    return {
        COUNTED[stage]: sum(row[COUNTED[stage]] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "cpu_hours": round(sum(work_of(row, gpu=False) for row in rows) / 3600, 5),
        "gpu_hours": round(sum(work_of(row, gpu=True) for row in rows) / 3600, 5),
    }


def rows_before(store: Path) -> dict[Path, int]:
    """Return how many rows each ledger of a store has: what a command adds to them is its own share."""
    return {file: len(read_rows(file)) for stage in COUNTED for file in store.glob(f"{stage}/*/{LEDGER}")}


def cost_table(used: Iterable[tuple[str, str, Path]], before: Mapping[Path, int]) -> dict[str, Any]:
    """Return what the results that a run used have cost, as plain data.

    `used` are (stage, model, entry's folder); an entry that several models share counts once, in a row with all their
    names. `before` is what `rows_before` said when the command started: "now" is this command's share, "ever" all.
    """
    models: dict[tuple[str, Path], list[str]] = {}
    for stage, model, folder in used:
        names = models.setdefault((stage, folder), [])
        if model not in names:
            names.append(model)
    ledgers: dict[tuple[str, tuple[str, ...]], list[Path]] = {}
    for (stage, folder), names in models.items():
        ledgers.setdefault((stage, tuple(names)), []).append(folder / LEDGER)
    rows = [_table_row(stage, names, files, before) for (stage, names), files in ledgers.items()]
    return {"rows": rows, **{share: _total([row[share] for row in rows]) for share in ("now", "ever")}}


def _table_row(stage: str, names: Sequence[str], files: Sequence[Path], before: Mapping[Path, int]) -> dict[str, Any]:
    found = {file: read_rows(file) for file in files}
    ever = [row for rows in found.values() for row in rows]
    now = [row for file, rows in found.items() for row in rows[before.get(file, 0) :]]
    most = {
        name: max((row[name] for row in ever if name in row), default=None)
        for name in ("workers", "cores", "gpus", "memory_gib", "gpu_memory_gib")
    }
    devices = sorted({row["device"] for row in ever if "device" in row})
    shares = {"now": spent(now, stage), "ever": spent(ever, stage)}
    return {"stage": stage, "models": list(names), **most, "devices": devices, **shares}


def _total(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for share in shares for name in share)
    return {name: round(sum(share.get(name, 0) for share in shares), 5) for name in names}


@dataclass
class Meter:
    """Says what the trainings of a command have spent of its budget: plain data that any process can read.

    Work is counted from the ledgers that are `watched`, without the rows of before; the clock runs from `started` [s,
    as time.time()]. What others do in an epoch that has not ended is not known yet.
    """

    budget: Budget
    started: float = field(default_factory=time.time)
    watched: dict[str, int] = field(default_factory=dict)

    def watch(self, folder: str | Path) -> None:
        """Count what a training adds from now on to the ledger in its entry."""
        ledger = Path(folder) / LEDGER
        self.watched.setdefault(str(ledger), len(read_rows(ledger)))

    def spent(self) -> float:
        """Return what is spent, in the budget's seconds."""
        if self.budget.kind == "clock":
            return time.time() - self.started
        rows = [row for file, before in self.watched.items() for row in read_rows(Path(file))[before:]]
        return sum(work_of(row, gpu=self.budget.kind == "gpu") for row in rows)

    def is_spent(self) -> bool:
        """Say whether nothing is left."""
        return self.spent() >= self.budget.seconds
