"""evaluate, of panoptic models: quality of their maps, and mean IoU of their scores of all classes."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.metrics.figures import panoptic_figures
from fineseg.metrics.panoptic_quality import PanopticCounts, PanopticResult, count_image, panoptic_result
from fineseg.metrics.semantic_iou import PixelCounts, SemanticResult, count_pixels, semantic_result
from fineseg.panoptic_predictions import StoredPanoptic
from fineseg.semantic_store import label_map
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.store import content_key, read_json, write_json

RECIPE = 1
"""Raise it when the same predictions are scored differently."""
THREADS = 8
"""At most: each holds an image's scores of all classes."""


@dataclass(frozen=True)
class PanopticScores:
    """Quality of a model's maps, and IoU of its scores; None where these were not kept."""

    quality: PanopticResult
    semantic: SemanticResult | None

    @property
    def pq(self) -> float:
        """The headline [percent]; nan where there is no class to score."""
        return self.quality.groups["All"].pq

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return what metrics.json tells, by kind."""
        groups = {name: row for name, row in self.quality.plain().items() if name != "classes"}
        semantic = {} if self.semantic is None else {"semantic": {"mIoU": self.semantic.plain()["mIoU"]}}
        return {"panoptic": groups, **semantic}

    def figures(self) -> dict[str, float | None]:
        """Return the figures that tables of papers have, by name."""
        return panoptic_figures(self.tables())


def evaluate_maps(
    context: Context, prepared: Prepared, predicted: Mapping[tuple[str, str], Predicted]
) -> dict[str, PanopticScores]:
    """Score every model's maps of the validation split; none where the task is another."""
    if context.profile.competition.task != "panoptic":
        return {}
    return {
        model: evaluate_panoptic(context, prepared, found)
        for (model, role), found in predicted.items()
        if role == "validation"
    }


def evaluate_panoptic(context: Context, prepared: Prepared, predicted: Predicted) -> PanopticScores:
    """Score one model's maps of the validation split. Raises `FinesegError` for an image that has none."""
    split = prepared.splits.validation
    content = {"predictions": predicted.key, "split": prepared.digests[split.name], "panoptic": RECIPE}
    file = context.store.folder("evaluate", content_key(content)) / "scores.json"
    if not file.exists():
        with context.console.task(f"score maps of {predicted.model}", len(split.images), "images") as task:
            done, quality = 0, PanopticCounts.none(len(split.panoptic_categories))
            pixels: PixelCounts | None = None
            for segments, each in count_stored(split, predicted.read_stored()):
                done, quality = done + 1, quality + segments
                pixels = pixels + each if pixels is not None and each is not None else each
                task.update(done)
        if done < len(split.images):
            raise FinesegError(f"model {predicted.model}: {done} of {len(split.images)} images have a panoptic map")
        result = panoptic_result(quality, len(split.categories))
        scored = None if pixels is None else semantic_result(pixels).plain()
        write_json(file, {"quality": result.plain(), "semantic": scored})
    stored = read_json(file)
    kept = stored["semantic"] is not None
    return PanopticScores(
        PanopticResult.from_plain(stored["quality"]), SemanticResult.from_plain(stored["semantic"]) if kept else None
    )


def count_stored(split: Split, stored: Iterator[StoredPanoptic]) -> Iterator[tuple[PanopticCounts, PixelCounts | None]]:
    """Compare stored maps and scores of a split with its truth, image by image, some at a time on all cores."""
    images, classes = {image.id: image for image in split.images}, len(split.panoptic_categories)

    def count(found: StoredPanoptic) -> tuple[PanopticCounts, PixelCounts | None]:
        truth = load_map(split.panoptic[found.image_id], images[found.image_id])
        segments, scores = count_image(truth, found.panoptic(), classes), found.semantic()
        if scores is None:
            return segments, None
        return segments, count_pixels(semantic_labels(truth), label_map(scores), classes)

    workers = min(os.cpu_count() or 1, THREADS)
    with ThreadPoolExecutor(workers) as pool:
        while some := list(islice(stored, 2 * workers)):
            yield from pool.map(count, some)
