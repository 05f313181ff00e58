"""fuse: what several models say of images, from the store, made into panoptic maps by `[combine] fuser`.

Fusers are told what each model reaches on held-out images, class by class. The validation images are divided into
parts, and each part is fused by what was measured on the others: so no image that is scored had a say in how its map
was made. The test split is fused by what was measured on all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data.split import Split
from fineseg.panoptic_predictions import PanopticAnswer, panoptic_file, write_panoptic
from fineseg.parts import FuserInput, ModelScore, PanopticFuser
from fineseg.predictions import write_instances
from fineseg.profile.base import PartChoice
from fineseg.profile.combine_schema import DENSE
from fineseg.runs import part_key
from fineseg.stages.context import Context
from fineseg.stages.fusers import PLAIN, Fusers, count_fused, fused_images
from fineseg.stages.held_out import refuse_seen
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.tune import RECORD, told_of, verdict_of
from fineseg.store import content_key, read_json, write_json
from fineseg.tuning.fusing import nested_fusing
from fineseg.tuning.matching import parts_of
from fineseg.tuning.measured import model_scores
from fineseg.tuning.nested import sets_of_parts
from fineseg.tuning.overlaps import Overlaps
from fineseg.tuning.setting import Setting

PARTS, SEED = 5, 0
"""Parts that the validation images are divided into, and the seed of their lot."""
CLASS_TABLE = "class_table.json"
"""In an entry, of fusers that take each class from one model: from which, by what was measured of all images, and of
those without each part."""
PREDICTIONS = "00000.parquet"


@dataclass(frozen=True)
class Measured:
    """What models reach on held-out images: `scores` [K + 1][M] without each part, then on all.

    `part_of` says which part an image of the validation split is in.
    """

    part_of: Mapping[int, int]
    scores: Sequence[Sequence[ModelScore]]


def fuse(
    context: Context,
    prepared: Prepared,
    members: Sequence[tuple[Predicted, Predicted]],
    *,
    name: str,
    search: bool = False,
) -> Predicted:
    """Fuse what models say of one split; of each its answer for that split, and its answer for the validation split.

    `search` for better settings where the profile says so. Raises `FinesegError` where a model may have been trained on
    the images that it is to be measured on.
    """
    answers, held_out = [answer for answer, _ in members], [held for _, held in members]
    role, choice = answers[0].role, _choice(context)
    key = content_key(_content(context, prepared, choice, answers, held_out, search=search))
    folder = context.store.folder("combine", key)
    found = Predicted(name, role, key, (folder / PREDICTIONS,), gives=("panoptic",))
    if not (folder / PREDICTIONS).exists():
        split: Split = getattr(prepared.splits, role)
        with context.store.writing("combine", key):
            fusers = build_fusers(context, prepared, choice, held_out, folder)
            settings: Sequence[Setting] = (PLAIN,)
            setting = PLAIN
            if search and _searches(context):
                settings, setting = learn(context, prepared, fusers, held_out)
            fuse_of = fusers.held_out(settings) if role == "validation" else fusers.unseen(setting)
            what = "the models" if len(answers) > 1 else answers[0].model
            with context.console.task(f"fuse {what} on {split.name}", len(split.images), "images") as task:
                fused = _told(fused_images(split, answers, fuse_of, choice.name), task.update)
                instances = write_panoptic(panoptic_file(folder / PREDICTIONS), fused, "none")
            write_instances(folder / PREDICTIONS, instances)
    return found


def is_fused(context: Context, model: str, answer: Predicted) -> bool:
    """Return whether a model's answer has what a fuser needs, instances and kept scores, and there is a fuser."""
    table, profile = context.profile.combine, context.profile
    kept = (profile.predict if model == DENSE else profile.predict_of(model)).semantic != "none"
    return table is not None and table.fuser is not None and kept and {"instances", "semantic"} <= set(answer.gives)


def _told(answers: Iterator[PanopticAnswer], progress: Callable[[int], None]) -> Iterator[PanopticAnswer]:
    for done, answer in enumerate(answers, start=1):
        yield answer
        progress(done)


# -------------------------------------------------------------------- measuring


def _choice(context: Context) -> PartChoice:
    table = context.profile.combine
    if table is None or table.fuser is None:
        raise ValueError("fuse needs [combine] fuser")
    return table.fuser


def _content(
    context: Context,
    prepared: Prepared,
    choice: PartChoice,
    answers: Sequence[Predicted],
    held_out: Sequence[Predicted],
    *,
    search: bool,
) -> dict[str, Any]:
    table = context.profile.combine
    searched = table.search if search and table is not None else None
    content: dict[str, Any] = {
        "fuser": part_key(context.catalog, "panoptic-fuser", choice),
        "members": [[answer.model, answer.key] for answer in answers],  # options and tables go by the names
    }
    if searched is not None:
        content["search"] = searched.model_dump(mode="json")
    if _reads_scores(context, choice) or searched is not None:
        split = prepared.splits.validation
        content |= {
            "measured": [[held.model, held.key] for held in held_out],
            "metric": context.profile.metric.model_dump(mode="json"),
            "split": prepared.digests[split.name],
            "groups": [image.group for image in split.images],
            "parts": _parts(context),
        }
    return content


