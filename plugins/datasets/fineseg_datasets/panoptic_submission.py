"""Submission `coco-panoptic`: the zip that COCO's panoptic server takes.

`panoptic_<split>_<algorithm>_results.json` beside the folder `panoptic_<split>_<algorithm>_results` of PNGs. A PNG's
colours are the ids of segments, which the JSON gives their categories.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fineseg import FinesegError, ImageInfo, PanopticFile, PanopticMap, Segment, Split
from fineseg.data.json_entries import Entry, document_of, entries_of, parse_json
from fineseg.data.panoptic import decode_ids, encode_ids, present_ids, segment_fault
from fineseg.data.panoptic_json import found_map
from fineseg.data.zipped import LARGEST_JSON
from fineseg.store import write_beside
from fineseg_datasets.archive import zip_member
from fineseg_datasets.options import CocoPanopticSubmissionOptions
from fineseg_datasets.result_rows import shortened

THREADS = 4
AT_ONCE = 64
"""Images whose PNGs are in memory at a time."""

In = TypeVar("In")
Out = TypeVar("Out")


def results_name(options: CocoPanopticSubmissionOptions, split: Split) -> str:
    """Return what the JSON and the folder in the zip are called."""
    return f"panoptic_{split.name}_{options.algorithm}_results"


# --------------------------------------------------------------------- writing


def write(
    options: CocoPanopticSubmissionOptions, split: Split, predictions: Mapping[int, PanopticMap], path: Path
) -> Path:
    """Write the zip, whole or not at all; equal maps give equal bytes.

    Raises `FinesegError` for an image without prediction, and for a map that does not fit its image or contradicts its
    list of segments.
    """
    name = results_name(options, split)
    maps = (_sound(split, image, predictions) for image in split.images)

    def fill(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w") as archive:
            pngs = _in_threads(lambda each: encode_ids(each.ids), maps)
            for image, png in zip(split.images, pngs, strict=True):
                member = zip_member(f"{name}/{_png_name(image)}", zipfile.ZIP_STORED)  # a PNG is compressed as it is
                archive.writestr(member, png)
            text = json.dumps(_document(split, predictions), separators=(",", ":"))
            archive.writestr(zip_member(f"{name}.json"), text.encode("utf-8"))

    write_beside(path, fill)
    return path


def _png_name(image: ImageInfo) -> str:
    return f"{image.file.stem}.png"


def _document(split: Split, predictions: Mapping[int, PanopticMap]) -> dict[str, Any]:
    classes, things = split.panoptic_categories, len(split.categories)
    return {
        "images": [
            {"id": image.id, "file_name": image.file.name, "width": image.width, "height": image.height}
            for image in split.images
        ],
        "annotations": [
            {
                "image_id": image.id,
                "file_name": _png_name(image),
                "segments_info": [
                    {"id": each.id, "category_id": classes[each.label].id} for each in predictions[image.id].segments
                ],
            }
            for image in split.images
        ],
        "categories": [
            {"id": each.id, "name": each.name, "supercategory": each.supercategory, "isthing": int(label < things)}
            for label, each in enumerate(classes)
        ],
    }


def _sound(split: Split, image: ImageInfo, predictions: Mapping[int, PanopticMap]) -> PanopticMap:
    where = f"image {image.id} ({image.file.name})"
    if image.id not in predictions:
        raise FinesegError(f"{where} of split '{split.name}' has not been predicted; predict all of its images first")
    found = predictions[image.id]
    if not isinstance(found, PanopticMap):
        raise FinesegError(f"{where}: this format takes panoptic maps; instances go into another one")
    if found.ids.shape != (image.height, image.width):
        given, wanted = " x ".join(map(str, found.ids.shape)), f"{image.height} x {image.width}"
        raise FinesegError(f"{where}: its predicted map is of size {given}; the image is {wanted} (height x width)")
    for each in found.segments:
        if not 0 <= each.label < len(split.panoptic_categories):
            text = f"has label {each.label}, beyond the {len(split.panoptic_categories)} classes"
            raise FinesegError(f"{where}: segment {each.id} {text}")
    fault = segment_fault(present_ids(found.ids), found.segments) or _stuff_fault(split, found.segments)
    if fault:
        raise FinesegError(f"{where}: {fault}")
    return found


def _stuff_fault(split: Split, segments: Sequence[Segment]) -> str | None:
    """Find a stuff class with two segments in one image: a class of stuff is one segment, whatever its pieces."""
    first: dict[int, int] = {}
    for each in segments:
        if each.label >= len(split.categories) and first.setdefault(each.label, each.id) != each.id:
            name = split.panoptic_categories[each.label].name
            return f"segments {first[each.label]} and {each.id} are both '{name}'; a class of stuff is one segment"
    return None


def _in_threads(work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """Yield the results of all items in order, some items at a time; work on PNGs releases the interpreter's lock."""
    with ThreadPoolExecutor(THREADS) as pool:
        batch: list[In] = []
        for item in items:
            batch.append(item)
            if len(batch) == AT_ONCE:
                yield from pool.map(work, batch)
                batch = []
        yield from pool.map(work, batch)


