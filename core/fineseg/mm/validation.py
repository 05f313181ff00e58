"""Scoring the validation images while a model trains: what its heads say of them, beside the truth."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
import torch.distributed as dist

from fineseg.data.split import ImageInfo, Split
from fineseg.metrics.answers import AnswerCounts, count_answer
from fineseg.metrics.figures import panoptic_figures
from fineseg.metrics.mask_ap import mask_ap
from fineseg.mm.model import BuiltModel
from fineseg.mm.panoptic import predict_panoptic_heads
from fineseg.parts import Output
from fineseg.predictions import Instances
from fineseg.profile.schema import MetricTable, PredictTable


@dataclass(frozen=True)
class Validation:
    """What is scored, and how: AP of instances, PQ of maps, mIoU of scores, whatever of these each head `gives`.

    Heads are named as ends, "" for a model's only one. Images are looked at plainly, through `predict` without views.
    """

    split: Split
    predict: PredictTable
    metric: MetricTable
    gives: Mapping[str, Collection[Output]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a head said of some images: its instances, none where it finds none, and what of the rest is right."""

    instances: Sequence[Instances]
    counts: AnswerCounts

    def __add__(self, other: "Answers") -> "Answers":
        return Answers([*self.instances, *other.instances], self.counts + other.counts)


def validate(
    built: BuiltModel,
    validation: Validation,
    progress: Callable[[int, int], None],
    rank: int = 0,
    world: int = 1,
) -> dict[str, float]:
    """Predict the images, shared over the ranks, and score them: percent, the same on every rank; nan is left out.

    The module must be in eval mode. `progress` is told how many of how many images this rank has done.
    """
    device = next(built.module.parameters()).device
    mine = validation.split.images[rank::world]
    found: dict[str, Answers] = {}
    for done, image in enumerate(mine):
        progress(done, len(mine))
        said = _answers(built, validation, image, device)
        found = {head: found[head] + answer if head in found else answer for head, answer in said.items()}
    gathered: list[Any] = [found]
    if world > 1:
        gathered = [None] * world
        dist.all_gather_object(gathered, found)
    shares = [share for share in gathered if share]  # a rank may have no image
    return mean_figures(
        {head: _figures(validation, head, reduce(add, [share[head] for share in shares])) for head in shares[0]}
    )


def _answers(built: BuiltModel, validation: Validation, image: ImageInfo, device: torch.device) -> dict[str, Answers]:
    """Return what each head says of an image."""
    said = predict_panoptic_heads(built, image, validation.predict, device, validation.gives)
    return {
        head: Answers(
            [each.instances] if "instances" in validation.gives[head] else [],
            count_answer(validation.split, image, each.panoptic, each.semantic),
        )
        for head, each in said.items()
    }


def _figures(validation: Validation, head: str, answers: Answers) -> dict[str, float]:
    split, metric = validation.split, validation.metric
    figures = panoptic_figures(answers.counts.tables(len(split.categories)))
    if "instances" in validation.gives[head]:
        result = mask_ap(
            split,
            {instances.image_id: instances for instances in answers.instances},
            area_ranges=metric.area_ranges,
            max_detections=metric.max_detections,
        )
        figures |= result.summary
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def mean_figures(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of a single head, or of ends each one's, its name before, and the means over all that have it.

    The mean is what a model with ends goes by where its best checkpoint is wanted.
    """
    if len(found) == 1:
        return dict(*found.values())
    figures: dict[str, list[float]] = {}
    for own in found.values():
        for name, value in own.items():
            figures.setdefault(name, []).append(value)
    means = {name: sum(values) / len(values) for name, values in figures.items()}
    return means | {f"{end}.{name}": value for end, own in found.items() for name, value in own.items()}
