"""What may be spent: time on the clock, or work, which is cores or GPUs times seconds."""

import re
from dataclasses import dataclass
from typing import Literal

from fineseg.console import duration
from fineseg.errors import FinesegError

Kind = Literal["clock", "cpu", "gpu"]
UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0}
FORMS = "a time such as 8h, 30m, 90s or 1h30m, or work such as 2gpu-h or 30cpu-m"


@dataclass(frozen=True)
class Budget:
    """What may be spent: seconds on the clock, or core-seconds ("cpu") or GPU-seconds ("gpu")."""

    kind: Kind
    seconds: float

    def words(self, seconds: float | None = None) -> str:
        """Return the budget, or another amount of its kind, as people write it."""
        amount = self.seconds if seconds is None else seconds
        return duration(amount) if self.kind == "clock" else work_words(amount, gpu=self.kind == "gpu")

    def check(self, *, gpu: bool) -> None:
        """Raise `FinesegError` where the trainings spend the other kind of work than the budget is of."""
        if self.kind != "clock" and gpu != (self.kind == "gpu"):
            where, right = ("GPUs", "2gpu-h") if gpu else ("the CPU", "30cpu-m")
            raise FinesegError(
                f"budget of {self.words()}: the trainings run on {where} here; give one such as {right} or 8h"
            )


def seconds_of(text: str) -> float:
    """Return a time span such as 8h, 30m, 90s or 1h30m in seconds; raises `ValueError` for anything else."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if not (total := 3600 * hours + 60 * minutes + seconds):
        raise ValueError(f'must be a time such as 8h, 30m, 90s or 1h30m, not "{text}"')
    return float(total)


def budget_of(text: str) -> Budget:
    """Return a budget such as 8h, 2gpu-h, 1.5gpu-h or 30cpu-m; raises `ValueError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(cpu|gpu)-([hms])", text)
    try:
        if match is None:
            return Budget("clock", seconds_of(text))
        amount, kind = float(match[1]) * UNIT[match[3]], match[2]
        if not amount:
            raise ValueError
    except ValueError:
        raise ValueError(f'must be {FORMS}, not "{text}"') from None
    return Budget("gpu" if kind == "gpu" else "cpu", amount)


def work_words(seconds: float, *, gpu: bool) -> str:
    """Return an amount of work as people write it: `0.4 CPU-hours`, `2.5 GPU-minutes`, `7 CPU-seconds`."""
    name = "GPU" if gpu else "CPU"
    if seconds >= 360:
        return f"{seconds / 3600:.1f} {name}-hours"
    return f"{seconds / 60:.1f} {name}-minutes" if seconds >= 60 else f"{seconds:.3g} {name}-seconds"
