"""analyse: what the report tells beyond scores, read from one matching of each model's predictions with the truth."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fineseg.metrics.curves import class_precision, image_ap, recall_by_size
from fineseg.metrics.errors import losses
from fineseg.metrics.matching import Matches, match
from fineseg.report.records import Analysis
from fineseg.stages.context import Context
from fineseg.stages.evaluate import scored_predictions, scoring_content
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.store import content_key, read_json, write_json

RECIPE = 1
"""Raise it when the same predictions are told of differently."""
IOUS = {"50": slice(0, 1), "75": slice(5, 6), "mean": slice(None)}
"""Of the IoU thresholds .50:.05:.95, those that a curve is the mean over."""
SMALLEST, OCTAVES = 8.0, 12
"""Side length [pixels] below which objects share one bucket, and how often it doubles in the others, in two steps."""
CONFUSIONS = 100


@dataclass(frozen=True)
class Analysed:
    """What the report shows of one model, and the AP [percent] of each image with true objects by its id."""

    analysis: Analysis
    image_ap: Mapping[int, float]


def analyse(context: Context, prepared: Prepared, predicted: Predicted, *, submitted: bool = False) -> Analysed:
    """Match what was predicted of the validation split with its truth, and keep what that tells.

    `submitted` predictions are taken as the profile's submission format hands them in.
    """
    split = prepared.splits.validation
    content = scoring_content(context, prepared, predicted, submitted=submitted) | {"recipe": RECIPE}
    file = context.store.folder("analyse", content_key(content)) / "analysis.json"
    if not file.exists():
        with context.console.task(f"analyse {predicted.model}", len(split.images), "images") as task:
            found = scored_predictions(context, split, predicted, submitted=submitted)
            matches = match(split, found, max(context.profile.metric.max_detections), task.update)
            table = {"analysis": asdict(analysis_of(matches)), "image_ap": list(image_ap(matches).items())}
        write_json(file, table)
    stored: dict[str, Any] = read_json(file)
    return Analysed(Analysis(**stored["analysis"]), dict(stored["image_ap"]))


def analyse_all(
    context: Context, prepared: Prepared, predicted: Mapping[tuple[str, str], Predicted], combined: Predicted
) -> dict[str, Analysed]:
    """Analyse each model that finds instances, and under "combined" their combination where it has some."""
    found = {
        model: analyse(context, prepared, answer)
        for (model, role), answer in predicted.items()
        if role == "validation" and "instances" in answer.gives
    }
    if context.profile.combine is not None and "instances" in combined.gives:
        found["combined"] = analyse(context, prepared, combined, submitted=True)
    return found


def analysis_of(matches: Matches) -> Analysis:
    """Return what one matching tells as plain numbers; percent with two decimals."""
    precision = {name: 100.0 * class_precision(matches)[part].mean(axis=0) for name, part in IOUS.items()}
    lost = losses(matches)
    edges, objects, recall = _sizes(matches)
    return Analysis(
        mean_precision={name: _plain(_over_classes(table)) for name, table in precision.items()},
        precision={
            name: [None if np.isnan(column).all() else _plain(column) for column in table.T]
            for name, table in precision.items()
        },
        ap50=_plain(np.array([lost.ap]))[0],
        gains=dict(zip(lost.gains, _plain(np.array(list(lost.gains.values()))), strict=True)),
        counts=lost.counts,
        confusions=lost.confusions[:CONFUSIONS],
        edges=edges.tolist(),
        objects=objects.tolist(),
        recall50=_plain(recall[:, 0]),
        recall=_plain(recall.mean(axis=1)),
    )


def _over_classes(table: np.ndarray) -> np.ndarray:
    """Return the mean [R] of a table [R, K] over the classes with truth, nan where none has."""
    measured = table[:, ~np.isnan(table).all(axis=0)]
    return measured.mean(axis=1) if measured.size else np.full(len(table), np.nan)


def _sizes(matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return edges [B + 1], objects [B] and recall [B, T] in percent of buckets from the smallest to the largest."""
    edges = np.concatenate([[0.0], SMALLEST * 2.0 ** (np.arange(2 * OCTAVES + 1) / 2)])
    objects, found = recall_by_size(matches, edges)
    used = np.flatnonzero(objects)
    kept = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
    with np.errstate(invalid="ignore"):
        recall = 100.0 * found / objects[:, None]
    return edges[kept.start : kept.stop + 1].round(1), objects[kept], recall[kept]


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 2) for value in values]
