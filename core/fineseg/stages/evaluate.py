"""evaluate: mask AP of each model and of the combination on the held-out split, as the competition counts it."""

from typing import Any

from fineseg.metrics.mask_ap import APResult, instance_ap
from fineseg.runs import part_key
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.submit import as_submitted
from fineseg.store import content_key, read_json, write_json


def evaluate(
    context: Context, prepared: Prepared, predicted: Predicted, *, submitted: bool = False
) -> dict[str, APResult]:
    """Score what was predicted of the validation split, by kind: AP of "segm" and "boundary", IoU of "holes".

    `submitted` predictions are scored as the profile's submission format hands them in.
    """
    metric, split, submission = context.profile.metric, prepared.splits.validation, context.profile.submission
    content: dict[str, Any] = {
        "predictions": predicted.key,
        "metric": metric.model_dump(mode="json"),
        "split": prepared.digests[split.name],
        "kinds": ["segm", "boundary", "holes"],
    }
    if submitted and submission is not None:
        content["submission"] = part_key(context.catalog, "submission", submission.format)
    file = context.store.folder("evaluate", content_key(content)) / "scores.json"
    if not file.exists():
        with context.console.task(f"score {predicted.model}"):
            predictions = predicted.read()
            results = instance_ap(
                split,
                as_submitted(context, split, predictions) if submitted else predictions,
                area_ranges=metric.area_ranges,
                max_detections=metric.max_detections,
            )
        write_json(file, {kind: result.plain() for kind, result in results.items()})
    return {kind: APResult.from_plain(stored) for kind, stored in read_json(file).items()}
