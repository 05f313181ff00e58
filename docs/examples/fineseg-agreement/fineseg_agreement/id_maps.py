"""Data set id-maps: a PNG of 16 bits for each picture, whose pixels are 1000 times the class plus the object's number.

Classes count from 1; 0 is no object. Cityscapes keeps its instances in this way.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fineseg import Category, FinesegError, ImageInfo, Split, TrueObject
from fineseg.data.masks import boxes, encode
from fineseg_agreement.options import IdMapsOptions

CLASS_STEP = 1000
PICTURES = (".jpg", ".jpeg", ".png")


def read(options: IdMapsOptions, root: Path, split: str) -> Split:
    """Read a split; images are numbered in the order of their names. Raises `FinesegError`."""
    folder = root / options.images / split
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in PICTURES)
    if not files:
        raise FinesegError(f"{folder}: has no pictures; a split is a folder of them")
    images, objects = [], {}
    for number, file in enumerate(files, start=1):
        ids = read_map(root / options.maps / split / f"{file.stem}.png")
        images.append(ImageInfo(number, file, width=ids.shape[1], height=ids.shape[0]))
        objects[number] = true_objects(ids, number, len(options.classes), file.stem)
    categories = tuple(Category(number, name) for number, name in enumerate(options.classes, start=1))
    return Split(split, categories, tuple(images), objects)


def read_map(file: Path) -> np.ndarray:
    """Return the numbers int [H, W] in a map."""
    try:
        with Image.open(file) as picture:
            return np.asarray(picture).astype(int)
    except (OSError, ValueError) as error:
        raise FinesegError(f"{file}: is no readable map ({error})") from None


def write_map(file: Path, ids: np.ndarray) -> None:
    """Write a map [H, W] of numbers below 65536."""
    Image.fromarray(ids.astype(np.uint16)).save(file)


def true_objects(ids: np.ndarray, image: int, classes: int, name: str) -> tuple[TrueObject, ...]:
    """Return the objects of a map [H, W], by number."""
    found = []
    height, width = ids.shape
    for number in np.unique(ids[ids > 0]).tolist():
        label = number // CLASS_STEP - 1
        if not 0 <= label < classes:
            raise FinesegError(f"map of {name}: {number} is of class {label + 1}; there are {classes}")
        mask = ids == number
        counts = encode(mask)
        (box,) = boxes([counts], height, width).tolist()
        rle = {"size": [height, width], "counts": counts}
        found.append(TrueObject(image * 100_000 + number, label, tuple(box), rle, float(mask.sum())))
    return tuple(found)