# -------------------------------------------------------------------- checking


def check(options: CocoPanopticSubmissionOptions, split: Split, path: Path) -> list[str]:
    """Return what is wrong with a written file, one line each: members, then annotations, then maps image by image."""
    try:
        with zipfile.ZipFile(path) as archive:
            return shortened(_check_archive(archive, path, results_name(options, split), split))
    except FinesegError as error:
        return [str(error)]
    except FileNotFoundError:
        return [f"{path}: no such file"]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error})"]
    except Exception as error:  # a damaged zip fails in zipfile in a dozen ways
        return [f"{path}: is no readable zip ({' '.join(str(error).split())})"]


def _check_archive(archive: zipfile.ZipFile, path: Path, name: str, split: Split) -> list[str]:
    document = _load(archive, path, f"{name}.json")
    maps, faults = _read_maps(document, name, split)
    used = {str(each.file) for each in maps.values()}
    members = Counter(archive.namelist())
    for member in archive.namelist():
        if member not in used and member not in (f"{name}.json", f"{name}/"):
            faults.append(
                f"{path}: holds {member!r}, which no annotation names; there are {name}.json and its PNGs only"
            )

    def look(image: ImageInfo) -> str | None:
        panoptic = maps[image.id]
        if members[panoptic.file.as_posix()] != 1:
            return f"{path}: {panoptic.file.as_posix()}: must be in the zip once, as the map of image {image.id}"
        return _map_fault(archive, path, split, image, panoptic)

    images = [image for image in split.images if image.id in maps]
    return faults + [fault for fault in _in_threads(look, images) if fault is not None]


def _load(archive: zipfile.ZipFile, path: Path, name: str) -> Entry:
    if archive.namelist().count(name) != 1:
        raise FinesegError(f"{path}: must hold {name} once, not in a folder; it holds {_some(archive.namelist())}")
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise FinesegError(f"{path}: {name} is said to be larger than {LARGEST_JSON} bytes, more than are read")
    source = f"{path}: {name}"
    try:
        text = archive.read(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FinesegError(f"{source}: byte {error.start} is not UTF-8, so this is no JSON") from None
    return document_of(parse_json(text, source), source, "annotations")


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(map(repr, names[:most])) or "nothing"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _read_maps(document: Entry, folder: str, split: Split) -> tuple[dict[int, PanopticFile], list[str]]:
    """Return the sound annotations by image id, and one line for each other fault of the JSON."""
    known = {image.id for image in split.images}
    labels = {category.id: label for label, category in enumerate(split.panoptic_categories)}
    maps: dict[int, PanopticFile] = {}
    seen: set[int] = set()
    owners: dict[Path, int] = {}
    faults = []
    for entry in entries_of(document, "annotations"):
        try:
            number = entry.integer("image_id")
            if number not in known:
                raise entry.fault(f"image_id {number} is no image of split '{split.name}'")
            if number in seen:
                raise entry.fault(f"image {number} is annotated twice; one annotation an image")
            seen.add(number)
            found = found_map(entry, Path(folder), labels)
            if owners.setdefault(found.file, number) != number:
                raise entry.fault(f"image {number}: file_name is that of image {owners[found.file]} already")
            maps[number] = found
        except FinesegError as error:
            faults.append(str(error))
    missing = [image.id for image in split.images if image.id not in seen]
    if missing:
        count = f"{len(missing)} of the {len(known)} images of split '{split.name}' have none"
        faults.append(f"{document.where}: annotations: no annotation of image {missing[0]}; {count}")
    return maps, faults


def _map_fault(
    archive: zipfile.ZipFile, path: Path, split: Split, image: ImageInfo, panoptic: PanopticFile
) -> str | None:
    member = panoptic.file.as_posix()
    where = f"{path}: {member}"
    if archive.getinfo(member).file_size > 8 * image.width * image.height + 2**16:
        return f"{where}: is said to be larger than any PNG of {image.width} x {image.height} pixels"
    try:
        ids = decode_ids(archive.read(member), where)
    except FinesegError as error:
        return str(error)
    if ids.shape != (image.height, image.width):
        return (
            f"{where}: has {ids.shape[1]} x {ids.shape[0]} pixels; image {image.id} has {image.width} x {image.height}"
        )
    fault = segment_fault(present_ids(ids), panoptic.segments) or _stuff_fault(split, panoptic.segments)
    return f"{where}: image {image.id}: {fault}" if fault else None
