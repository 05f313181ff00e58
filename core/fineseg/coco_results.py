"""Results in COCO's own form, a list of {image_id, category_id, segmentation, score}: writing, reading, checking.

The list may stand alone, under `annotations` of an object, and in a zip.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data import masks
from fineseg.data.coco import LARGEST_SIDE, Box, known_image, known_label, read_box, read_rle
from fineseg.data.json_entries import Entry, entry_at, kind_of, load_json, shown
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import Category, ImageInfo, Split
from fineseg.data.zipped import load_zipped_json
from fineseg.errors import FinesegError
from fineseg.predictions import Instances, make_instances

ANY_SCORE = (-1e12, 1e12)


@dataclass(frozen=True)
class Result:
    """One sound entry of a results list; `box` is None where the entry has no bbox."""

    where: str
    image: ImageInfo
    label: int
    score: float
    box: Box | None
    counts: bytes


def write_coco_results(
    predictions: Iterable[Instances], categories: Sequence[Category], *, decimals: int | None = None
) -> list[dict[str, Any]]:
    """Return the results of many images as plain data for JSON, image by image.

    Labels become the categories' ids, boxes [x, y, width, height]; scores are rounded to `decimals` where given.
    """
    return [entry for instances in predictions for entry in _written(instances, categories, decimals)]


def _written(instances: Instances, categories: Sequence[Category], decimals: int | None) -> Iterator[dict[str, Any]]:
    size = [instances.height, instances.width]
    for label, score, box, counts in zip(
        instances.labels.tolist(), instances.scores.tolist(), instances.boxes.tolist(), instances.masks, strict=True
    ):
        yield {
            "image_id": instances.image_id,
            "category_id": categories[label].id,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score if decimals is None else round(score, decimals),
            "segmentation": {"size": size, "counts": counts.decode("ascii")},
        }


def read_coco_results(path: Path, split: Split) -> dict[int, Instances]:
    """Read a results file: instances by image id, empty ones for images that it does not name.

    A box that is absent is the mask's. Raises `FinesegError` with the first fault: file, place, what is wrong.
    """
    return instances_of_results(*load_results(path), split)


def load_results(path: Path) -> tuple[Any, str]:
    """Return the parsed results list of a file, unchecked, and how messages name it."""
    document, source = load_zipped_json(path) if path.suffix == ".zip" else (load_json(path), str(path))
    if isinstance(document, dict) and "annotations" in document:
        return document["annotations"], f"{source}: annotations"
    return document, source


def split_of_results(loaded: Iterable[tuple[Any, str]]) -> Split:
    """Return the split that results lists, each with its name in messages, speak of by themselves.

    Images have the size of their first mask, categories are called by their ids. Raises `FinesegError` where an entry
    does not say so much.
    """
    images: dict[int, ImageInfo] = {}
    categories: set[int] = set()
    for rows, source in loaded:
        for entry in _entries(rows, source):
            number = entry.integer("image_id")
            categories.add(entry.integer("category_id"))
            if number not in images:
                height, width = _stated_size(entry)
                images[number] = ImageInfo(number, Path(str(number)), width, height)
    classes = tuple(Category(number, str(number)) for number in sorted(categories))
    return Split("results", classes, tuple(images[number] for number in sorted(images)), labelled=False)


def _stated_size(entry: Entry) -> tuple[int, int]:
    value = entry.get("segmentation")
    size = value.get("size") if isinstance(value, dict) else None
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= LARGEST_SIDE for n in size)):
        raise entry.fault(f"segmentation: size is {shown(size)}; it must be [height, width]")
    return size[0], size[1]


def _entries(rows: Any, source: str) -> Iterator[Entry]:
    if not isinstance(rows, list):
        raise FinesegError(f"{source}: must be a list of results, not {kind_of(rows)}")
    return (entry_at(row, f"{source}[{index}]") for index, row in enumerate(rows))


def instances_of_results(
    rows: Any, source: str, split: Split, places: Sequence[int] | None = None
) -> dict[int, Instances]:
    """Turn a parsed results list into instances by image id; `source` names the list in messages.

    `places` are where the rows stand in the list, if they are only some of it.

    Scores and boxes are float64, as the file states them: rounded to float32 some would be equal, and order counts.
    """
    results, faults = parse_results(rows, source, split, places=places)
    if faults:
        raise FinesegError(faults[0])
    by_image: dict[int, list[Result]] = {image.id: [] for image in split.images}
    for result in results:
        by_image[result.image.id].append(result)
    return {image.id: _instances(image, by_image[image.id]) for image in split.images}


def parse_results(
    rows: Any,
    source: str,
    split: Split,
    scores: tuple[float, float] = ANY_SCORE,
    *,
    places: Sequence[int] | None = None,
) -> tuple[list[Result], list[str]]:
    """Return the sound entries of a results list, and one line for each other one, in order of the list.

    `scores` is the range that a score must lie in, `places` as in `instances_of_results`. Raises `FinesegError` when
    `rows` is no list.
    """
    if not isinstance(rows, list):
        raise FinesegError(f"{source}: must be a list of results, not {kind_of(rows)}")
    images = {image.id: image for image in split.images}
    labels = {category.id: label for label, category in enumerate(split.categories)}
    found: dict[int, Result] = {}
    faults: dict[int, str] = {}
    for index, row in zip(range(len(rows)) if places is None else places, rows, strict=True):
        try:
            found[index] = _read_result(entry_at(row, f"{source}[{index}]"), images, labels, scores)
        except FinesegError as error:
            faults[index] = str(error)
    read = list(found)
    pixels = [found[place].image.height * found[place].image.width for place in read]
    unsound = find_unsound([found[place].counts for place in read], pixels)
    for index, text in unsound.items():
        faults[read[index]] = f"{found.pop(read[index]).where}: segmentation: {text}"
    return list(found.values()), [faults[index] for index in sorted(faults)]


def _read_result(
    entry: Entry, images: Mapping[int, ImageInfo], labels: Mapping[int, int], scores: tuple[float, float]
) -> Result:
    image, label = known_image(entry, images), known_label(entry, labels)
    score = entry.number("score", *scores)
    value = entry.get("segmentation")
    if not isinstance(value, dict) or not isinstance(value.get("counts", ""), str):
        raise entry.fault("segmentation must be a compressed RLE {size: [height, width], counts: text}")
    rle = read_rle(entry, Entry(value, f"{entry.where}: segmentation"), image)
    return Result(entry.where, image, label, score, read_box(entry), rle["counts"])


def _instances(image: ImageInfo, results: Sequence[Result]) -> Instances:
    boxless = [result.counts for result in results if result.box is None]
    tight = iter(masks.boxes(boxless, image.height, image.width).tolist())
    boxes = [next(tight) if result.box is None else result.box for result in results]
    exact_boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    exact_scores = np.array([result.score for result in results], dtype=np.float64)
    labels, counts = [result.label for result in results], [result.counts for result in results]
    made = make_instances(image.id, (image.height, image.width), labels, exact_scores, exact_boxes, counts)
    return made.with_rows(made.labels, exact_scores, exact_boxes, made.masks)
