"""A small data set in the exact form of 3D-FUTURE's files, from drawn rooms: what tests and trials read instead."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from fineseg.store import write_beside, write_json
from fineseg_datasets.showroom import CLASSES, Room, render_room
from fineseg_datasets.threedfuture import OFFICIAL
from fineseg_datasets.threedfuture_classes import CATEGORIES

DEFAULT_IMAGES = {"train": 12, "val": 4, "test": 4}

_ID_OF_NAME = {category.name: category.id for category in CATEGORIES}
_POSE = {"translation": [0.0, 0.0, 2.5], "rotation": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}


def write_fixture(
    folder: Path,
    images: Mapping[str, int] = DEFAULT_IMAGES,
    size: tuple[int, int] = (96, 96),
    seed: int = 0,
) -> None:
    """Write annotations/<split>_set.json and images/<split>/<7 digits>.jpg below `folder`.

    `size` is (height, width). As in the challenge only the training file holds annotations and categories: masks are
    RLE and polygons in turn, attributes are null for every third object, and nothing has `iscrowd`.
    """
    for split, count in images.items():
        infos: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            room = render_room(np.random.SeedSequence((seed, OFFICIAL.index(split), number)), size)
            name = f"{number - 1:07d}"
            _write_jpeg(folder / "images" / split / f"{name}.jpg", room.image)
            infos.append({"id": number, "width": size[1], "height": size[0], "file_name": name})
            for mask, label in zip(_masks(room), room.labels.tolist(), strict=True):
                annotations.append(_annotation(len(annotations) + 1, number, CLASSES[label], mask))
        labels = {"annotations": annotations, "categories": _categories()} if split == "train" else {}
        write_json(folder / "annotations" / f"{split}_set.json", {"images": infos, **labels})


def _categories() -> list[dict[str, Any]]:
    return [{"id": c.id, "category_name": c.supercategory, "fine-grained category name": c.name} for c in CATEGORIES]


def _masks(room: Room) -> Iterator[np.ndarray]:
    """Yield the mask uint8 [H, W] of each thing."""
    for index in range(len(room.labels)):
        yield (room.instances == index + 1).astype(np.uint8)


def _annotation(number: int, image_id: int, name: str, mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    segmentation: Any = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
    polygons = _polygons(mask)
    if number % 2 == 0 and polygons:
        segmentation = polygons
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))
    known = number % 3 != 0
    return {
        "id": number,
        "image_id": image_id,
        "category_id": _ID_OF_NAME[name],
        "segmentation": segmentation,
        "area": int(coco_mask.area(rle)),
        "bbox": [float(value) for value in coco_mask.toBbox(rle)],
        "model_id": f"model-{number}" if known else None,
        "texture_id": f"texture-{number}" if known else None,
        "pose": _POSE if known else None,
        "fov": 0.8 if known else None,
        "style": "Modern" if known else None,
        "theme": None,
        "material": "Wood" if known else None,
    }


def _polygons(mask: np.ndarray) -> list[list[float]]:
    """Return the outlines of a mask [H, W]; holes are filled, as drawn polygons do."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [[float(value) for value in outline.ravel()] for outline in outlines if len(outline) > 2]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]))
    write_beside(path, lambda beside: beside.write_bytes(coded.tobytes()))
