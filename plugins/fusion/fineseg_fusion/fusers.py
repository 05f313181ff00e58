"""Panoptic fusers: what they take from which model. How instances and stuff are laid is in `panoptic_rule`.

Letters: N instances, T thing and S stuff classes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fineseg import (
    ClassTable,
    FinesegError,
    FuserInput,
    Instances,
    PanopticEnd,
    PanopticMap,
    class_table,
    concatenate,
)
from fineseg_fusion.options import HeuristicOptions, TaskLevelOptions, TwoLevelOptions

if TYPE_CHECKING:
    from fineseg import SemanticScores

Fuse = Callable[[Sequence[PanopticEnd]], PanopticMap]


def build_heuristic(options: HeuristicOptions, given: FuserInput) -> Fuse:
    """Return the function that combines one model's instances and one model's semantics (see `panoptic_rule`)."""
    from fineseg_fusion.panoptic_rule import combine

    refuse_several(*([name for name in given.gives if what in given.gives[name]] for what in ("instances", "semantic")))

    def fuse(ends: Sequence[PanopticEnd]) -> PanopticMap:
        speakers, sources = parts_of("heuristic", ends, given)
        refuse_several(speakers, sources)
        (found,), (semantic,) = speakers.values(), sources.values()
        chosen = things_above(found, options.confidence, given.things)
        return combine(chosen, semantic, given.things, overlap=options.overlap, stuff_area=options.stuff_area)

    return fuse


def refuse_several(speakers: Collection[str], sources: Collection[str]) -> None:
    """Raise `FinesegError` where two models give instances, or two give semantic scores."""
    for what, members in (("instances", speakers), ("semantic scores", sources)):
        if len(members) > 1:
            names = ", ".join(members)
            raise FinesegError(f"fuser heuristic: takes {what} of one model, not of {names}; two-level takes more")


def build_two_level(options: TwoLevelOptions, given: FuserInput) -> Fuse:
    """Return the function that chooses at the task level (see `task_level`) and combines what was chosen."""
    from fineseg_fusion.panoptic_rule import combine

    check_options("two-level", options, given)

    def fuse(ends: Sequence[PanopticEnd]) -> PanopticMap:
        found, semantic = task_level("two-level", ends, options, given, options.confidence)
        return combine(found, semantic, given.things, overlap=options.overlap, stuff_area=options.stuff_area)

    return fuse


def check_options(name: str, options: TaskLevelOptions, given: FuserInput) -> None:
    """Raise `FinesegError` for what is wrong with options before work begins; `name` is the fuser's in messages."""
    chosen_ends(options, given)
    models = [score.model for score in given.scores]
    if len(models) > 1:  # a model is also looked at alone, with the options for all
        _check_names(name, options, models)
        speakers = [model for model in models if "instances" in given.gives.get(model, ("instances",))]
        if options.default and options.default not in speakers:
            told = f"default '{options.default}' is no model that has instances: {', '.join(speakers)}"
            raise FinesegError(f"class table: {told}")


def chosen_ends(options: TaskLevelOptions, given: FuserInput) -> ClassTable | None:
    """Return which model's instances count in each class, None where not two models were measured by class.

    A model without any AP, where others have some, is taken for one without instances.
    """
    some = [score.model for score in given.scores if not np.isnan(score.per_class).all()]
    return _table(options, given, some or [score.model for score in given.scores])


def _table(options: TaskLevelOptions, given: FuserInput, models: Collection[str]) -> ClassTable | None:
    measured = [score for score in given.scores if score.per_class and score.model in models]
    for score in measured:
        if len(score.per_class) != given.things:
            told = f"{len(score.per_class)} classes; the task has {given.things} things"
            raise FinesegError(f"class table: {score.model} was measured on {told}")
    return class_table(measured, default=options.default, margin=options.margin) if len(measured) > 1 else None


