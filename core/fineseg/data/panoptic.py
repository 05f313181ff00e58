"""Panoptic maps as arrays, and their PNG: a pixel's colour is the id of its segment, R + 256 G + 65536 B, 0 for none.

Letters: H and W image height and width in pixels.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fineseg.data.pictures import picture_fault
from fineseg.data.split import ImageInfo, PanopticFile, Segment
from fineseg.errors import FinesegError

VOID = 0
IGNORED = 255
"""Label of pixels that a semantic model neither learns from nor is scored on."""
LARGEST_ID = 2**24 - 1
"""The largest id that a colour can be."""
LARGEST_MAP = 2**26
"""Pixels of a map, 8192 x 8192; more may fit into a few kilobytes of PNG."""
_PNG = b"\x89PNG"
_SIDES_IN_PNG = (16, 20)
"""Where the header tells width and height."""


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """The segments of one image: `ids` int32 [H, W] holds the id of each pixel's segment, 0 where there is none."""

    image_id: int
    ids: np.ndarray
    segments: tuple[Segment, ...]


def present_ids(ids: np.ndarray) -> list[int]:
    """Return the ids that occur in a map [H, W], sorted, void among them."""
    found: list[int] = np.unique(ids.ravel()[run_starts(ids)]).tolist()
    return found


def run_starts(*maps: np.ndarray) -> np.ndarray:
    """Return where, along the rows of maps [H, W] of one size, the value of any of them changes: int64 [R], sorted.

    Maps are flat: what is done once a run takes a small part of what it takes once a pixel.
    """
    new = np.ones(maps[0].size, dtype=bool)
    for number, each in enumerate(maps):
        flat = each.ravel()
        if number:
            new[1:] |= flat[1:] != flat[:-1]
        else:
            np.not_equal(flat[1:], flat[:-1], out=new[1:])
    return np.flatnonzero(new)


def places_of(ids: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Return the place [N] of each id >= 0 in a list of S segments: S for void, S + 1 where it is not listed."""
    listed = np.array([VOID, *(each.id for each in segments)], dtype=ids.dtype)
    order = np.argsort(listed, kind="stable")
    listed, places = listed[order], np.array([len(segments), *range(len(segments))])[order]
    at = np.searchsorted(listed, ids, side="right") - 1
    return np.where(listed[at] == ids, places[at], len(segments) + 1)


def semantic_labels(panoptic: PanopticMap) -> np.ndarray:
    """Return the label of each pixel, uint8 [H, W]: things first, then stuff; 255 where nothing is known.

    That is void, what is not listed, and segments of a class that is not in the table. Crowd has its class: many chairs
    are no instance, but they are all chair. Raises `ValueError` for labels that 255 does not leave room for.
    """
    labels = [each.label if each.label >= 0 else IGNORED for each in panoptic.segments]
    if any(each.label >= IGNORED for each in panoptic.segments):
        largest = max(each.label for each in panoptic.segments)
        raise ValueError(f"label {largest} does not fit into a map of uint8 whose {IGNORED} means: not known")
    starts = run_starts(panoptic.ids)
    table = np.array([*labels, IGNORED, IGNORED], dtype=np.uint8)
    of_runs = table[places_of(panoptic.ids.ravel()[starts], panoptic.segments)]
    return np.repeat(of_runs, np.diff(starts, append=panoptic.ids.size)).reshape(panoptic.ids.shape)


def segment_fault(present: Collection[int], segments: Collection[Segment]) -> str | None:
    """Say first how the ids that occur in a map contradict the list of its segments; None where they agree."""
    faults = segment_faults(present, segments)
    return faults[0] if faults else None


def segment_faults(present: Collection[int], segments: Collection[Segment]) -> list[str]:
    """Say how the ids that occur in a map, void aside, contradict the list of its segments: a line for each way."""
    listed = [each.id for each in segments]
    known = set(listed)
    faults = []
    if len(known) < len(listed):
        twice = next(number for number in listed if listed.count(number) > 1)
        faults.append(f"segment {twice} is listed twice; ids must differ")
    if strange := sorted(set(present) - known - {VOID}):
        faults.append(f"segment {strange[0]} is in the map but not listed{_others(strange)}")
    if absent := sorted(known - set(present)):
        faults.append(f"segment {absent[0]} is listed but has no pixel in the map{_others(absent)}")
    return faults


def _others(ids: list[int]) -> str:
    return f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""


# ------------------------------------------------------------------------- PNG


def read_ids(file: Path) -> np.ndarray:
    """Return the ids int32 [H, W] of a map's PNG. Raises `FinesegError`, also for a picture that is no RGB PNG."""
    try:
        return decode_ids(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise FinesegError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise FinesegError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def decode_ids(content: bytes, source: str) -> np.ndarray:
    """Return the ids int32 [H, W] in a PNG's bytes; `source` names it in messages. An alpha channel says nothing."""
    from PIL import Image

    width, height = (int.from_bytes(content[start : start + 4]) for start in _SIDES_IN_PNG)
    if content.startswith(_PNG) and width * height > LARGEST_MAP:  # before memory is taken for it
        raise FinesegError(f"{source}: is said to have {width} x {height} pixels; at most {LARGEST_MAP} are read")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            mode, colours = picture.mode, np.asarray(picture.convert("RGBA"))
    except Exception as error:
        raise FinesegError(f"{source}: is no readable PNG ({picture_fault(error)})") from None
    if mode not in ("RGB", "RGBA"):
        raise FinesegError(f"{source}: its colours are '{mode}'; must be RGB, whose three bytes are a segment's id")
    packed = np.ascontiguousarray(colours).view("<u4")[:, :, 0]
    return (packed & LARGEST_ID).astype(np.int32)


def encode_ids(ids: np.ndarray) -> bytes:
    """Return a PNG with the ids [H, W], from 0 to 2^24 - 1; equal maps give equal bytes."""
    from PIL import Image

    if ids.size and not 0 <= ids.min() <= ids.max() <= LARGEST_ID:
        raise ValueError(f"ids run from {ids.min()} to {ids.max()}; a colour holds 0 to {LARGEST_ID}")
    packed = np.ascontiguousarray(ids, dtype="<u4").view(np.uint8).reshape(*ids.shape, 4)
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(packed[:, :, :3])).save(content, "PNG", compress_level=3)
    return content.getvalue()


def load_map(panoptic: PanopticFile, image: ImageInfo) -> PanopticMap:
    """Read the map of an image. Raises `FinesegError` where its size or its segments are others than were said."""
    ids = read_ids(panoptic.file)
    where = f"{panoptic.file}: image {image.id}"
    if ids.shape != (image.height, image.width):
        told = f"{image.width} x {image.height}"
        raise FinesegError(f"{where}: the map has {ids.shape[1]} x {ids.shape[0]} pixels, the image {told}")
    fault = segment_fault(present_ids(ids), panoptic.segments)
    if fault:
        raise FinesegError(f"{where}: {fault}")
    return PanopticMap(image.id, ids, panoptic.segments)
