"""tune: what `[combine]` searches and calibrates on the validation split's stored predictions, and what that is worth.

The validation images are divided into parts. Whatever a part is merged by, calibration, AP of the models and setting,
was learnt without it; the test split is merged by what was learnt from all images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.metrics.figures import area_keys
from fineseg.parts import Merge
from fineseg.predictions import Instances, make_instances, write_instances
from fineseg.profile.combine_schema import CombineTable, SearchTable
from fineseg.runs import part_key
from fineseg.stages.context import Context
from fineseg.stages.held_out import refuse_seen
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.store import content_key, read_json, write_json
from fineseg.tuning.calibration import ScoreMap, map_of_plain
from fineseg.tuning.matching import parts_of
from fineseg.tuning.measured import model_scores, score_maps
from fineseg.tuning.nested import Nested, nested_search, sets_of_parts
from fineseg.tuning.objective import Objective, figure_of
from fineseg.tuning.overlaps import Overlaps
from fineseg.tuning.setting import Setting

RECORD = "search.json"
"""In an entry of `combine`: what was learnt."""
PREDICTIONS = "00000.parquet"


@dataclass(frozen=True)
class Tuned:
    """What the whole validation split taught: a map for each model's scores, or none, and the setting to merge by."""

    key: str
    file: Path
    maps: tuple[ScoreMap, ...]
    setting: Setting

    def apply(self, merge: Merge) -> Merge:
        """Return a merge that takes the models' detections as they were predicted; options are the ensembler's own."""
        return lambda members: merge(self.setting.apply(calibrated(members, self.maps)))


def tune(context: Context, prepared: Prepared, members: Sequence[Predicted], *, say: bool) -> Tuned | None:
    """Search and calibrate on the members' predictions of the validation split; None where neither is asked for.

    `say` what came of it. Raises `FinesegError` where a model may have been trained on these images.
    """
    table = context.profile.combine
    if table is None or (table.search is None and table.calibration == "none"):
        return None
    search = table.search or SearchTable()
    refuse_seen(prepared, members, table.held_out)
    key = _key(context, prepared, members, table)
    folder = context.store.folder("combine", key)
    if not (folder / RECORD).exists():
        with context.store.writing("combine", key):
            record, merged = _learn(context, prepared, members, table, search)
            write_instances(folder / PREDICTIONS, merged)
            write_json(folder / RECORD, record)
    record = read_json(folder / RECORD)
    for line in record["lines"] if say else ():
        context.console.say(line)
    maps = tuple(map_of_plain(stored) for stored in record["maps"])
    return Tuned(key, folder / PREDICTIONS, maps, Setting.from_plain(record["setting"]))


def search_record(context: Context, combined: Predicted) -> dict[str, Any]:
    """Return {"search": what metrics.json tells of the search} of a combination, nothing where none was made."""
    file = context.store.folder("combine", combined.key) / RECORD
    stored = read_json(file)["search"] if file.exists() else None
    return {} if stored is None else {"search": stored}


def calibrated(members: Sequence[Instances], maps: Sequence[ScoreMap]) -> list[Instances]:
    """Return what the models say of one image with scores as their maps make them; as it is without maps."""
    if not maps:
        return list(members)
    return [each.with_scores(to(each.scores)) for each, to in zip(members, maps, strict=True)]


def _key(context: Context, prepared: Prepared, members: Sequence[Predicted], table: CombineTable) -> str:
    split = prepared.splits.validation
    return content_key(
        {
            "ensembler": part_key(context.catalog, "ensembler", table.merging),
            "members": [member.key for member in members],
            "search": table.search and table.search.model_dump(mode="json"),
            "calibration": table.calibration,
            "metric": context.profile.metric.model_dump(mode="json"),
            "split": prepared.digests[split.name],
            "groups": [image.group for image in split.images],
        }
    )