def task_level(
    name: str, ends: Sequence[PanopticEnd], options: TaskLevelOptions, given: FuserInput, confidence: float
) -> tuple[Instances, "SemanticScores"]:
    """Return one set of instances and one of semantic scores: the task level of AntVisionPS's two-level fusion.

    Of each thing class the instances of the model that is better at it (see `class_table`), the mean of all models'
    probabilities. Scores of a model are brought to its temperature t, s -> sigmoid(logit(s) / t); then those below its
    threshold, else below `confidence`, go. `name` is the fuser's in messages.
    """
    from fineseg import mean_scores

    speakers, sources = parts_of(name, ends, given)
    table = _table(options, given, speakers) if len(speakers) > 1 else None
    lacking = [model for model in speakers if table is None or model not in table.models]
    if len(speakers) > 1 and lacking:
        raise FinesegError(
            f"fuser {name}: AP by class is not known of {', '.join(lacking)}; it says which model's instances count in "
            "which class: measure all models on one split and give their table"
        )
    members = []
    for model, found in speakers.items():
        scores = at_temperature(found.scores, options.temperatures.get(model, 1.0))
        tempered = found.with_rows(found.labels, scores, found.boxes, found.masks)
        kept = things_above(tempered, options.thresholds.get(model, confidence), given.things)
        if table is not None:
            kept = kept.select(np.array(table.chosen)[kept.labels] == table.models.index(model))
        members.append(kept)
    weights = [options.weights.get(model, 1.0) for model in sources]
    if len(sources) > 1 and not any(weights):
        raise FinesegError(f"fuser {name}: weights: are 0 for every model that gives semantic scores")
    return concatenate(members), mean_scores(list(sources.values()), weights if len(sources) > 1 else None)


def at_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return sigmoid(logit(s) / t) of scores [N] in 0..1: their order and 0.5 stay; above 1 they come nearer to it."""
    if temperature == 1:
        return scores
    inside = np.clip(np.asarray(scores, np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(1 / (1 + (1 / inside - 1) ** (1 / temperature)))


def things_above(found: Instances, confidence: float, things: int) -> Instances:
    """Return the instances that score `confidence` or more. Raises `FinesegError` for one of them that is no thing."""
    kept = found.select(found.scores >= confidence)
    strange = np.flatnonzero((kept.labels < 0) | (kept.labels >= things))
    if len(strange):
        label, score = kept.labels[strange[0]], kept.scores[strange[0]]
        raise FinesegError(
            f"image {found.image_id}: an instance of score {score:.3g} has label {label}; things are 0 to {things - 1}"
        )
    return kept


def parts_of(
    name: str, ends: Sequence[PanopticEnd], given: FuserInput
) -> tuple[dict[str, Instances], dict[str, "SemanticScores"]]:
    """Return all instances and all semantic scores by model, at least one of each.

    Raises `FinesegError` where there is none, and where they are not of one image, one size and the task's classes.
    """
    speakers = {end.model: end.instances for end in ends if end.instances is not None}
    sources = {end.model: end.semantic for end in ends if end.semantic is not None}
    for what, there in (("instances", speakers), ("semantic scores", sources)):
        if not there:
            names = ", ".join(end.model for end in ends) or "no model"
            raise FinesegError(f"fuser {name}: no model gives {what}, it is given {names}; one of them at least must")
    first = next(iter(speakers.values()))
    size = first.height, first.width
    where = f"fuser {name}, image {first.image_id}"
    for model, found in speakers.items():
        if (found.image_id, found.height, found.width) != (first.image_id, *size):
            raise FinesegError(f"{where}: instances of {model} are of another image or size; give one image's")
        if not np.isfinite(found.scores).all():
            raise FinesegError(f"{where}: {model} predicts a score that is not a finite number")
    for model, semantic in sources.items():
        if semantic.size != size:
            stated, wanted = (" x ".join(map(str, sides)) for sides in (semantic.size, size))
            raise FinesegError(f"{where}: semantic scores of {model} are of {stated}; the image is {wanted}")
        if semantic.classes != given.things + given.stuff:
            told = f"{semantic.classes} classes; the task has {given.things} things and {given.stuff} stuff"
            raise FinesegError(f"{where}: semantic scores of {model} are of {told}")
    return speakers, sources


def _check_names(name: str, options: TaskLevelOptions, models: Collection[str]) -> None:
    tables: Mapping[str, Mapping[str, float]] = {
        "temperatures": options.temperatures,
        "thresholds": options.thresholds,
        "weights": options.weights,
    }
    for option, table in tables.items():
        for model in table:
            if model not in models:
                raise FinesegError(f"fuser {name}: {option}: '{model}' is no model; there are {', '.join(models)}")
