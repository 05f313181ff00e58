"""What the stages do, done to anyone's files: score results against ground truth, combine results, check a submission.

Results are lists in COCO's form (see `coco_results`); ground truth is a COCO instances file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.coco_results import instances_of_results, load_results, split_of_results, write_coco_results
from fineseg.console import Console
from fineseg.data.coco import split_of
from fineseg.data.json_entries import load_json
from fineseg.data.split import Category, Split
from fineseg.errors import FinesegError
from fineseg.metrics.mask_ap import COCO_AREA_RANGES, APResult, AreaRanges, instance_ap, mask_ap, model_score
from fineseg.parts import Ensembler, ModelScore
from fineseg.predictions import Instances
from fineseg.profile.load import Loaded
from fineseg.runs import read_splits, wanted_splits
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.combine import merge_split
from fineseg.stages.context import Context
from fineseg.stages.prepare import data_root
from fineseg.store import Store

CLASS_NAME_KEYS = ("name", "fine-grained category name", "category_name")
"""Where a class's name may stand: in COCO's files, in 3D-FUTURE's."""


# --------------------------------------------------------------------- scoring


@dataclass(frozen=True)
class FileScores:
    """AP of a results file by kind, "segm" first, and the classes in the order of the rows."""

    kinds: Mapping[str, APResult]
    categories: tuple[Category, ...]

    def class_names(self) -> list[str]:
        """Return a name for each class; those that share one are told apart by their ids."""
        names = [category.name for category in self.categories]
        return [f"{c.name} ({c.id})" if names.count(c.name) > 1 else c.name for c in self.categories]

    def plain(self) -> dict[str, Any]:
        """Return JSON-ready data: a summary a kind, and "per_class" with the mask AP and the true objects of each."""
        tables = {kind: result.plain() for kind, result in self.kinds.items()}
        rows = dict(zip(self.class_names(), tables["segm"]["classes"], strict=True))
        return {**{kind: table["summary"] for kind, table in tables.items()}, "per_class": rows}


def score_file(
    predictions: Path, truth: Path, area_ranges: AreaRanges, max_detections: Sequence[int], console: Console
) -> FileScores:
    """Score a results file: masks, boxes where every result has one, and mask boundaries. Raises `FinesegError`."""
    with console.task(f"read {truth}"):
        split = read_truth(truth)
    with console.task(f"read {predictions}"):
        rows, source = load_results(predictions)
        found = instances_of_results(rows, source, split)
    settings: dict[str, Any] = {"area_ranges": area_ranges, "max_detections": max_detections}
    with console.task(f"score {predictions}"):
        kinds = instance_ap(split, found, **settings)
        if rows and all(row.get("bbox") is not None for row in rows):
            boxes = mask_ap(split, found, kind="bbox", **settings)
            kinds = {"segm": kinds.pop("segm"), "bbox": boxes, **kinds}
    return FileScores(kinds, split.categories)


def read_truth(path: Path) -> Split:
    """Read ground truth to score against; images need no file name, and classes that have no name go by their id."""
    document = load_json(path)
    if isinstance(document, dict):
        images, categories = document.get("images"), document.get("categories")
        if isinstance(images, list):
            document["images"] = [_with(image, "file_name", ("file_name",)) for image in images]
        if isinstance(categories, list):
            document["categories"] = [_with(category, "name", CLASS_NAME_KEYS) for category in categories]
    return split_of(document, str(path), path.parent, path.stem, labelled=True)


def _with(row: Any, key: str, sources: Sequence[str]) -> Any:
    """Return a row with a text under `key`: what the first of `sources` holds, else its id."""
    if not isinstance(row, dict):
        return row
    found = next((row[source] for source in sources if row.get(source) is not None), str(row.get("id")))
    return {**row, key: found}


# ------------------------------------------------------------------- combining


def combine_files(
    files: Sequence[Path],
    ensembler: Ensembler,
    options: Any,
    console: Console,
    *,
    aps: Sequence[float] | None = None,
    truth: Path | None = None,
) -> tuple[list[dict[str, Any]], list[ModelScore]]:
    """Merge results files image by image; return a results list, and the models' scores that weighed them.

    The scores are `aps` [percent], or measured against the ground truth, or not known (nan). Without ground truth the
    images and classes are those that the files name. Raises `FinesegError`.
    """
    loaded = []
    for file in files:
        with console.task(f"read {file}"):
            loaded.append(load_results(file))
    split = split_of_results(loaded) if truth is None else read_truth(truth)
    members = []
    for file, (rows, source) in zip(files, loaded, strict=True):
        with console.task(f"check {file}"):
            members.append(instances_of_results(rows, source, split))
    scores = _model_scores(files, members, split, aps, console)
    merged = merge_split(split, members, ensembler.build(options, scores), console)
    return write_coco_results(merged, split.categories), scores


def _model_scores(
    files: Sequence[Path],
    members: Sequence[Mapping[int, Instances]],
    split: Split,
    aps: Sequence[float] | None,
    console: Console,
) -> list[ModelScore]:
    if not split.labelled:
        known = [float("nan")] * len(files) if aps is None else aps
        return [ModelScore(str(file), ap, ()) for file, ap in zip(files, known, strict=True)]
    scores = []
    for file, found in zip(files, members, strict=True):
        with console.task(f"score {file}"):
            result = mask_ap(split, found)
        scores.append(model_score(str(file), result, COCO_AREA_RANGES))
    return scores


# -------------------------------------------------------------------- checking


def check_submission(loaded: Loaded, catalog: Catalog, console: Console, store: Path, file: Path) -> str:
    """Check a submission file against a profile's test split and format; return in one line what it holds.

    Raises `FinesegError` with one line for each fault.
    """
    profile = loaded.profile
    if profile.submission is None:
        raise FinesegError(f"{loaded.file}: submission: missing; the profile needs [submission] to say what is right")
    with Scheduler(console) as scheduler:
        context = Context(profile, loaded.tables, loaded.file, catalog, Store(store), console, scheduler)
        split = _test_split(context)
    part, options = catalog.choose("submission", profile.submission.format.name, profile.submission.format.options)
    with console.task(f"check {file}"):
        faults = part.check(options, split, file)
        if faults:
            raise FinesegError("\n".join(faults))
        found = None if part.read is None else part.read(options, split, file)
    line = f"{file}: ok; format '{part.name}' for the {len(split.images)} images of '{split.name}'"
    return line if found is None else f"{line}; {_contents(found, split)}"


def _test_split(context: Context) -> Split:
    """Read the split that submissions are made for, and no other where it has a file of its own."""
    data = context.profile.data
    if data.test is None:
        root = data_root(context, wanted_splits(context.profile))
        return read_splits(context.profile, context.catalog, root).test
    part, options = context.catalog.choose("dataset", data.dataset.name, data.dataset.options)
    split: Split = part.read(options, data_root(context, (data.test,)), data.test)
    return split


def _contents(found: Mapping[int, Instances], split: Split) -> str:
    counts = [len(instances) for instances in found.values()]
    classes = {label for instances in found.values() for label in instances.labels.tolist()}
    return (
        f"{sum(counts)} detections in {sum(count > 0 for count in counts)} images (at most {max(counts, default=0)} in "
        f"one), of {len(classes)} of {len(split.categories)} classes"
    )