def _reads_scores(context: Context, choice: PartChoice) -> bool:
    part = context.catalog.find("panoptic-fuser", choice.name).part
    return not isinstance(part, PanopticFuser) or part.reads_scores


def build_fusers(
    context: Context, prepared: Prepared, choice: PartChoice, held_out: Sequence[Predicted], folder: Path
) -> Fusers:
    """Return the fuser by what was measured of the models; a class table is kept in the entry's folder."""
    part, options = context.catalog.choose("panoptic-fuser", choice.name, choice.options)
    train = prepared.splits.train
    sizes = len(train.categories), len(train.stuff)
    ids, parts = _division(context, prepared)
    part_of = dict(zip(ids, parts.tolist(), strict=True))
    if not _reads_scores(context, choice):
        return Fusers(part, options, [FuserInput(*sizes)], part_of)
    measured = measure(context, prepared, held_out)
    given = [FuserInput(*sizes, scores) for scores in measured.scores]
    if part.class_table is not None:
        tables = [part.class_table(options, each) for each in given]
        *without, whole = [None if table is None else table.plain(train.categories) for table in tables]
        write_json(folder / CLASS_TABLE, {"all": whole, "without part": without})
    return Fusers(part, options, given, part_of)


def _division(context: Context, prepared: Prepared) -> tuple[list[int], np.ndarray]:
    """Return the ids of the validation images, sorted, and the part that each is in."""
    images = sorted(prepared.splits.validation.images, key=lambda image: image.id)
    count, seed = _parts(context)
    return [i.id for i in images], parts_of([i.group for i in images], min(count, len(images)), seed)


def _parts(context: Context) -> tuple[int, int]:
    table = context.profile.combine
    search = None if table is None else table.search
    return (PARTS, SEED) if search is None else (search.folds, search.seed)


def _searches(context: Context) -> bool:
    return context.profile.combine is not None and context.profile.combine.search is not None


def measure(context: Context, prepared: Prepared, members: Sequence[Predicted]) -> Measured:
    """Measure models' mask AP on the validation images without each part, and on all of them.

    A model that finds no instances has an AP of nan. Raises `FinesegError` where one may have been trained on these
    images.
    """
    table = context.profile.combine
    refuse_seen(prepared, members, () if table is None else table.held_out)
    metric, split = context.profile.metric, prepared.splits.validation
    ids, parts = _division(context, prepared)
    sets = sets_of_parts(parts, int(parts.max()) + 1)
    unknown = (float("nan"),) * len(split.categories)
    scores = []
    with context.console.task("measure the models without each part"):
        for member in members:
            if "instances" not in member.gives:
                scores.append([ModelScore(member.model, float("nan"), unknown)] * len(sets))
                continue
            read = member.read()
            found = [read[image_id] for image_id in ids]
            limit = max(metric.max_detections)
            scores.append(model_scores(Overlaps(split, [found]), member.model, found, metric.area_ranges, limit, sets))
    return Measured(dict(zip(ids, parts.tolist(), strict=True)), list(zip(*scores, strict=True)))


# -------------------------------------------------------------------- searching


def learn(
    context: Context, prepared: Prepared, fusers: Fusers, held_out: Sequence[Predicted]
) -> tuple[Sequence[Setting], Setting]:
    """Search the fuser's settings on the validation split; return that of each part, and that for other images.

    Those are plain where the search is not worth it. What was found is kept beside the validation split's maps.
    """
    key = content_key(_content(context, prepared, _choice(context), held_out, held_out, search=True))
    file = context.store.folder("combine", key) / RECORD
    if not file.exists():
        found = _searched(context, prepared, fusers, held_out)
        write_json(file, found)
        context.console.say(found["line"])
    record = read_json(file)
    return [Setting.from_plain(each) for each in record["parts"]], Setting.from_plain(record["setting"])


def _searched(context: Context, prepared: Prepared, fusers: Fusers, held_out: Sequence[Predicted]) -> dict[str, Any]:
    """Return the record of a search."""
    table = context.profile.combine
    if table is None or table.search is None:
        raise ValueError("there is nothing to search")
    refuse_seen(prepared, held_out, table.held_out)
    split, metric = prepared.splits.validation, table.search.metric or "PQ"
    ids, parts = _division(context, prepared)
    groups, things = {image.id: image.group for image in split.images}, len(split.categories)
    names = [held.model for held in held_out if "instances" in held.gives]
    start = Setting((1.0,) * len(names))
    with context.console.task(f"search on {split.name}") as task:
        nested = nested_fusing(
            lambda setting: count_fused(split, held_out, fusers.held_out((setting,)), ids),
            parts,
            sets_of_parts(parts, int(parts.max()) + 1),
            [groups[image_id] for image_id in ids],
            start,
            table.search,
            fusers.options.model_dump(),
            {"PQth": slice(things), "PQst": slice(things, None)}.get(metric, slice(None)),
            lambda done: task.update(0, note=f"{done} settings fused"),
        )
    told = told_of(nested, metric, names, [category.name for category in split.categories])
    parts_used, used = (nested.parts, nested.setting) if nested.accepted else ((start,), start)
    return {
        "parts": [setting.plain() for setting in parts_used],
        "setting": used.plain(),
        "search": told,
        "line": verdict_of(nested, metric),
    }
