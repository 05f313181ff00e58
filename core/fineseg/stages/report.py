"""report: what the run folder says of itself: manifest, resolved profile, logs, links into the store, report.html."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data.panoptic import load_map
from fineseg.metrics.mask_ap import APResult
from fineseg.report.page import Example, ReportData, write_report
from fineseg.report.records import MapExample
from fineseg.report.sections import COMBINED, best_model
from fineseg.stages.analyse import Analysed
from fineseg.stages.context import Context
from fineseg.stages.evaluate_panoptic import PanopticScores
from fineseg.stages.facts import Made
from fineseg.stages.fuse import CLASS_TABLE
from fineseg.stages.prepare import Prepared
from fineseg.store import read_json, read_rows, write_json

EXAMPLES = 10
"""Images of the gallery: the best, as many of the worst, and as many of the others."""
EXAMPLES_SEED = 0


@dataclass(frozen=True)
class Outcome:
    """All that a run has to tell; `results` by model or "combined" and kind of score, `analysed` by the same names.

    `maps` are scores of panoptic models by these names, none where the task is another.
    """

    facts: Mapping[str, Any]
    seconds: Mapping[str, float]
    metrics: Mapping[str, Any]
    results: Mapping[str, Mapping[str, APResult]]
    analysed: Mapping[str, Analysed]
    made: Made
    submission: Path | None
    maps: Mapping[str, PanopticScores] = field(default_factory=dict)


def write_run(context: Context, prepared: Prepared, outcome: Outcome, out: Path) -> Path:
    """Write manifest.json, profile.json, classes.json, links and report.html; return the report's path."""
    manifest = {**outcome.facts, "seconds": dict(outcome.seconds)}
    write_json(out / "profile.json", context.profile.model_dump(mode="json"))
    write_json(out / "manifest.json", manifest)
    for model, entry in outcome.made.trained.items():
        _link(out / "models" / model, entry.folder)
    for (_, role), predicted in outcome.made.predicted.items():
        for name, folder in predicted.folders.items():
            _link(out / "predictions" / name / role, folder)
    if prepared.folds_file is not None:
        _link(out / prepared.folds_file.name, prepared.folds_file)
    with context.console.task("write report"):
        data = ReportData(
            title=context.profile.competition.title or context.profile.competition.name,
            profile=str(context.file),
            manifest=manifest,
            metrics=outcome.metrics,
            per_class={name: kinds["segm"].per_class for name, kinds in outcome.results.items()},
            per_area={name: _per_area(kinds["segm"]) for name, kinds in outcome.results.items()},
            analyses={name: each.analysis for name, each in outcome.analysed.items()},
            categories=prepared.splits.validation.categories,
            curves={model: read_rows(entry.folder / "curve.jsonl") for model, entry in outcome.made.trained.items()},
            examples=_examples(prepared, outcome),
            submission=outcome.submission,
            panoptic_classes=prepared.splits.validation.panoptic_categories if outcome.maps else (),
            class_pq={
                name: tuple(row.pq for row in each.quality.classes)
                for name, each in outcome.maps.items()
                if each.quality is not None
            },
            map_examples=_map_examples(prepared, outcome),
            class_table=_class_table(outcome),
        )
        write_json(out / "classes.json", class_table(data))
        return write_report(out / "report.html", data)


def class_table(data: ReportData) -> dict[str, list[dict[str, Any]]]:
    """Return what classes.json holds: of each model and "combined" the AP, and PQ, of each class, in percent."""
    found: dict[str, list[dict[str, Any]]] = {}
    for figure, classes, table in (
        ("AP", data.categories, data.per_class),
        ("PQ", data.panoptic_classes, data.class_pq),
    ):
        for name, values in table.items():
            rows = found.setdefault(name, [])
            for number, (category, value) in enumerate(zip(classes, values, strict=True)):
                if number == len(rows):
                    rows.append({"class": category.name})
                rows[number][figure] = None if np.isnan(value) else value
    return found


def _link(link: Path, target: Path) -> None:
    """Point from the run folder into the store."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(os.path.relpath(target, link.parent))


def _per_area(result: APResult) -> list[dict[str, float]]:
    """Return the AP of each category by the name of an area range."""
    return [{area: ap for area, (ap, _) in row.areas.items()} for row in result.classes]


def _examples(prepared: Prepared, outcome: Outcome) -> list[Example]:
    """Return the images of the gallery with all that is said of them."""
    split = prepared.splits.validation
    scores = {name: each.image_ap for name, each in outcome.analysed.items()}
    models = {model: table for model, table in outcome.metrics["models"].items() if model in scores}
    name = COMBINED if COMBINED in scores else best_model({"models": models})
    chief = {} if name is None else scores[name]
    chosen = choose_images([image.id for image in split.images], chief, EXAMPLES)
    images = {image.id: image for image in split.images}
    combined = outcome.made.combined.read() if "instances" in outcome.made.combined.gives else {}
    models = {
        model: answer.read()
        for (model, role), answer in outcome.made.predicted.items()
        if role == "validation" and "instances" in answer.gives
    }
    return [
        Example(
            image=images[image_id],
            truth=split.objects_of(image_id),
            models={model: found[image_id] for model, found in models.items() if image_id in found},
            combined=combined.get(image_id),
            group=group,
            scores={name: table[image_id] for name, table in scores.items() if image_id in table},
        )
        for group, ids in chosen.items()
        for image_id in ids
    ]


def _map_examples(prepared: Prepared, outcome: Outcome) -> list[MapExample]:
    """Return some images, always the same, with their true map and each model's; none where there are no maps."""
    if not outcome.maps:
        return []
    split = prepared.splits.validation
    drawn = np.random.default_rng(EXAMPLES_SEED).permutation(len(split.images))[:EXAMPLES]
    single = outcome.made.combined.model != COMBINED
    models = {
        name: each.answer.read_panoptic()
        for name, each in outcome.maps.items()
        if each.answer is not None and not (single and name == COMBINED)
    }
    return [
        MapExample(
            image=image,
            truth=load_map(split.panoptic[image.id], image),
            models={model: maps[image.id] for model, maps in models.items()},
        )
        for image in (split.images[i] for i in sorted(drawn.tolist()))
    ]


def _class_table(outcome: Outcome) -> dict[str, Any] | None:
    """Return from which model the fuser takes each class, as measured on all held-out images, or None."""
    if outcome.made.combined.model != COMBINED or not outcome.made.combined.files:
        return None
    file = outcome.made.combined.files[0].parent / CLASS_TABLE
    table: dict[str, Any] | None = read_json(file)["all"] if file.exists() else None
    return table


def choose_images(ids: Sequence[int], scores: Mapping[int, float], count: int) -> dict[str, list[int]]:
    """Return ids of the images of the lowest scores, of the highest, and of some of the others, at most `count` each.

    Few images are shared out evenly; equal scores are drawn by lot, always the same. Images without a score may only be
    among the others, which stand in the order of `ids`.
    """
    lot = np.random.default_rng(EXAMPLES_SEED).permutation(len(ids))
    drawn = [ids[i] for i in lot]
    ranked = sorted((image for image in drawn if image in scores), key=scores.__getitem__)
    each = min(count, len(ranked) // 3)
    worst, best = ranked[:each], ranked[len(ranked) - each :][::-1]
    others = {image for image in drawn if image not in {*worst, *best}}
    taken = set([image for image in drawn if image in others][:count])
    groups = {"worst": worst, "best": best, "random": [image for image in ids if image in taken]}
    return {group: chosen for group, chosen in groups.items() if chosen}
