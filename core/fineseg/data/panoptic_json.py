"""Reading COCO panoptic files: which maps belong to which images, what their segments are, and whole splits."""

import os
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fineseg.data import masks
from fineseg.data.coco import new_id, read_images
from fineseg.data.json_entries import Entry, document_of, entries_of, entry_at, kind_of, load_json, shown, shown_ids
from fineseg.data.panoptic import LARGEST_ID, load_map
from fineseg.data.split import RLE, Category, ImageInfo, PanopticFile, Segment, Split, TrueObject
from fineseg.errors import FinesegError

UNKNOWN_CLASS = -1
SHOWN_FAULTS = 20
"""Maps whose faults are told."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class PanopticClasses:
    """The classes of a panoptic file, each kind by rising id. A label is a position in things, then stuff."""

    things: tuple[Category, ...]
    stuff: tuple[Category, ...]

    @property
    def every(self) -> tuple[Category, ...]:
        """Things, then stuff: the order of the labels."""
        return self.things + self.stuff

    def labels(self) -> dict[int, int]:
        """Return category id -> label: the one place where a file's numbers become ours."""
        return {category.id: label for label, category in enumerate(self.every)}


def read_classes(top: Entry) -> PanopticClasses:
    """Return the classes that a file lists; one that has no name goes by its id."""
    kinds: tuple[list[Category], list[Category]] = ([], [])
    seen: dict[int, str] = {}
    for entry in entries_of(top, "categories"):
        number, is_thing = new_id(entry, seen), entry.get("isthing")
        if is_thing not in (0, 1):
            raise entry.fault(f"isthing is {shown(is_thing)}; it must be 1 for things, 0 for stuff")
        name = entry.text("name") if entry.has("name") else str(number)
        super_name = entry.text("supercategory") if entry.has("supercategory") else ""
        colour = _colour(entry.get("color")) if entry.has("color") else None
        kinds[0 if is_thing else 1].append(Category(number, name, super_name, colour))
    things, stuff = (tuple(sorted(kind, key=lambda category: category.id)) for kind in kinds)
    if not things + stuff:
        raise top.fault("categories is empty; at least one class is needed")
    return PanopticClasses(things, stuff)


def _colour(value: Any) -> tuple[int, int, int] | None:
    """Return a colour to draw a class in; nothing else hangs on it, so what is none is no fault."""
    if isinstance(value, list) and len(value) == 3 and all(type(each) is int and 0 <= each <= 255 for each in value):
        return value[0], value[1], value[2]
    return None


# ---------------------------------------------------------------- annotations


def read_truth_maps(top: Entry, folder: Path, labels: Mapping[int, int], *, strict: bool) -> dict[int, PanopticFile]:
    """Return the true maps of a file by image id; `folder` holds the PNGs.

    A class that is not in the table is a fault when `strict`, else -1.
    """
    unknown = None if strict else UNKNOWN_CLASS
    return {number: _read_map(entry, folder, labels, unknown, truth=True) for number, entry in _by_image(top)}


def read_found_maps(
    top: Entry, folder: Path, labels: Mapping[int, int], images: Container[int]
) -> dict[int, PanopticFile]:
    """Return the predicted maps of these images by image id; what the file says of others stays unread."""
    return {number: found_map(entry, folder, labels) for number, entry in _by_image(top) if number in images}


def found_map(entry: Entry, folder: Path, labels: Mapping[int, int]) -> PanopticFile:
    """Return the predicted map of one annotation."""
    return _read_map(entry, folder, labels, None, truth=False)


def _by_image(top: Entry) -> list[tuple[int, Entry]]:
    found: dict[int, Entry] = {}
    for entry in entries_of(top, "annotations"):
        number = entry.integer("image_id")
        if number in found:
            first = found[number].where.rsplit(": ", 1)[-1]
            raise entry.fault(f"image {number} is annotated in {first} already; one annotation an image")
        found[number] = entry
    return list(found.items())


def _read_map(
    entry: Entry, folder: Path, labels: Mapping[int, int], unknown: int | None, *, truth: bool
) -> PanopticFile:
    name, rows = entry.text("file_name"), entry.get("segments_info")
    if not name.strip():
        raise entry.fault(f"file_name is {name!r}, which can be no file")
    if not isinstance(rows, list):
        raise entry.fault(f"segments_info must be a list, not {kind_of(rows)}")
    image = f"{entry.where}: image {entry.value['image_id']}"
    segments: dict[int, Segment] = {}
    for index, row in enumerate(rows):
        number = entry_at(row, f"{image}: segments_info[{index}]").integer("id", 1, LARGEST_ID)
        if number in segments:
            raise entry.fault(f"image {entry.value['image_id']}: segment {number} is listed twice; ids must differ")
        segments[number] = _read_segment(Entry(row, f"{image}: segment {number}"), labels, unknown, truth=truth)
    return PanopticFile(folder / name, tuple(segments.values()))


def _read_segment(entry: Entry, labels: Mapping[int, int], unknown: int | None, *, truth: bool) -> Segment:
    category = entry.integer("category_id")
    label = labels.get(category, unknown)
    if label is None:
        raise entry.fault(f"category_id {category} is in no category; known ids {shown_ids(sorted(labels))}")
    number: int = entry.value["id"]
    if not truth:
        return Segment(number, label)
    crowd = entry.get("iscrowd")
    if crowd not in (0, 1):
        raise entry.fault("iscrowd must be 0 or 1")
    return Segment(number, label, entry.number("area", low=0), bool(crowd))


