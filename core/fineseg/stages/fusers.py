"""Fusers at work: what models say of images, read from the store side by side, and fused in threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fineseg.data.panoptic import PanopticMap, load_map, present_ids, segment_fault
from fineseg.data.split import ImageInfo, Split
from fineseg.errors import FinesegError
from fineseg.metrics.panoptic_quality import count_image
from fineseg.panoptic_predictions import PanopticAnswer, StoredPanoptic, panoptic_file, read_panoptic
from fineseg.parts import Fuse, FuserInput, PanopticEnd, PanopticFuser
from fineseg.predictions import Instances, make_instances, read_instances
from fineseg.stages.predict import Predicted
from fineseg.stages.threads import in_threads
from fineseg.tuning.setting import Setting


class Fusers:
    """A fuser built for each part of the validation images, and for all: by what was measured, and by settings."""

    def __init__(
        self, part: PanopticFuser, options: Any, given: Sequence[FuserInput], part_of: Mapping[int, int]
    ) -> None:
        """Take what the fuser is told of each part [K + 1], the last of all images; one where it reads no scores."""
        self.part, self.options, self.given, self.part_of = part, options, given, part_of
        self._built: dict[str, Fuse] = {}

    def held_out(self, settings: Sequence[Setting]) -> Callable[[int], Fuse]:
        """Return what fuses a validation image, by its id: by its part's setting, or the one for all."""
        return lambda image_id: self._with(settings[self.part_of[image_id] % len(settings)], self.part_of[image_id])

    def unseen(self, setting: Setting) -> Callable[[int], Fuse]:
        """Return what fuses any other image."""
        return lambda _: self._with(setting, len(self.given) - 1)

    def _with(self, setting: Setting, number: int) -> Fuse:
        key = repr((setting, number))
        if key not in self._built:
            options = type(self.options).model_validate({**self.options.model_dump(), **setting.options})
            fuse = self.part.build(options, self.given[min(number, len(self.given) - 1)])
            self._built[key] = lambda ends: fuse(_set(ends, setting))
        return self._built[key]


def _set(ends: Sequence[PanopticEnd], setting: Setting) -> list[PanopticEnd]:
    """Return ends whose instances have the scores that a setting gives them; ends without any have no weight in it."""
    given = [end.instances for end in ends if end.instances is not None]
    weights = setting.weights or (1.0,) * len(given)
    made = iter(Setting(weights, {}, setting.thresholds).apply(given))
    return [end if end.instances is None else replace(end, instances=next(made)) for end in ends]


PLAIN = Setting(())
"""Nothing but the profile's own options."""


def fused_images(
    split: Split, members: Sequence[Predicted], fuse_of: Callable[[int], Fuse], fuser: str
) -> Iterator[PanopticAnswer]:
    """Fuse what models say of a split, image by image, some at a time in threads; `fuse_of` an image's id fuses it.

    Raises `FinesegError` for a map that the fuser got wrong.
    """
    images = {image.id: image for image in split.images}
    classes = len(split.panoptic_categories)

    def one(ends: Sequence["StoredEnd"]) -> PanopticAnswer:
        image = images[ends[0].stored.image_id]
        found = fuse_of(image.id)([end.decoded() for end in ends])
        fault = map_fault(found, image, classes)
        if fault is not None:
            raise FinesegError(f"panoptic-fuser '{fuser}', image {image.id}: {fault}")
        nothing = make_instances(image.id, (image.height, image.width), [], [], [], [])
        return PanopticAnswer(nothing, replace(found, image_id=image.id))

    yield from in_threads(one, _side_by_side(members))


@dataclass(frozen=True)
class StoredEnd:
    """What one model says of one image, as it is stored."""

    member: Predicted
    instances: Instances
    stored: StoredPanoptic

    def decoded(self) -> PanopticEnd:
        """Return it as fusers take it."""
        gives = self.member.gives
        return PanopticEnd(
            self.member.model,
            self.instances if "instances" in gives else None,
            self.stored.semantic() if "semantic" in gives else None,
        )


def _side_by_side(members: Sequence[Predicted]) -> Iterator[list[StoredEnd]]:
    """Yield what all members say of an image, image by image; a file of instances is held at a time, of scores a row.

    The members' files hold the same images: all models of a run are predicted in the same shards.
    """
    for files in zip(*(member.files for member in members), strict=True):
        instances = [read_instances([file]) for file in files]
        rows = [read_panoptic([panoptic_file(file)], semantic=True) for file in files]
        for stored in zip(*rows, strict=True):
            if len({row.image_id for row in stored}) > 1:
                raise ValueError(f"files of other images side by side: {[str(file) for file in files]}")
            each = zip(members, instances, stored, strict=True)
            yield [StoredEnd(member, found[row.image_id], row) for member, found, row in each]


def map_fault(found: PanopticMap, image: ImageInfo, classes: int) -> str | None:
    """Say what is wrong with a map, None for a sound one."""
    if found.ids.shape != (image.height, image.width):
        return f"a map of shape {found.ids.shape}; must be {(image.height, image.width)}"
    strange = [each.label for each in found.segments if not 0 <= each.label < classes]
    if strange:
        return f"a segment of label {strange[0]}; labels run from 0 to {classes - 1}"
    return segment_fault(present_ids(found.ids), found.segments)


def count_fused(
    split: Split, members: Sequence[Predicted], fuse_of: Callable[[int], Fuse], ids: Sequence[int]
) -> np.ndarray:
    """Fuse the images of a labelled split and compare with the truth: IoU, matches, mistakes and misses [4, I, C]."""
    images, classes = {image.id: image for image in split.images}, len(split.panoptic_categories)
    place = {image_id: n for n, image_id in enumerate(ids)}
    counts = np.zeros((4, len(ids), classes), np.float32)

    def one(ends: Sequence[StoredEnd]) -> None:
        image_id = ends[0].stored.image_id
        found = fuse_of(image_id)([end.decoded() for end in ends])
        truth = load_map(split.panoptic[image_id], images[image_id])
        each = count_image(truth, found, classes)
        counts[:, place[image_id]] = (each.iou, each.tp, each.fp, each.fn)

    for _ in in_threads(one, _side_by_side(members)):
        pass
    return counts
