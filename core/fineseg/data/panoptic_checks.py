"""Looking over panoptic splits before anything is trained or scored on them: every map opened, every segment found."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fineseg.data.class_checks import shown_differences
from fineseg.data.findings import Finding
from fineseg.data.panoptic import read_ids, segment_faults
from fineseg.data.split import ImageInfo, PanopticFile, Split
from fineseg.errors import FinesegError


def check_maps(name: str, split: Split) -> Iterator[Finding]:
    """Find maps of a split, called `name`, that are missing, damaged, of another size, or other than their segments.

    A split that is not panoptic, or has no labels, has none.
    """
    if not split.labelled or not (split.stuff or split.panoptic):
        return
    known = {image.id for image in split.images}
    for number in sorted(split.panoptic.keys() - known):
        yield Finding("map-broken", name, f"a panoptic map belongs to image {number}, which is not in the split")
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # decoding PNGs releases the interpreter's lock
        for start in range(0, len(split.images), 16 * workers):  # some at a time: an interrupt ends it soon
            for found in pool.map(partial(_check_image, name, split), split.images[start : start + 16 * workers]):
                yield from found


def check_stuff(splits: Mapping[str, Split]) -> list[Finding]:
    """All panoptic splits must number the same stuff alike; `class_checks` does so for things."""
    panoptic = {name: split.stuff for name, split in splits.items() if split.stuff}
    names = list(panoptic)
    found = []
    for name in names[1:]:
        if [(c.id, c.name) for c in panoptic[name]] != [(c.id, c.name) for c in panoptic[names[0]]]:
            how = shown_differences(panoptic[names[0]], panoptic[name]) or "their order"
            found.append(Finding("classes-differ", name, f"its stuff classes differ from those of {names[0]}: {how}"))
    return found


def _check_image(name: str, split: Split, image: ImageInfo) -> list[Finding]:
    where = f"{name}: image {image.id} ({image.file.name})"
    panoptic = split.panoptic.get(image.id)
    if panoptic is None:
        return [Finding("map-broken", where, "has no panoptic map")]
    classes = len(split.panoptic_categories)
    found = [
        Finding("no-such-class", f"{where}: segment {each.id}", f"label {each.label} is no class; there are {classes}")
        for each in panoptic.segments
        if not 0 <= each.label < classes
    ]
    return found + _check_file(where, image, panoptic, len(split.categories))


def _check_file(where: str, image: ImageInfo, panoptic: PanopticFile, things: int) -> list[Finding]:
    try:
        ids = read_ids(panoptic.file)
    except FinesegError as error:
        return [Finding("map-broken", where, str(error))]
    if ids.shape != (image.height, image.width):
        told, real = f"{image.width} x {image.height}", f"{ids.shape[1]} x {ids.shape[0]}"
        return [Finding("map-broken", where, f"{panoptic.file}: the map has {real} pixels, the image {told}")]
    present, counts = np.unique(ids, return_counts=True)
    pixels = dict(zip(present.tolist(), counts.tolist(), strict=True))
    faults = segment_faults(pixels, panoptic.segments)
    found = [Finding("map-broken", where, f"{panoptic.file}: {fault}") for fault in faults]
    for each in panoptic.segments:  # the areas of things are their objects', which are checked as such
        if each.label >= things and each.id in pixels and each.area not in (None, pixels[each.id]):
            text = f"its area is given as {each.area:g}; the map has {pixels[each.id]} of its pixels"
            found.append(Finding("area-off", f"{where}: segment {each.id}", text))
    return found
