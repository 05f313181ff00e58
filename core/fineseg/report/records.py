"""What a report is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import Category, ImageInfo, TrueObject
from fineseg.predictions import Instances


@dataclass(frozen=True)
class Example:
    """One image of the held-out split with its true objects and what was predicted, by model and combined.

    `group` says why it is shown. `scores` are the image's own AP [percent] by model and "combined", where it has one.
    """

    image: ImageInfo
    truth: tuple[TrueObject, ...]
    models: Mapping[str, Instances]
    combined: Instances | None
    group: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MapExample:
    """One image of the held-out split with its true panoptic map and those that were predicted, by model."""

    image: ImageInfo
    truth: PanopticMap
    models: Mapping[str, PanopticMap]


Numbers = Sequence[float | None]
"""Figures in which None stands for what has no truth to be measured against."""


@dataclass(frozen=True)
class Analysis:
    """What the matching of one model's predictions tells; AP and precision in percent.

    `precision` by IoU ("50", "75", "mean" over .50:.95) and class has a value for each recall 0:.01:1, None for a class
    without truth; `mean_precision` is the mean over classes. `ap50` and the `gains` and `counts` of errors by kind, and
    `confusions` (true label, detected label, how often), are at IoU .50. `edges` [B + 1] are side lengths [pixels],
    between which `objects` [B] lie, of which `recall50` and `recall` (mean over .50:.95) [B] percent are found.
    """

    mean_precision: Mapping[str, Numbers]
    precision: Mapping[str, Sequence[Numbers | None]]
    ap50: float | None
    gains: Mapping[str, float | None]
    counts: Mapping[str, int]
    confusions: Sequence[tuple[int, int, int]]
    edges: Sequence[float]
    objects: Sequence[int]
    recall50: Numbers
    recall: Numbers


@dataclass(frozen=True)
class ReportData:
    """All that sections may show.

    `metrics` is metrics.json: {"models": {name: {"segm": {"AP": percent or None, ...}}}, "combined": {"segm": {...}}}.
    `per_class` has the AP [percent] of each category, nan without truth, by model name or "combined"; `per_area` that
    of each category by the name of an area range; `analyses` go by the same names. `curves` has, by model, rows of one
    step ("step", "lr", "loss", "loss_cls", ...) and of one validation ("step", "AP", ...). `manifest` is manifest.json;
    `submission` is None for a run that wrote none. Of panoptic models the metrics also have "panoptic" ({"All": {"pq",
    "sq", "rq", "n"}, "Things", "Stuff"}) and, where it was scored, "semantic"; `class_pq` has the PQ [percent] of each
    of `panoptic_classes`, things first, by the same names. `class_table` is a `ClassTable.plain()`, of a fuser that
    takes each class of things from one model.
    """

    title: str
    profile: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=lambda: {"models": {}})
    per_class: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    per_area: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    categories: tuple[Category, ...] = ()
    analyses: Mapping[str, Analysis] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    submission: Path | None = None
    panoptic_classes: tuple[Category, ...] = ()
    class_pq: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    map_examples: Sequence[MapExample] = ()
    class_table: Mapping[str, Any] | None = None


Section = Callable[[ReportData], str | None]
"""Returns an HTML fragment whose first element is an <h2> with the section's title, or None to be left out.

The fragment goes onto the page as it is: text from outside must be escaped in it.
"""
