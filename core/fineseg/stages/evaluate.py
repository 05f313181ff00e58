"""evaluate: mask AP of each model and of the combination on the held-out split, as the competition counts it."""

import math
from collections.abc import Mapping

from fineseg.metrics.mask_ap import APResult, mask_ap
from fineseg.predictions import Instances
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.store import content_key, read_json, write_json


def evaluate(
    context: Context, prepared: Prepared, title: str, key: str, predictions: Mapping[int, Instances]
) -> APResult:
    """Score predictions of the validation split; `key` is the content key of the predictions."""
    metric = context.profile.metric
    digest = prepared.digests[prepared.splits.validation.name]
    entry = content_key({"predictions": key, "metric": metric.model_dump(mode="json"), "split": digest})
    file = context.store.folder("evaluate", entry) / "scores.json"
    if not file.exists():
        with context.console.task(f"score {title}"):
            result = mask_ap(
                prepared.splits.validation,
                predictions,
                area_ranges=metric.area_ranges,
                max_detections=metric.max_detections,
            )
        write_json(file, result.plain())
    stored = read_json(file)
    return APResult(
        summary={name: _nan(value) for name, value in stored["summary"].items()},
        per_class=tuple(_nan(value) for value in stored["per_class"]),
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