# ---------------------------------------------------------------------- splits


def read_panoptic(
    annotations: Path, maps: Path, images: Path, name: str, *, labelled: bool | None = None, classes: Path | None = None
) -> Split:
    """Read a COCO panoptic file: things as instances, their masks from the PNGs in `maps`; and the maps by path.

    `labelled` as in `read_coco`. `classes` is the file whose categories count where those of `annotations` do not say
    which are things. Raises `FinesegError`, also for PNGs whose size or segments are others than the file says: with a
    line for each of them.
    """
    top = document_of(load_json(annotations), str(annotations), "images, annotations and categories")
    table = read_classes(_with_kinds(top, classes))
    infos = tuple(read_images(top, images))
    if labelled is None:
        labelled = "annotations" in top.value
    if not labelled:
        return Split(name, table.things, infos, labelled=False, stuff=table.stuff)
    found = read_truth_maps(top, maps, table.labels(), strict=True)
    by_id = {image.id: image for image in infos}
    for number in found:
        if number not in by_id:
            raise top.fault(f"image_id {number} of an annotation is in no image; known ids {shown_ids(sorted(by_id))}")
    missing = [image.id for image in infos if image.id not in found]
    if missing:
        raise top.fault(f"image {missing[0]} has no annotation ({len(missing)} of {len(infos)} images have none)")
    objects = _read_things(infos, found, len(table.things))
    return Split(name, table.things, infos, objects, stuff=table.stuff, panoptic=found)


def _with_kinds(top: Entry, classes: Path | None) -> Entry:
    """Return the file whose categories say which are things: this one, or else the one named for that."""
    rows = top.value.get("categories")
    told = isinstance(rows, list) and all(isinstance(row, dict) and "isthing" in row for row in rows)
    if told and rows:
        return top
    if classes is None:
        raise top.fault("categories do not say which are things (isthing); name a file of the data set whose do")
    return document_of(load_json(classes), str(classes), "categories")


def _read_things(
    images: Sequence[ImageInfo], maps: Mapping[int, PanopticFile], things: int
) -> dict[int, tuple[TrueObject, ...]]:
    """Return the objects of each image, numbered through all of them: a segment's id is its image's own affair."""

    def read(image: ImageInfo) -> list[TrueObject] | FinesegError:
        try:
            return things_of(maps[image.id], image, things)
        except FinesegError as fault:
            return fault

    found: dict[int, tuple[TrueObject, ...]] = {}
    faults: list[str] = []
    count = 0
    for image, objects in zip(images, _in_threads(read, images), strict=True):
        if isinstance(objects, FinesegError):
            faults.append(str(objects))
            continue
        found[image.id] = tuple(replace(each, id=count + place) for place, each in enumerate(objects, 1))
        count += len(objects)
    if faults:
        more = [f"and {len(faults) - SHOWN_FAULTS} more maps"] if len(faults) > SHOWN_FAULTS else []
        raise FinesegError("\n".join([*faults[:SHOWN_FAULTS], *more]))
    return found


def _in_threads(read: Callable[[ImageInfo], Found], images: Sequence[ImageInfo]) -> Iterable[Found]:
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # decoding PNGs releases the interpreter's lock
        for start in range(0, len(images), 16 * workers):  # some at a time: an interrupt ends it soon
            yield from pool.map(read, images[start : start + 16 * workers])


def things_of(panoptic: PanopticFile, image: ImageInfo, things: int) -> list[TrueObject]:
    """Return the segments of a map whose labels lie below `things` as objects, under their ids in the map."""
    chosen = [each for each in panoptic.segments if each.label < things]
    coded = segment_masks(load_map(panoptic, image).ids, [each.id for each in chosen])
    tight = masks.boxes([coded[each.id]["counts"] for each in chosen], image.height, image.width).tolist()
    return [
        TrueObject(each.id, each.label, (x1, y1, x2, y2), coded[each.id], each.area or 0.0, each.crowd)
        for each, (x1, y1, x2, y2) in zip(chosen, tight, strict=True)
    ]


def segment_masks(ids: np.ndarray, wanted: Collection[int]) -> Mapping[int, RLE]:
    """Return the mask of each wanted segment of a map [H, W] by id, all from one pass over the pixels."""
    columns = np.ascontiguousarray(ids.T).ravel()  # RLE goes down the columns
    starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
    ends = np.append(starts[1:], columns.size)
    owners = columns[starts]
    order = np.argsort(owners, kind="stable")
    first, last = (np.searchsorted(owners[order], list(wanted), side=side) for side in ("left", "right"))
    found = {}
    for number, low, high in zip(wanted, first.tolist(), last.tolist(), strict=True):
        runs = order[low:high]
        edges = np.stack([starts[runs], ends[runs]], axis=1).ravel()
        lengths = np.diff(edges, prepend=0, append=columns.size).tolist()
        rle: Any = {"size": list(ids.shape), "counts": lengths if lengths[-1] else lengths[:-1]}
        found[number] = masks.to_rle(rle, *ids.shape)
    return found