def _learn(
    context: Context, prepared: Prepared, members: Sequence[Predicted], table: CombineTable, search: SearchTable
) -> tuple[dict[str, Any], list[Instances]]:
    """Return the record of what was learnt, and the validation images merged by what was learnt without them."""
    metric, split, console = context.profile.metric, prepared.splits.validation, context.console
    limit, names = max(metric.max_detections), [member.model for member in members]
    images = sorted(split.images, key=lambda image: image.id)
    groups = [image.group for image in images]
    with console.task("measure overlaps"):
        read = [member.read() for member in members]
        found = [
            [each.get(i.id) or make_instances(i.id, (i.height, i.width), [], [], [], []) for i in images]
            for each in read
        ]
        overlaps = Overlaps(split, found)
    parts = parts_of(groups, min(search.folds, len(images)), search.seed)
    sets = sets_of_parts(parts, int(parts.max()) + 1)
    with console.task("measure the models without each part"):
        scores = [
            model_scores(overlaps, name, each, metric.area_ranges, limit, sets)
            for name, each in zip(names, found, strict=True)
        ]
        maps, lines = _maps(overlaps, names, found, table, limit, sets)
    listed = [
        calibrated([model[n] for model in found], [by_set[part] for by_set in maps])
        for n, part in enumerate(parts.tolist())
    ]
    part_of, chosen = context.catalog.choose("ensembler", table.merging.name, table.merging.options)

    def build(options: Mapping[str, Any], part: int) -> Merge:
        own = type(chosen).model_validate({**chosen.model_dump(), **options})
        merge: Merge = part_of.build(own, [by_set[part] for by_set in scores])
        return merge

    ranges = dict(zip(area_keys(tuple(metric.area_ranges)), metric.area_ranges.values(), strict=True))
    objective = Objective(overlaps, listed, parts, build, figure_of(search.metric or "AP", ranges, limit), sets)
    start = Setting((1.0,) * len(names))
    record: dict[str, Any] = {
        "maps": [by_set[-1].plain() for by_set in maps],
        "setting": start.plain(),
        "search": None,
        "lines": lines,
    }
    if table.search is None:
        return record, objective.merge(start)
    with console.task(f"search on {split.name}") as task:
        nested, merged = nested_search(
            objective, groups, start, search, chosen.model_dump(), lambda n: task.update(0, note=f"{n} settings merged")
        )
    record["setting"] = (nested.setting if nested.accepted else start).plain()
    record["search"] = told_of(nested, search.metric or "AP", names, [category.name for category in split.categories])
    record["lines"] = [*lines, verdict_of(nested, search.metric or "AP")]
    return record, merged


def _maps(
    overlaps: Overlaps,
    names: Sequence[str],
    found: Sequence[Sequence[Instances]],
    table: CombineTable,
    limit: int,
    sets: np.ndarray,
) -> tuple[list[list[ScoreMap]], list[str]]:
    """Return each model's map for each set of images; none, and a line why, where a model gives too little to fit.

    Calibrated scores beside scores that are not would be less comparable than before, so all models have maps or none.
    """
    if table.calibration == "none":
        return [], []
    maps: list[list[ScoreMap]] = []
    for name, each in zip(names, found, strict=True):
        fitted = [one for one in score_maps(overlaps, each, table.calibration, limit, sets) if one is not None]
        if len(fitted) < len(sets):
            line = f"calibration: model {name} has too few hits or misses to fit, or its scores tell nothing; "
            return [], [line + "all scores stay as they are"]
        maps.append(fitted)
    return maps, []


def told_of(nested: Nested, metric: str, models: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Return what metrics.json tells of a search, figures in percent."""

    def readable(setting: Setting) -> dict[str, Any]:
        least: Any = dict(zip(classes, setting.thresholds, strict=True)) if len(setting.thresholds) > 1 else None
        least = least or (setting.thresholds[0] if setting.thresholds else 0.0)
        weights = dict(zip(models, setting.weights, strict=True))
        return {"weights": weights, "options": dict(setting.options), "thresholds": least}

    return {
        "metric": metric,
        "unsearched": nested.unsearched,
        "searched": nested.searched,
        "nested": nested.nested,
        "standard_error": nested.error,
        "used": nested.accepted,
        "setting": readable(nested.setting),
        "folds": [readable(setting) for setting in nested.parts],
    }


def verdict_of(nested: Nested, metric: str) -> str:
    """Return in a line what a search gained, and whether it is used."""
    gain = nested.nested - nested.unsearched
    figures = f"search: {metric} {nested.unsearched:.2f} without, {nested.nested:.2f} nested (gain {gain:+.2f}"
    if nested.accepted:
        return f"{figures}, standard error {nested.error:.2f}): used"
    return (
        f"{figures}, not above its standard error {nested.error:.2f}): not used, the models are combined as without it"
    )
