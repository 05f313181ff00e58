"""Writing a split: pictures, COCO annotations and stuff maps."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from fineseg_datasets.showroom.catalogue import CLASSES
from fineseg_datasets.showroom.room import Room, render_room

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


def write_split(
    folder: Path,
    split: str,
    count: int,
    size: tuple[int, int],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``count`` rooms of ``size`` (height, width) below ``folder``.

    Writes images/<split>/<7 digits>.jpg, stuff/<split>/<7 digits>.png and, last, annotations/<split>.json. Splits of
    different names share no random numbers. ``on_progress`` is told (rooms done, count). Raises ValueError if ``size``
    is too small or ``count`` is negative.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, room in draw_rooms(folder, split, count, size, seed, on_progress):
        stuff = (folder / "stuff" / image["file_name"]).with_suffix(".png")
        _write_image(stuff, room.stuff, [])
        images.append(image)
        annotations += annotate(room, image["id"], len(annotations) + 1)
    categories = [{"id": i, "name": name, "supercategory": "furniture"} for i, name in enumerate(CLASSES, 1)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    write_bytes(folder / "annotations" / f"{split}.json", json.dumps(table).encode())


def draw_rooms(
    folder: Path,
    split: str,
    count: int,
    size: tuple[int, int],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[dict[str, Any], Room]]:
    """Draw rooms and write their pictures; yield COCO's record of each picture, and the room.

    Arguments and faults are those of ``write_split``.
    """
    if count < 0:
        raise ValueError(f"count is {count}: it must not be negative")
    for number in range(1, count + 1):
        room = render_room(room_seed(seed, split, number), size)
        name = f"{split}/{number:07d}.jpg"
        _write_image(folder / "images" / name, room.image[:, :, ::-1], _JPEG)
        yield {"id": number, "width": size[1], "height": size[0], "file_name": name}, room
        if on_progress is not None:
            on_progress(number, count)


def room_seed(seed: int, split: str, number: int) -> np.random.SeedSequence:
    """Return the random stream of one room of a split."""
    return np.random.SeedSequence((seed, zlib.crc32(split.encode()), number))


def annotate(room: Room, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """Return one COCO annotation for each thing of ``room``, numbered from ``first_id``."""
    found = []
    for index, label in enumerate(room.labels.tolist()):
        mask = np.asfortranarray(room.instances == index + 1, dtype=np.uint8)
        coded = coco_mask.encode(mask)
        found.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": label + 1,
                "segmentation": {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()},
                "area": int(mask.sum()),
                "bbox": [float(value) for value in coco_mask.toBbox(coded)],
                "iscrowd": 0,
            }
        )
    return found


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    done, coded = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
    if not done:
        raise OSError(f"{path}: the picture could not be encoded")
    write_bytes(path, coded.tobytes())


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside ``path`` and rename, so that no half-written file ever carries the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    os.replace(beside, path)
