"""Results in COCO's own form, a list of {image_id, category_id, segmentation, score}: writing, reading, checking."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data import masks
from fineseg.data.coco import Box, known_image, known_label, read_box, read_rle
from fineseg.data.json_entries import Entry, entry_at, kind_of, load_json
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import Category, ImageInfo, Split
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
    return instances_of_results(load_json(path), str(path), split)


def instances_of_results(rows: Any, source: str, split: Split) -> dict[int, Instances]:
    """Turn a parsed results list into instances by image id; `source` names the list in messages."""
    results, faults = parse_results(rows, source, split)
    if faults:
        raise FinesegError(faults[0])
    by_image: dict[int, list[Result]] = {image.id: [] for image in split.images}
    for result in results:
        by_image[result.image.id].append(result)
    return {image.id: _instances(image, by_image[image.id]) for image in split.images}


def parse_results(
    rows: Any, source: str, split: Split, scores: tuple[float, float] = ANY_SCORE
) -> tuple[list[Result], list[str]]:
    """Return the sound entries of a results list, and one line for each other one, in order of the list.

    `scores` is the range that a score must lie in. Raises `FinesegError` when `rows` is no list.
    """
    if not isinstance(rows, list):
        raise FinesegError(f"{source}: must be a list of results, not {kind_of(rows)}")
    images = {image.id: image for image in split.images}
    labels = {category.id: label for label, category in enumerate(split.categories)}
    found: dict[int, Result] = {}
    faults: dict[int, str] = {}
    for index, row in enumerate(rows):
        try:
            found[index] = _read_result(entry_at(row, f"{source}[{index}]"), images, labels, scores)
        except FinesegError as error:
            faults[index] = str(error)
    places = list(found)
    pixels = [found[place].image.height * found[place].image.width for place in places]
    unsound = find_unsound([found[place].counts for place in places], pixels)
    for index, text in unsound.items():
        faults[places[index]] = f"{found.pop(places[index]).where}: segmentation: {text}"
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
    counts = [result.counts for result in results]
    tight = masks.boxes(counts, image.height, image.width)
    boxes = [box if result.box is None else result.box for result, box in zip(results, tight.tolist(), strict=True)]
    labels, scores = [r.label for r in results], [r.score for r in results]
    size = (image.height, image.width)
    return make_instances(image.id, size, labels, scores, np.asarray(boxes, dtype=np.float32), counts)
