"""combine: several models' stored predictions into one, weighed by what the evaluate stage measured."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace

import numpy as np

from fineseg.console import Console
from fineseg.data.split import ImageInfo, Split
from fineseg.metrics.mask_ap import APResult, model_score
from fineseg.parts import Merge, ModelScore
from fineseg.predictions import Instances, make_instances, write_instances
from fineseg.profile.combine_schema import COMBINED, DENSE
from fineseg.runs import part_key
from fineseg.stages.context import Context
from fineseg.stages.evaluate_panoptic import PanopticScores
from fineseg.stages.fuse import fuse
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.tune import Tuned, tune
from fineseg.store import content_key


def combine_roles(
    context: Context,
    prepared: Prepared,
    predicted: Mapping[tuple[str, str], Predicted],
    results: Mapping[str, Mapping[str, APResult]],
    panoptic: Mapping[str, PanopticScores],
    dense: Mapping[str, Predicted],
) -> dict[str, Predicted]:
    """Combine the models on the validation and on the test split; `dense` is what some say together, by role."""
    return {
        role: combine_role(context, prepared, predicted, results, role, panoptic, dense)
        for role in ("validation", "test")
    }


def combine_role(
    context: Context,
    prepared: Prepared,
    predicted: Mapping[tuple[str, str], Predicted],
    results: Mapping[str, Mapping[str, APResult]],
    role: str,
    panoptic: Mapping[str, PanopticScores] | None = None,
    dense: Mapping[str, Predicted] | None = None,
) -> Predicted:
    """Combine the models on one split; without `[combine]`, or of one alone, the best model stands for them.

    The best is that of the highest AP, or, of those that make panoptic maps, of the highest PQ. `dense` is what models
    say together, by role: it stands for them all, or is one of a fuser's models in the place of its own. Where it is
    empty, as only one of its models is chosen, that one is fused as itself.
    """
    models = [model for model, found in predicted if found == role]
    table = context.profile.combine
    ensembled = table.dense.weights if table is not None and table.dense is not None else {}
    if table is None or (table.fuser is None and table.dense is not None):
        if dense:
            return replace(dense[role], model=COMBINED)
        models = [model for model in models if not ensembled or model in ensembled]
        if panoptic:
            models = [model for model in models if panoptic[model].quality is not None]
        ranks = {model: panoptic[model].pq if panoptic else results[model]["segm"].summary["AP"] for model in models}
        return predicted[max(models, key=lambda model: -np.inf if np.isnan(ranks[model]) else ranks[model]), role]
    if table.fuser is not None:
        answers = {**predicted, **{(DENSE, place): found for place, found in (dense or {}).items()}}
        members = [(answers[model, role], answers[model, "validation"]) for model in table.fused_of(models)]
        return fuse(context, prepared, members, name=COMBINED, search=True)
    ranges = context.profile.metric.area_ranges
    scores = [model_score(model, results[model]["segm"], ranges) for model in models]
    tuned = tune(context, prepared, [predicted[model, "validation"] for model in models], say=role == "validation")
    if tuned is not None and role == "validation":
        return Predicted(COMBINED, role, tuned.key, (tuned.file,))
    split = prepared.splits.validation if role == "validation" else prepared.splits.test
    return combine(context, split, [predicted[model, role] for model in models], scores, tuned)


def combine(
    context: Context,
    split: Split,
    members: Sequence[Predicted],
    scores: Sequence[ModelScore],
    tuned: Tuned | None = None,
) -> Predicted:
    """Merge the members' predictions of one split image by image; models stand in the order of `scores`."""
    combine_table = context.profile.combine
    if combine_table is None:
        raise ValueError("combine needs a [combine] table")
    choice = combine_table.merging
    if tuned is not None:
        choice = choice.model_copy(update=dict(tuned.setting.options))
    content = {
        "ensembler": part_key(context.catalog, "ensembler", choice),
        "members": [member.key for member in members],
        "scores": [astuple(score)[1:] for score in scores],
    }
    key = content_key(content if tuned is None else {**content, "tuned": tuned.key})
    file = context.store.folder("combine", key) / "00000.parquet"
    combined = Predicted(COMBINED, members[0].role, key, (file,))
    if not file.exists():
        part, options = context.catalog.choose("ensembler", choice.name, choice.options)
        with context.store.writing("combine", key):
            read = [member.read() for member in members]
            merge = part.build(options, scores)
            merge = merge if tuned is None else tuned.apply(merge)
            write_instances(file, merge_split(split, read, merge, context.console))
    return combined


def merge_split(
    split: Split, members: Sequence[Mapping[int, Instances]], merge: Merge, console: Console
) -> list[Instances]:
    """Merge the members' predictions of a split, each by image id, image by image."""
    merged = []
    with console.task(f"combine {split.name}", len(split.images), "images") as task:
        for done, image in enumerate(split.images, start=1):
            merged.append(merge([_of_image(predictions, image) for predictions in members]))
            task.update(done)
    return merged


def _of_image(predictions: Mapping[int, Instances], image: ImageInfo) -> Instances:
    found = predictions.get(image.id)
    return found if found is not None else make_instances(image.id, (image.height, image.width), [], [], [], [])
