"""Data set `3dfuture`: the instance track of the 3D AI Challenge 2020, in the files as they were handed out.

What differs from COCO: categories have `category_name` and `fine-grained category name` but no `name`; file names lack
their extension; there is no `iscrowd`; validation and test files hold images only; attributes may be null.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fineseg import FinesegError, Split
from fineseg.data.coco import split_of
from fineseg.data.json_entries import Entry, document_of, entries_of, load_json, shown
from fineseg_datasets.options import SPLIT, ThreeDFutureOptions
from fineseg_datasets.threedfuture_classes import CATEGORIES, LATER_NAMES

OFFICIAL = ("train", "val", "test")
VIRTUAL = ("train_new", "val_new")  # the winner's own split of the training images
TRAIN_IMAGES = 12_144
HELD_OUT = 3_000
EXTENSION = ".jpg"

_FINE = "fine-grained category name"


def read(options: ThreeDFutureOptions, root: Path, split: str) -> Split:
    """Read an official split, or a virtual one of the training images; raises `FinesegError`."""
    if split not in OFFICIAL + VIRTUAL:
        raise FinesegError(f"3dfuture has no split '{split}'; its splits: {', '.join(OFFICIAL + VIRTUAL)}")
    official = "train" if split in VIRTUAL else split
    annotations = root / options.annotations.replace(SPLIT, official)
    document = as_coco(load_json(annotations), str(annotations))
    folder = root / options.images.replace(SPLIT, official)
    found = split_of(document, str(annotations), folder, split, labelled=True if official == "train" else None)
    return found if split in OFFICIAL else found.select(held_out_ids(found)[VIRTUAL.index(split)], split)


def held_out_ids(train: Split) -> tuple[list[int], list[int]]:
    """Return the image ids of train_new and val_new, as the winner drew them.

    All images by id, shuffled with numpy's legacy generator of seed 0: the last 3000 of 12 144 are val_new. A training
    split of another size is cut in the same proportion.
    """
    ids = np.array(sorted(image.id for image in train.images), dtype=np.int64)
    order = np.arange(len(ids))
    np.random.RandomState(0).shuffle(order)
    held_out = round(len(ids) * HELD_OUT / TRAIN_IMAGES)
    cut = len(ids) - max(held_out, 1 if len(ids) > 1 else 0)
    return ids[order[:cut]].tolist(), ids[order[cut:]].tolist()


def as_coco(document: Any, source: str) -> dict[str, Any]:
    """Return the parsed file with COCO's keys: our own table of classes, and file names with their extension.

    Raises `FinesegError` where the file's classes are not those of 3D-FUTURE; other faults are left to be found later.
    """
    top = document_of(document, source, "images, annotations and categories")
    if top.has("categories"):
        for entry in entries_of(top, "categories"):
            _check_category(entry)
    categories = [{"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in CATEGORIES]
    changed: dict[str, Any] = {**top.value, "categories": categories}
    if isinstance(changed.get("images"), list):
        changed["images"] = [_with_extension(image) for image in changed["images"]]
    if changed.get("annotations") in (None, []):  # hidden truth is an absent key, or one without a value
        changed.pop("annotations", None)
    return changed


def _check_category(entry: Entry) -> None:
    """Accept the class of the entry's id under its name of 2020 or a later one, or without a name."""
    category = CATEGORIES[entry.integer("id", 1, len(CATEGORIES)) - 1]
    name = entry.value.get(_FINE, entry.value.get("name"))
    if name is None:
        return
    accepted = [category.name, *([LATER_NAMES[category.id]] if category.id in LATER_NAMES else [])]
    if _plain(name) not in map(_plain, accepted):
        choices = " or ".join(map(repr, accepted))
        raise entry.fault(f"class {category.id} is named {shown(name)}; in 3D-FUTURE it is {choices}")


def _plain(name: Any) -> str:
    """Return a name as releases agree on it, without capitals and spaces around slashes."""
    return "".join(str(name).casefold().split())


def _with_extension(image: Any) -> Any:
    if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not image["file_name"]:
        return image
    name = image["file_name"]
    return image if name.lower().endswith((EXTENSION, ".jpeg", ".png")) else {**image, "file_name": name + EXTENSION}
