"""Fuse anyone's instances and semantics into panoptic maps: COCO results and masks by class in, COCO panoptic form out.

A model is called like its file, without the ending; a file of instances and one of semantics that are called alike are
one model's. Letters: C classes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.class_ends import ClassTable
from fineseg.coco_results import instances_of_results, load_results
from fineseg.console import Console
from fineseg.data.class_checks import shown_differences
from fineseg.data.coco import known_label, read_images, read_rle
from fineseg.data.json_entries import Entry, document_of, entries_of, entry_at, kind_of, load_json
from fineseg.data.panoptic import PanopticMap, encode_ids
from fineseg.data.panoptic_json import PanopticClasses, read_classes
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import Category, ImageInfo, Split
from fineseg.errors import FinesegError
from fineseg.parts import Fuse, FuserInput, ModelScore, Output, PanopticEnd, PanopticFuser
from fineseg.predictions import Instances
from fineseg.semantic_store import SemanticMasks
from fineseg.stages.fusers import map_fault
from fineseg.stages.threads import in_threads
from fineseg.store import folder_beside, write_json, write_text

OUTPUTS: tuple[Output, ...] = ("instances", "semantic")
NAME = "panoptic"
"""What the JSON and the folder of PNGs are called."""


@dataclass(frozen=True)
class Inputs:
    """Files to fuse. `images` has a list of them as COCO's annotations do, `categories` that of a panoptic file."""

    instances: Sequence[Path]
    semantics: Sequence[Path]
    images: Path
    categories: Path
    table: Path | None = None


@dataclass
class Fused:
    """What came of it; `left_aside` counts by file the entries of images that are not in the list."""

    file: Path
    images: int
    table: ClassTable | None
    left_aside: dict[Path, int]
    segments: int = 0
    classes: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Rows:
    """A results list by image: places in the list, which names its entries in messages."""

    rows: Sequence[Any]
    source: str
    places: Mapping[int, Sequence[int]]


def fuse_files(inputs: Inputs, part: PanopticFuser, options: Any, console: Console, out: Path) -> Fused:
    """Fuse image by image, and write `out`/panoptic.json and the PNGs in `out`/panoptic, whole or not at all.

    Where the fuser takes classes from different models, `out`/class_table.json says which. Raises `FinesegError`.
    """
    with folder_beside(out) as beside:
        with console.task(f"read {inputs.images}"):
            classes = _read_categories(inputs.categories)
            images = _read_images(inputs.images)
        wanted = {image.id for image in images}
        tables: list[dict[str, _Rows]] = []
        aside: dict[Path, int] = {}
        for files in (inputs.instances, inputs.semantics):
            refuse_same_names(files)
            tables.append({})
            for file in files:
                with console.task(f"read {file}"):
                    tables[-1][file.stem], aside[file] = _by_image(file, wanted)
        models = tuple(dict.fromkeys([*tables[0], *tables[1]]))
        gives = {
            model: [output for output, table in zip(OUTPUTS, tables, strict=True) if model in table] for model in models
        }
        scores = _scores(models, list(tables[0]), inputs, classes)
        given = FuserInput(len(classes.things), len(classes.stuff), scores, gives)
        fuse = part.build(options, given)
        table = None if part.class_table is None else part.class_table(options, given)
        if table is not None:
            write_json(beside / "class_table.json", table.plain(classes.things))
        fused = Fused(out / f"{NAME}.json", len(images), table, {file: n for file, n in aside.items() if n})
        work = _Work(fuse, models, tables[0], tables[1], classes, beside / NAME)
        _write(work, images, fused, beside, console)
    return fused


def _write(work: "_Work", images: Sequence[ImageInfo], fused: Fused, beside: Path, console: Console) -> None:
    work.folder.mkdir()
    annotations = []
    with console.task("fuse", len(images), "images") as task:
        for image, found in zip(images, in_threads(work, iter(images)), strict=True):
            rows = [{"id": s.id, "category_id": work.classes.every[s.label].id} for s in found.segments]
            annotations.append({"image_id": image.id, "file_name": _png(image), "segments_info": rows})
            fused.segments += len(rows)
            fused.classes |= {each.label for each in found.segments}
            task.update(len(annotations))
    things = len(work.classes.things)
    document = {
        "images": [{"id": i.id, "file_name": i.file.as_posix(), "width": i.width, "height": i.height} for i in images],
        "annotations": annotations,
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": c.supercategory, "isthing": int(label < things)}
            for label, c in enumerate(work.classes.every)
        ],
    }
    write_text(beside / f"{NAME}.json", json.dumps(document, separators=(",", ":")))


@dataclass(frozen=True)
class _Work:
    """What it takes to fuse one image; called with it, writes its PNG and returns the map without its pixels."""

    fuse: Fuse
    models: Sequence[str]
    instances: Mapping[str, _Rows]
    semantics: Mapping[str, _Rows]
    classes: PanopticClasses
    folder: Path

    def __call__(self, image: ImageInfo) -> PanopticMap:
        ends = []
        for model in self.models:
            found = self.instances.get(model)
            regions = self.semantics.get(model)
            ends.append(
                PanopticEnd(
                    model,
                    None if found is None else _instances(found, image, self.classes),
                    None if regions is None else _semantics(regions, image, self.classes),
                )
            )
        fused = self.fuse(ends)
        fault = map_fault(fused, image, len(self.classes.every))
        if fault:
            raise FinesegError(f"image {image.id}: the fuser's map is not sound: {fault}")
        (self.folder / _png(image)).write_bytes(encode_ids(fused.ids))
        return PanopticMap(image.id, np.zeros((0, 0), np.int32), fused.segments)


def _png(image: ImageInfo) -> str:
    return f"{image.file.stem}.png"


