"""Panoptic maps as arrays, and their PNG: a pixel's colour is the id of its segment, R + 256 G + 65536 B, 0 for none.

Letters: H and W image height and width in pixels.
"""

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fineseg.data.split import ImageInfo, PanopticFile, Segment
from fineseg.errors import FinesegError

VOID = 0
LARGEST_ID = 2**24 - 1
"""The largest id that a colour can be."""


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """The segments of one image: `ids` int32 [H, W] holds the id of each pixel's segment, 0 where there is none."""

    image_id: int
    ids: np.ndarray
    segments: tuple[Segment, ...]


def present_ids(ids: np.ndarray) -> list[int]:
    """Return the ids that occur in a map [H, W], sorted, void among them."""
    starts = np.ones(ids.shape, dtype=bool)  # of runs along the rows: maps are flat, so these are few
    np.not_equal(ids[:, 1:], ids[:, :-1], out=starts[:, 1:])
    found: list[int] = np.unique(ids[starts]).tolist()
    return found


def segment_fault(present: Collection[int], segments: Collection[Segment]) -> str | None:
    """Say how the ids that occur in a map, void aside, contradict the list of its segments; None where they agree."""
    listed = [each.id for each in segments]
    known = set(listed)
    if len(known) < len(listed):
        twice = next(number for number in listed if listed.count(number) > 1)
        return f"segment {twice} is listed twice; ids must differ"
    strange = sorted(set(present) - known - {VOID})
    if strange:
        return f"segment {strange[0]} is in the map but not listed{_others(strange)}"
    absent = sorted(known - set(present))
    return f"segment {absent[0]} is listed but has no pixel in the map{_others(absent)}" if absent else None


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
        raise FinesegError(f"{file}: cannot be read ({error})") from None


def decode_ids(content: bytes, source: str) -> np.ndarray:
    """Return the ids int32 [H, W] in a PNG's bytes; `source` names it in messages. An alpha channel says nothing."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            mode, colours = picture.mode, np.asarray(picture.convert("RGBA"))
    except Exception as error:  # damaged files fail in Pillow in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FinesegError(f"{source}: is no readable PNG ({reason})") from None
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
