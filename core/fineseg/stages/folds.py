"""folds: what each training scored on the fold that it left out, and a model's answers for the test split made one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fineseg.metrics.mask_ap import APResult, model_score
from fineseg.predictions import write_instances
from fineseg.profile.schema import HeldOutTable
from fineseg.runs import part_key
from fineseg.stages.combine import merge_split
from fineseg.stages.context import Context
from fineseg.stages.evaluate import evaluate
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.store import content_key, read_json

Answers = Mapping[tuple[str, str], Predicted]


def evaluate_folds(context: Context, prepared: Prepared, predicted: Answers) -> dict[str, list[APResult]]:
    """Return the mask AP of each model's trainings, each on the fold that it left out, in the order of the folds."""
    answers = {
        model: found
        for (model, role), found in predicted.items()
        if role == "validation" and found.parts and "instances" in found.gives
    }
    return {
        model: [evaluate(context, own, part)["segm"] for own, part in zip(prepared.folds, answer.parts, strict=True)]
        for model, answer in answers.items()
    }


def merge_answers(
    context: Context, prepared: Prepared, predicted: Answers, results: Mapping[str, Sequence[APResult]]
) -> dict[tuple[str, str], Predicted]:
    """Return the predictions, in the profile's order of models, with one answer where several trainings gave one each.

    The ensembler that the profile names merges them, told what each training scored on the fold that it left out.
    """
    order = context.profile.predictions
    return {
        (model, role): answer if answer.files or not answer.parts else _merge(context, prepared, answer, results[model])
        for (model, role), answer in sorted(predicted.items(), key=lambda item: order.index(item[0][0]))
    }


def _merge(context: Context, prepared: Prepared, answer: Predicted, results: Sequence[APResult]) -> Predicted:
    table = context.profile.data.validation
    if not isinstance(table, HeldOutTable) or table.merge is None:
        raise ValueError("the check of the profile lets no several answers pass without a merge")
    ranges = context.profile.metric.area_ranges
    scores = [model_score(part.model, result, ranges) for part, result in zip(answer.parts, results, strict=True)]
    key = content_key(
        {
            "ensembler": part_key(context.catalog, "ensembler", table.merge),
            "members": [part.key for part in answer.parts],
            "scores": [result.plain() for result in results],
        }
    )
    file = context.store.folder("combine", key) / "00000.parquet"
    if not file.exists():
        part, options = context.catalog.choose("ensembler", table.merge.name, table.merge.options)
        with context.store.writing("combine", key):
            read = [member.read() for member in answer.parts]
            merge = part.build(options, scores)
            write_instances(file, merge_split(prepared.splits.test, read, merge, context.console))
    return replace(answer, key=key, files=(file,))


def folds_record(prepared: Prepared) -> dict[str, Any] | None:
    """Return what a manifest tells of the folds: their file, how they were drawn, and how many images each has."""
    if prepared.folds_file is None:
        return None
    record = read_json(prepared.folds_file)
    images = [len(own.splits.validation.images) for own in prepared.folds]
    return {"file": str(prepared.folds_file), "folds": record["folds"], "seed": record["seed"], "images": images}
