"""What both submission formats share: which detections are written, and what is wrong with a list of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fineseg import FinesegError, ImageInfo, Instances, Split
from fineseg.coco_results import ANY_SCORE, Result, parse_results, write_coco_results
from fineseg.data.masks import areas

MOST_LINES = 100  # of a report; what is wrong everywhere need not be said of every entry


def result_rows(
    split: Split, predictions: Mapping[int, Instances], max_per_image: int, decimals: int | None
) -> list[dict[str, Any]]:
    """Return COCO results of a split's images in order, the best `max_per_image` of each, best first.

    Entries that repeat another to the letter are left out. Raises `FinesegError` for an image without prediction and
    for instances that do not fit it.
    """
    best = (_best(split, image, predictions, max_per_image) for image in split.images)
    return list(_without_twins(write_coco_results(best, split.categories, decimals=decimals)))


def _best(split: Split, image: ImageInfo, predictions: Mapping[int, Instances], most: int) -> Instances:
    where = f"image {image.id} ({image.file.name})"
    if image.id not in predictions:
        raise FinesegError(f"{where} of split '{split.name}' has not been predicted; predict all of its images first")
    found = predictions[image.id]
    if (found.height, found.width) != (image.height, image.width):
        given, wanted = f"{found.height} x {found.width}", f"{image.height} x {image.width}"
        raise FinesegError(f"{where}: its prediction is of size {given}; the image is {wanted} (height x width)")
    if not np.all((found.labels >= 0) & (found.labels < len(split.categories))):
        raise FinesegError(f"{where}: its prediction has labels beyond the {len(split.categories)} classes")
    if not (np.all(np.isfinite(found.scores)) and np.all(np.isfinite(found.boxes))):
        raise FinesegError(f"{where}: its prediction has scores or boxes that are no numbers")
    return found.select(np.argsort(-found.scores, kind="stable")[:most])


def _without_twins(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Drop entries with the image, class, mask and score of an earlier one, unless the mask is empty: see `_twins`."""
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        size, counts = row["segmentation"]["size"], row["segmentation"]["counts"]
        key = (row["image_id"], row["category_id"], counts, row["score"])
        if key not in seen or _is_empty(counts.encode("ascii"), *size):
            yield row
        seen.add(key)


def check_rows(
    rows: Any, source: str, split: Split, max_per_image: int, scores: tuple[float, float] = ANY_SCORE
) -> list[str]:
    """Return what is wrong with a results list, one line each: entries by themselves, then too many, then repeated."""
    results, faults = parse_results(rows, source, split, scores)
    if not rows:
        faults.append(f"{source}: is empty; not one object was detected in {len(split.images)} images")
    per_image = Counter(result.image.id for result in results)
    for image_id, count in sorted(per_image.items()):
        if count > max_per_image:
            faults.append(f"{source}: image_id {image_id} has {count} entries; at most {max_per_image} are allowed")
    return faults + _twins(results)


def _twins(results: Sequence[Result]) -> list[str]:
    faults = []
    seen: dict[tuple[Any, ...], str] = {}
    for result in results:
        key = (result.image.id, result.label, result.counts, result.score)
        if key not in seen:
            seen[key] = result.where
        elif not _is_empty(result.counts, result.image.height, result.image.width):
            faults.append(f"{result.where}: repeats {seen[key].rsplit(': ', 1)[-1]}: same image, class, mask and score")
    return faults


def _is_empty(counts: bytes, height: int, width: int) -> bool:
    return not areas([counts], height, width)[0]


def shortened(faults: list[str]) -> list[str]:
    """Return a report of bearable length."""
    if len(faults) <= MOST_LINES:
        return faults
    return [*faults[:MOST_LINES], f"and {len(faults) - MOST_LINES} faults more"]
