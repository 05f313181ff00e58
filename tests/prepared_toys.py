"""Prepared data without files: images with one object each, whose hashes are made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fineseg import Category, ImageInfo, Split, TrueObject
from fineseg.data import masks
from fineseg.data.folds import Folds
from fineseg.runs import Splits
from fineseg.stages.prepare import Prepared

CORNER = masks.encode(np.pad(np.ones((2, 2), bool), ((0, 4), (0, 6))))
"""The mask of every object: 2 by 2 pixels of 6 by 8."""


def split_of(name: str, ids: Sequence[int], groups: Sequence[str] = ()) -> Split:
    """Return a split of images with one object each."""
    groups = groups or [""] * len(ids)
    images = tuple(ImageInfo(i, Path(f"{name}/{i}.jpg"), 8, 6, group) for i, group in zip(ids, groups, strict=True))
    objects = {i: (TrueObject(i, 0, (0, 0, 2, 2), {"size": [6, 8], "counts": CORNER}, 4.0),) for i in ids}
    return Split(name, (Category(1, "chair"),), images, objects)


def prepared_of(root: Path, train: Sequence[int] = (1, 2, 3, 4), validation: Sequence[int] = (5, 6)) -> Prepared:
    """Return data of two splits; an image's hash is the name of its file."""
    splits = Splits(*(split_of(name, ids) for name, ids in (("train", train), ("val", validation), ("test", (7,)))))
    hashes = {str(image.file): image.file.name for split in splits.named().values() for image in split.images}
    return Prepared(root, splits, {name: f"digest of {name}" for name in splits.named()}, hashes)


def in_folds(prepared: Prepared, folds: Folds) -> Prepared:
    """Return the same data with the training split in folds."""
    splits = replace(prepared.splits, validation=prepared.splits.train)
    parts = []
    for fold in range(folds.count):
        own = splits.of_fold(folds, fold)
        digests = {name: f"digest of {name}" for name in own.named()}
        parts.append(replace(prepared, splits=own, digests=digests, fold=fold))
    return replace(prepared, splits=splits, folds=tuple(parts))
