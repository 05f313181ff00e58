"""How large the objects of a COCO file are, over a random draw of its images, and the area ranges that suit them.

Needs image sizes and annotations only: no file names, no category names, no images. N is the number of objects.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data import masks
from fineseg.data.coco import LARGEST_SIDE, known_image, read_box, read_segmentation
from fineseg.data.json_entries import Entry, document_of, entries_of, load_json
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import ImageInfo, Segmentation

RANGE_NAMES = ("small", "medium", "large")
LARGEST_AREA = 1e10
"""Where the last range ends, as COCO's does [square pixels]."""

AreaRanges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the objects on the drawn `images` of all `of_images`, in file order.

    `pixels` [N] are square roots of areas, `relative` [N] the same as a part of the square root of the image's area.
    Crowd regions are no objects; `crowds` and `empty` count those regions and the objects without any area.
    """

    images: int
    of_images: int
    pixels: np.ndarray
    relative: np.ndarray
    crowds: int
    empty: int


def read_sizes(annotations: Path, *, images: int, seed: int, boxes: bool = False) -> Sizes:
    """Measure the objects on `images` images of a COCO file (all, where it has fewer), drawn at random.

    The area is the mask's: the annotation's `area` where it lies above 0 and within the image, else that of its
    polygons or RLE, drawn. With `boxes` it is the box's, `bbox` where given, else the mask's tight box. Raises
    `FinesegError`, also for a file of which no drawn image has an object.
    """
    top = document_of(load_json(annotations), str(annotations), "images and annotations")
    everything = _read_images(top)
    drawn = draw(everything, images, seed)
    entries, crowds = _objects_on(top, everything, drawn)
    owners = [everything[entry.value["image_id"]] for entry in entries]
    stated = [_stated(entry, owner, boxes) for entry, owner in zip(entries, owners, strict=True)]
    areas = np.array(stated, dtype=np.float64)
    unstated = np.flatnonzero(np.isnan(areas))
    areas[unstated] = _measured([entries[i] for i in unstated], [owners[i] for i in unstated], boxes)
    pixels = np.sqrt(areas)
    relative = pixels / np.sqrt([owner.height * owner.width for owner in owners])
    seen = pixels > 0
    if not seen.any():
        raise top.fault(f"no object on {len(drawn)} of {len(everything)} images; sizes need some")
    empty = len(seen) - int(seen.sum())
    return Sizes(len(drawn), len(everything), pixels[seen], relative[seen], crowds, empty)


def draw(ids: Iterable[int], count: int, seed: int) -> set[int]:
    """Draw `count` image ids without repetition (all, where there are fewer); their order plays no part."""
    known = np.array(sorted(ids), dtype=np.int64)
    if count >= len(known):
        return set(known.tolist())
    return set(np.random.default_rng(seed).choice(known, size=count, replace=False).tolist())


def propose_ranges(pixels: np.ndarray) -> AreaRanges | None:
    """Propose area ranges [square pixels] that hold a third of the objects each, of sizes [N] in pixels.

    The edges are the terciles of the size, rounded to whole pixels, squared: a score over a range means little where
    few objects lie in it. None where the sizes are too alike for three ranges.
    """
    low, high = (int(edge) for edge in np.rint(np.quantile(pixels, [1 / 3, 2 / 3])))
    if not 0 < low < high:
        return None
    edges = (0.0, float(low**2), float(high**2), LARGEST_AREA)
    return dict(zip(RANGE_NAMES, pairwise(edges), strict=True))


def shares(pixels: np.ndarray, ranges: AreaRanges) -> dict[str, float]:
    """Return the part of the objects of sizes [N] whose area lies in each range; its upper end is the next one's."""
    squares = pixels**2
    return {name: float(np.mean((squares >= low) & (squares < high))) for name, (low, high) in ranges.items()}


def _read_images(top: Entry) -> dict[int, ImageInfo]:
    found: dict[int, ImageInfo] = {}
    for entry in entries_of(top, "images"):
        number = entry.integer("id")
        if number in found:
            raise entry.fault(f"id {number} is taken by another image; ids must differ")
        width, height = (entry.integer(side, 1, LARGEST_SIDE) for side in ("width", "height"))
        found[number] = ImageInfo(number, Path(), width, height)
    return found


def _objects_on(top: Entry, everything: Mapping[int, ImageInfo], drawn: set[int]) -> tuple[list[Entry], int]:
    """Return the objects on the drawn images, and how many crowd regions lie there."""
    found, crowds = [], 0
    for entry in entries_of(top, "annotations"):
        if known_image(entry, everything).id not in drawn:
            continue
        if entry.value.get("iscrowd"):
            crowds += 1
        else:
            found.append(entry)
    return found, crowds


def _stated(entry: Entry, image: ImageInfo, boxes: bool) -> float:
    """Return the area that an annotation states, nan where it states none that can be."""
    if boxes:
        box = read_box(entry)
        return (box[2] - box[0]) * (box[3] - box[1]) if box is not None else np.nan
    area: Any = entry.value.get("area")
    return float(area) if type(area) in (int, float) and 0 < area <= image.height * image.width else np.nan


def _measured(entries: Sequence[Entry], images: Sequence[ImageInfo], boxes: bool) -> list[float]:
    """Return the areas of masks, or of their tight boxes."""
    drawn = [read_segmentation(entry, image) for entry, image in zip(entries, images, strict=True)]
    _refuse_unsound(entries, images, drawn)
    areas = []
    for segmentation, image in zip(drawn, images, strict=True):
        counts = [masks.to_rle(segmentation, image.height, image.width)["counts"]]
        if boxes:
            x1, y1, x2, y2 = masks.boxes(counts, image.height, image.width)[0].tolist()
            areas.append((x2 - x1) * (y2 - y1))
        else:
            areas.append(float(masks.areas(counts, image.height, image.width)[0]))
    return areas


def _refuse_unsound(entries: Sequence[Entry], images: Sequence[ImageInfo], drawn: Sequence[Segmentation]) -> None:
    coded = [(i, each["counts"]) for i, each in enumerate(drawn) if not isinstance(each, list)]
    faults = find_unsound([counts for _, counts in coded], [images[i].height * images[i].width for i, _ in coded])
    for position in sorted(faults):
        raise entries[coded[position][0]].fault(f"segmentation: {faults[position]}")
