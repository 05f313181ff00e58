"""A split of a data set as plain frozen records: the form in which every dataset plugin hands over its annotations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict


class RLE(TypedDict):
    """COCO run-length encoding of one mask."""

    size: list[int]  # [height, width]
    counts: bytes


Segmentation = RLE | list[list[float]]


@dataclass(frozen=True)
class Category:
    """One class. `id` is the data set's own number; labels inside fineseg are positions in `Split.categories`.

    `colour` is what the data set draws it in, as (red, green, blue).
    """

    id: int
    name: str
    supercategory: str = ""
    colour: tuple[int, int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ImageInfo:
    """One image: its id in the data set, its file, and its size in pixels.

    Images of one `group` belong together (one scene, room or patient) and are never divided between images to train on
    and images to score on; one without a group stands alone.
    """

    id: int
    file: Path
    width: int
    height: int
    group: str = ""


@dataclass(frozen=True)
class TrueObject:
    """One annotated object.

    `label` is contiguous, `box` is (x1, y1, x2, y2) in pixels without the legacy +1, `area` is the mask's area as the
    annotation file states it (COCO's size classes go by it).
    """

    id: int
    label: int
    box: tuple[float, float, float, float]
    segmentation: Segmentation
    area: float
    crowd: bool = False


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its number there, and its class.

    `label` is a position in `Split.panoptic_categories`, or -1 for a true segment of a class that is not in the table.
    `area` is in pixels as the annotation file states it, None where nobody states it.
    """

    id: int
    label: int
    area: float | None = None
    crowd: bool = False


@dataclass(frozen=True)
class PanopticFile:
    """A panoptic map as it lies on the disk: a PNG whose colours are the ids of these segments, 0 where none is."""

    file: Path
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Split:
    """Images of one split with their true objects. `labelled` is False for a test split without annotations.

    A panoptic split also has `stuff` classes, and a map for each image; `categories` and `objects` are its things, so
    that it serves instance models as it is. Labels in its maps count things first, then stuff.
    """

    name: str
    categories: tuple[Category, ...]
    images: tuple[ImageInfo, ...]
    objects: Mapping[int, tuple[TrueObject, ...]] = field(default_factory=dict)
    labelled: bool = True
    stuff: tuple[Category, ...] = ()
    panoptic: Mapping[int, PanopticFile] = field(default_factory=dict)

    @property
    def panoptic_categories(self) -> tuple[Category, ...]:
        """All classes of a panoptic map in the order of its labels: things, then stuff."""
        return self.categories + self.stuff

    def objects_of(self, image_id: int) -> tuple[TrueObject, ...]:
        """Return the true objects of one image, in file order."""
        return self.objects.get(image_id, ())

    def select(self, image_ids: Iterable[int], name: str | None = None) -> "Split":
        """Return the part of the split with these images, in the order of the split."""
        wanted = set(image_ids)
        images = tuple(image for image in self.images if image.id in wanted)
        objects = {image.id: self.objects_of(image.id) for image in images}
        panoptic = {image.id: self.panoptic[image.id] for image in images if image.id in self.panoptic}
        return replace(self, name=name or self.name, images=images, objects=objects, panoptic=panoptic)
