"""What a report is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fineseg.data.split import Category, ImageInfo, TrueObject
from fineseg.predictions import Instances


@dataclass(frozen=True)
class Example:
    """One image of the held-out split with its true objects and what was predicted, by model and combined."""

    image: ImageInfo
    truth: tuple[TrueObject, ...]
    models: Mapping[str, Instances]
    combined: Instances | None


@dataclass(frozen=True)
class ReportData:
    """All that sections may show.

    `metrics` is metrics.json: {"models": {name: {"segm": {"AP": percent or None, ...}}}, "combined": {"segm": {...}}}.
    `per_class` has the AP [percent] of each category, nan without truth, by model name or "combined". `curves` has, by
    model, rows of one step ("step", "lr", "loss", "loss_cls", ...) and of one validation ("step", "AP", ...).
    `manifest` is manifest.json; `submission` is None for a run that wrote none.
    """

    title: str
    profile: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=lambda: {"models": {}})
    per_class: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    categories: tuple[Category, ...] = ()
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    submission: Path | None = None


Section = Callable[[ReportData], str | None]
"""Returns an HTML fragment whose first element is an <h2> with the section's title, or None to be left out.

The fragment goes onto the page as it is: text from outside must be escaped in it.
"""
