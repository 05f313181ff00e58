"""The rooms in COCO's panoptic format: which of its classes a surface is, and the files.

Furniture keeps the class that COCO's 133 have for it. Where that is a thing each piece is a segment; cabinets,
shelves and lamps are stuff there, as walls are, and all of one class in a room are one segment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fineseg.data.panoptic import VOID, encode_ids
from fineseg_datasets.showroom.catalogue import CLASSES, STUFF
from fineseg_datasets.showroom.generate import draw_rooms, write_bytes
from fineseg_datasets.showroom.room import Room


@dataclass(frozen=True)
class CocoClass:
    """One of COCO's panoptic classes as its own list has it; ``color`` is RGB."""

    id: int
    name: str
    supercategory: str
    isthing: int
    color: tuple[int, int, int]

    @property
    def first_id(self) -> int:
        """The id that the colour stands for: a segment of stuff has it, things have those that follow."""
        red, green, blue = self.color
        return red + 256 * green + 65536 * blue


CHAIR = CocoClass(62, "chair", "furniture", 1, (153, 69, 1))
COUCH = CocoClass(63, "couch", "furniture", 1, (3, 95, 161))
BED = CocoClass(65, "bed", "furniture", 1, (119, 0, 170))
TABLE = CocoClass(67, "dining table", "furniture", 1, (0, 182, 199))
LIGHT = CocoClass(130, "light", "furniture-stuff", 0, (255, 228, 255))
SHELF = CocoClass(156, "shelf", "furniture-stuff", 0, (255, 160, 98))
WINDOW = CocoClass(181, "window-other", "window", 0, (255, 73, 97))
CEILING = CocoClass(186, "ceiling-merged", "ceiling", 0, (146, 139, 141))
CABINET = CocoClass(188, "cabinet-merged", "furniture-stuff", 0, (134, 199, 156))
FLOOR = CocoClass(190, "floor-other-merged", "floor", 0, (96, 36, 108))
WALL = CocoClass(199, "wall-other-merged", "wall", 0, (102, 102, 156))
RUG = CocoClass(200, "rug-merged", "textile", 0, (250, 141, 255))

COCO_CLASSES = (CHAIR, COUCH, BED, TABLE, LIGHT, SHELF, WINDOW, CEILING, CABINET, FLOOR, WALL, RUG)

CLASS_OF_FURNITURE = {
    "Nightstand": CABINET,
    "Wardrobe": CABINET,
    "Tea Table": TABLE,  # COCO's annotators call any table that one sits at a dining table
    "Shelf": SHELF,
    "TV Stand": CABINET,
    "Double Bed": BED,
    "Dining Chair": CHAIR,
    "Dining Table": TABLE,
    "Three-Seat / Multi-person sofa": COUCH,
    "armchair": CHAIR,
    "Footstool / Sofastool / Bed End Stool / Stool": CHAIR,  # and whatever one sits on alone a chair
    "Pendant Lamp": LIGHT,
    "Ceiling Lamp": LIGHT,
}
CLASS_OF_STUFF = {"wall": WALL, "floor": FLOOR, "ceiling": CEILING, "rug": RUG, "window": WINDOW}


def write_panoptic_split(
    folder: Path,
    split: str,
    count: int,
    size: tuple[int, int],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the rooms of ``write_split`` with panoptic annotations, in the layout of COCO's own.

    Writes images/<split>/<7 digits>.jpg, annotations/panoptic_<split>/<7 digits>.png and, last,
    annotations/panoptic_<split>.json. Arguments and faults are those of ``write_split``.
    """
    images, annotations = [], []
    for image, room in draw_rooms(folder, split, count, size, seed, on_progress):
        ids, rows = panoptic_map(room)
        name = Path(image["file_name"]).with_suffix(".png").name
        write_bytes(folder / "annotations" / f"panoptic_{split}" / name, encode_ids(ids))
        images.append(image)
        annotations.append({"image_id": image["id"], "file_name": name, "segments_info": rows})
    table = {"images": images, "annotations": annotations, "categories": [vars(each) for each in COCO_CLASSES]}
    write_bytes(folder / "annotations" / f"panoptic_{split}.json", json.dumps(table).encode())


def panoptic_map(room: Room) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """Return the ids int32 [H, W] of a room's segments, and COCO's record of each segment.

    Void is what the room leaves without label: slivers of furniture too small to be known.
    """
    stuff_ids = np.full(256, VOID, np.int32)
    stuff_ids[: len(STUFF)] = [CLASS_OF_STUFF[name].first_id for name in STUFF]
    owners = {each.first_id: each for each in COCO_CLASSES if not each.isthing}
    piece_ids = [VOID]
    for number, label in enumerate(room.labels.tolist(), 1):
        known = CLASS_OF_FURNITURE[CLASSES[label]]
        piece_ids.append(known.first_id + known.isthing * number)
        owners[piece_ids[-1]] = known
    ids = np.where(room.instances > 0, np.array(piece_ids, np.int32)[room.instances], stuff_ids[room.stuff])
    present = np.unique(ids[ids != VOID]).tolist()
    return ids, [_record(number, owners[number], ids == number) for number in present]


def _record(number: int, known: CocoClass, mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "id": number,
        "category_id": known.id,
        "area": int(mask.sum()),
        "bbox": [int(side) for side in box],
        "iscrowd": 0,
    }
