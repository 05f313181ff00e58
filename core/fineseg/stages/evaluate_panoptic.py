"""evaluate, of panoptic models: quality of their maps, and mean IoU of their scores of all classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.metrics.answers import AnswerCounts, count_answer
from fineseg.metrics.figures import panoptic_figures
from fineseg.metrics.panoptic_quality import PanopticResult
from fineseg.metrics.semantic_iou import SemanticResult
from fineseg.panoptic_predictions import StoredPanoptic
from fineseg.stages.context import Context
from fineseg.stages.fuse import fuse, is_fused
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.threads import in_threads
from fineseg.store import content_key, read_json, write_json

RECIPE = 1
"""Raise it when the same predictions are scored differently."""


@dataclass(frozen=True)
class PanopticScores:
    """Quality of a model's maps, and IoU of its scores of all classes; None where there are none.

    `answer` holds the maps; `alone` says that these are not the model's own, but what the fuser makes of it alone.
    """

    quality: PanopticResult | None
    semantic: SemanticResult | None
    answer: Predicted | None = None
    alone: bool = False

    @property
    def pq(self) -> float:
        """The headline [percent]; nan where there are no maps, or no class to score."""
        return float("nan") if self.quality is None else self.quality.groups["All"].pq

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return what metrics.json tells, by kind."""
        found: dict[str, dict[str, Any]] = {}
        if self.quality is not None:
            found["panoptic"] = {name: row for name, row in self.quality.plain().items() if name != "classes"}
        if self.semantic is not None:
            found["semantic"] = {"mIoU": self.semantic.plain()["mIoU"]}
        return found

    def figures(self) -> dict[str, float | None]:
        """Return the figures that tables of papers have, by name."""
        return panoptic_figures(self.tables())


def evaluate_maps(
    context: Context, prepared: Prepared, predicted: Mapping[tuple[str, str], Predicted]
) -> dict[str, PanopticScores]:
    """Score every model's maps of the validation split; none where the task is another.

    A model without maps of its own, but with instances and scores of all classes, has those that `[combine] fuser`
    makes of it alone.
    """
    if context.profile.competition.task != "panoptic":
        return {}
    found = {}
    for (model, role), answer in predicted.items():
        if role == "validation":
            scores = evaluate_panoptic(context, prepared, answer)
            if scores.quality is None and is_fused(context, model, answer):
                fused = fuse(context, prepared, [(answer, answer)], name=model)
                alone = evaluate_panoptic(context, prepared, fused)
                scores = replace(alone, semantic=scores.semantic, alone=True)
            found[model] = scores
    return found


def evaluate_panoptic(context: Context, prepared: Prepared, predicted: Predicted) -> PanopticScores:
    """Score one model's maps and scores of the validation split. Raises `FinesegError` for an image that has none."""
    split = prepared.splits.validation
    content = {"predictions": predicted.key, "split": prepared.digests[split.name], "panoptic": RECIPE}
    file = context.store.folder("evaluate", content_key(content)) / "scores.json"
    if not file.exists():
        with context.console.task(f"score maps of {predicted.model}", len(split.images), "images") as task:
            done, total = 0, AnswerCounts(None, None)
            for each in count_stored(split, predicted.read_stored()):
                done, total = done + 1, total + each if done else each
                task.update(done)
        if done < len(split.images):
            raise FinesegError(f"model {predicted.model}: {done} of {len(split.images)} images are predicted")
        tables = total.tables(len(split.categories))
        write_json(file, {"quality": tables.get("panoptic"), "semantic": tables.get("semantic")})
    stored = read_json(file)
    scored, quality = stored["semantic"], stored["quality"]
    return PanopticScores(
        None if quality is None else PanopticResult.from_plain(quality),
        None if scored is None else SemanticResult.from_plain(scored),
        None if quality is None else predicted,
    )


def count_stored(split: Split, stored: Iterator[StoredPanoptic]) -> Iterator[AnswerCounts]:
    """Compare stored maps and scores of a split with its truth, image by image, some at a time in threads."""
    images = {image.id: image for image in split.images}
    return in_threads(
        lambda found: count_answer(split, images[found.image_id], found.panoptic(), found.semantic()), stored
    )
