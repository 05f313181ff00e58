"""What a proposal goes by: images and objects of a split, and the machine that will train. Plain numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fineseg.data.split import Split
from fineseg.errors import FinesegError

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """A labelled split in numbers; N images, M objects that are no crowds.

    `long_sides` and `short_sides` [N] are in pixels, `pixels` [M] the square roots of the objects' areas, `relative`
    [M] the same as a part of their image's long side. `most_of_a_class` is the largest number of objects of one class
    on one image, `most` of all classes; `classes` are names and their objects, the most frequent first.
    """

    long_sides: np.ndarray
    short_sides: np.ndarray
    pixels: np.ndarray
    relative: np.ndarray
    most: int
    most_of_a_class: int
    classes: tuple[tuple[str, int], ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.long_sides)


@dataclass(frozen=True)
class Stuff:
    """The stuff of a panoptic split: its classes and their segments' areas [square pixels], frequent classes first."""

    areas: tuple[tuple[str, np.ndarray], ...]

    @property
    def every(self) -> np.ndarray:
        """The areas of all segments."""
        return np.concatenate([areas for _, areas in self.areas])

    @property
    def classes(self) -> tuple[tuple[str, int], ...]:
        """Names and how many segments they have."""
        return tuple((name, len(areas)) for name, areas in self.areas)


@dataclass(frozen=True)
class Machine:
    """What trains: cores and free memory [GiB], and the memory [GiB] of each GPU that torch can use."""

    cores: int
    memory: float
    gpus: tuple[float, ...] = ()

    def words(self) -> str:
        """Return it as one says it."""
        cores = f"{self.cores} core{'s' * (self.cores != 1)}, {self.memory:.0f} GiB free"
        if not self.gpus:
            return f"{cores}, no GPU"
        return f"{cores}, {len(self.gpus)} GPU{'s' * (len(self.gpus) != 1)} of {min(self.gpus):.0f} GiB"


def measure(split: Split) -> Measured:
    """Measure a split; raises `FinesegError` where it has no image or no object of any size."""
    sides = {image.id: (max(image.width, image.height), min(image.width, image.height)) for image in split.images}
    found = [(image.id, o) for image in split.images for o in split.objects_of(image.id) if not o.crowd and o.area > 0]
    if not found:
        noun = "thing" if split.panoptic else "object"
        raise FinesegError(
            f"split '{split.name}': {len(sides)} images with no {noun}; nothing can be proposed without some"
        )
    pixels = np.sqrt([each.area for _, each in found])
    names = [category.name for category in split.categories]
    objects = Counter(each.label for _, each in found)
    return Measured(
        long_sides=np.array([long for long, _ in sides.values()]),
        short_sides=np.array([short for _, short in sides.values()]),
        pixels=pixels,
        relative=pixels / np.array([sides[image][0] for image, _ in found]),
        most=max(Counter(image for image, _ in found).values()),
        most_of_a_class=max(Counter((image, each.label) for image, each in found).values()),
        classes=tuple(sorted(((name, objects[i]) for i, name in enumerate(names)), key=lambda row: -row[1])),
    )


def measure_stuff(split: Split) -> Stuff:
    """Measure the stuff of a panoptic split; raises `FinesegError` where none of its images has any."""
    things = len(split.categories)
    areas: dict[int, list[float]] = {label: [] for label in range(things, len(split.panoptic_categories))}
    for image in split.images:
        for each in split.panoptic[image.id].segments:
            if each.label >= things and not each.crowd:
                areas[each.label].append(each.area or 0.0)
    if not any(areas.values()):
        raise FinesegError(
            f"split '{split.name}': {len(split.images)} images with no stuff, which panoptic models need; to learn its "
            "things alone say --task instance"
        )
    named = [(category.name, np.array(own)) for category, own in zip(split.stuff, areas.values(), strict=True)]
    return Stuff(tuple(sorted(named, key=lambda row: -len(row[1]))))


def machine_of(cores: int, steps: Mapping[str, Mapping[str, Any]]) -> Machine:
    """Return the machine that the doctor's steps `gpu` and `memory` have found, by name."""
    devices = steps["gpu"].get("devices", [])
    available = steps["memory"].get("available", 0)
    return Machine(cores, available / GIB, tuple(device["memory"] * MIB / GIB for device in devices))