# --------------------------------------------------------------------- reading


def _read_categories(path: Path) -> PanopticClasses:
    """Return the classes of a panoptic file, or of a list of categories alone, as panopticapi takes it."""
    document = load_json(path)
    if isinstance(document, list):
        document = {"categories": document}
    return read_classes(document_of(document, str(path), "categories"))


def _read_images(path: Path) -> list[ImageInfo]:
    """Return the images of a list; their PNGs are called like their files, so these must differ."""
    top = document_of(load_json(path), str(path), "images")
    images = read_images(top, Path())
    if not images:
        raise top.fault("images is empty; at least one is needed")
    first: dict[str, ImageInfo] = {}
    for image in images:
        other = first.setdefault(_png(image), image)
        if other is not image:
            raise top.fault(f"images {other.id} and {image.id} both have the map {_png(image)}; names must differ")
    return images


def refuse_same_names(files: Sequence[Path]) -> None:
    """Raise `FinesegError` for files that are called alike: models are called like them."""
    seen: dict[str, Path] = {}
    for file in files:
        if seen.setdefault(file.stem, file) is not file:
            raise FinesegError(f"{seen[file.stem]} and {file} are both model '{file.stem}'; call one of them otherwise")


def _by_image(file: Path, wanted: set[int]) -> tuple[_Rows, int]:
    """Return a results list by image, of those that are wanted, and the number of other entries."""
    rows, source = load_results(file)
    if not isinstance(rows, list):
        raise FinesegError(f"{source}: must be a list of results, not {kind_of(rows)}")
    places: dict[int, list[int]] = {number: [] for number in wanted}
    ids: dict[int, int] = {}
    aside = 0
    for index, row in enumerate(rows):
        entry = entry_at(row, f"{source}[{index}]")
        if "id" in row and ids.setdefault(entry.integer("id"), index) != index:
            raise entry.fault(f"id {row['id']} is taken by [{ids[row['id']]}]; ids must differ")
        if entry.integer("image_id") in wanted:
            places[row["image_id"]].append(index)
        else:
            aside += 1
    return _Rows(rows, source, places), aside


def _instances(found: _Rows, image: ImageInfo, classes: PanopticClasses) -> Instances:
    places = found.places[image.id]
    split = Split("fuse", classes.every, (image,), labelled=False)
    made = instances_of_results([found.rows[place] for place in places], found.source, split, places)[image.id]
    for place, label in zip(places, made.labels.tolist(), strict=True):
        if label >= len(classes.things):
            stuff = classes.every[label]
            raise FinesegError(f"{found.source}[{place}]: category {stuff.id} is stuff; instances are of things")
    return made


def _semantics(found: _Rows, image: ImageInfo, classes: PanopticClasses) -> SemanticMasks:
    labels = classes.labels()
    regions: dict[int, tuple[int, bytes]] = {}
    for place in found.places[image.id]:
        entry = Entry(found.rows[place], f"{found.source}[{place}]")
        label = known_label(entry, labels)
        if label in regions:
            first = f"[{regions[label][0]}]"
            raise entry.fault(f"image {image.id} has class {classes.every[label].id} in {first} already; one mask each")
        value = entry.get("segmentation")
        if not isinstance(value, dict):
            raise entry.fault("segmentation must be an RLE {size: [height, width], counts}")
        rle = read_rle(entry, Entry(value, f"{entry.where}: segmentation"), image)
        regions[label] = (place, rle["counts"])
    counts = [each for _, each in regions.values()]
    for index, text in find_unsound(counts, [image.height * image.width] * len(counts)).items():
        raise FinesegError(f"{found.source}[{list(regions.values())[index][0]}]: segmentation: {text}")
    masks = [(label, each) for label, (_, each) in regions.items()]
    return SemanticMasks(masks, len(classes.every), (image.height, image.width))


# ----------------------------------------------------------------- class table


def _scores(
    models: Sequence[str], speakers: Sequence[str], inputs: Inputs, classes: PanopticClasses
) -> tuple[ModelScore, ...]:
    """Return what is known of each model: AP from the table for those with instances, nothing else."""
    known = {} if inputs.table is None else read_class_table(inputs.table, speakers, classes.things)
    return tuple(known.get(model, ModelScore(model, math.nan, ())) for model in models)


def read_class_table(path: Path, models: Sequence[str], things: Sequence[Category]) -> dict[str, ModelScore]:
    """Return the AP of these models, all and by thing class [T], from a file that `fineseg class-table` wrote.

    Raises `FinesegError`, also where it is of other classes or lacks a model.
    """
    top = document_of(load_json(path), str(path), "ap and classes")
    rows = {}
    for entry in entries_of(top, "classes"):
        rows[entry.integer("id")] = entry
    named = [Category(number, rows[number].text("name")) for number in sorted(rows)]
    known = {category.id: category.name for category in named}
    told = [Category(each.id, known.get(each.id, each.name)) for each in things]  # ids count, names are for people
    wrong = shown_differences(told, named)
    if wrong:
        raise top.fault(f"its classes are not the things of the categories: {wrong}")
    ordered = [rows[each.id] for each in things]
    return {
        model: ModelScore(
            model,
            _ap_of(top, model),
            tuple(_ap_of(row, model) for row in ordered),
            tuple(row.integer("objects", 0) for row in ordered if row.has("objects")),
        )
        for model in models
    }


def _ap_of(entry: Entry, model: str) -> float:
    table = entry.get("ap")
    if not isinstance(table, dict) or model not in table:
        there = ", ".join(table) if isinstance(table, dict) else "none"
        raise entry.fault(f"ap has no model '{model}'; there: {there}. Models are called like their files")
    return math.nan if table[model] is None else entry.as_number(table[model], f"ap of {model}", 0, 100)
