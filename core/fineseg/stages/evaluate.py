"""evaluate: mask AP of each model and of the combination on the held-out split, as the competition counts it."""

from collections.abc import Mapping
from typing import Any

from fineseg.data.split import Split
from fineseg.metrics.mask_ap import APResult, instance_ap
from fineseg.parts import Submission
from fineseg.predictions import Instances
from fineseg.runs import part_key
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.submit import as_submitted
from fineseg.store import content_key, read_json, write_json


def evaluate_models(
    context: Context, prepared: Prepared, predicted: Mapping[tuple[str, str], Predicted], *, submitted: bool = False
) -> dict[str, dict[str, APResult]]:
    """Score all answers for the validation split that have instances, by model; see `evaluate`."""
    return {
        model: evaluate(context, prepared, answer, submitted=submitted)
        for (model, role), answer in predicted.items()
        if role == "validation" and "instances" in answer.gives
    }


def evaluate(
    context: Context, prepared: Prepared, predicted: Predicted, *, submitted: bool = False
) -> dict[str, APResult]:
    """Score what was predicted of the validation split, by kind: AP of "segm" and "boundary", IoU of "holes".

    `submitted` predictions are scored as the profile's submission format hands them in.
    """
    metric, split = context.profile.metric, prepared.splits.validation
    content = scoring_content(context, prepared, predicted, submitted=submitted)
    content |= {"kinds": ["segm", "boundary", "holes"], "rows": "by area"}
    file = context.store.folder("evaluate", content_key(content)) / "scores.json"
    if not file.exists():
        with context.console.task(f"score {predicted.model}"):
            results = instance_ap(
                split,
                scored_predictions(context, split, predicted, submitted=submitted),
                area_ranges=metric.area_ranges,
                max_detections=metric.max_detections,
            )
        write_json(file, {kind: result.plain() for kind, result in results.items()})
    return {kind: APResult.from_plain(stored) for kind, stored in read_json(file).items()}


def scoring_content(
    context: Context, prepared: Prepared, predicted: Predicted, *, submitted: bool = False
) -> dict[str, Any]:
    """Return what goes into the content key of whatever is measured of predictions of the validation split."""
    submission = context.profile.submission
    content: dict[str, Any] = {
        "predictions": predicted.key,
        "metric": context.profile.metric.model_dump(mode="json"),
        "split": prepared.digests[prepared.splits.validation.name],
    }
    if submitted and submission is not None and _is_read_back(context, submission.format.name):
        content["submission"] = part_key(context.catalog, "submission", submission.format)
    return content


def _is_read_back(context: Context, name: str) -> bool:
    part = context.catalog.find("submission", name).part
    return isinstance(part, Submission) and part.read is not None


def scored_predictions(
    context: Context, split: Split, predicted: Predicted, *, submitted: bool = False
) -> Mapping[int, Instances]:
    """Read predictions by image id; `submitted` ones as the profile's submission format hands them in."""
    predictions = predicted.read()
    return as_submitted(context, split, predictions) if submitted else predictions
