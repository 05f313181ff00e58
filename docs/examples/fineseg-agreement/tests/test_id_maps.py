"""Data set id-maps keeps to what every data set does, and reads what its maps say."""

from typing import ClassVar

import numpy as np
import pytest
from fineseg_agreement.id_maps import read, write_map
from fineseg_agreement.options import IdMapsOptions
from PIL import Image

from fineseg import FinesegError
from fineseg.data.masks import decode
from fineseg.testing import DatasetConformance

CLASSES = ("chair", "table")


def write_sample(folder, split="train"):
    """Write two pictures and their maps."""
    rng = np.random.default_rng(0)
    for kind in ("images", "maps"):
        (folder / kind / split).mkdir(parents=True)
    for name, ids in {"a": [1001, 2001], "b": [2001, 2002]}.items():
        numbers = np.zeros((40, 60), dtype=int)
        numbers[5:30, 4:25], numbers[10:35, 30:55] = ids
        picture = rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / split / f"{name}.png")
        write_map(folder / "maps" / split / f"{name}.png", numbers)
    return folder


class TestIdMaps(DatasetConformance):
    part = "id-maps"
    options: ClassVar = {"classes": CLASSES}

    def write_sample(self, folder):
        return write_sample(folder)


def test_objects(tmp_path):
    split = read(IdMapsOptions(classes=CLASSES), write_sample(tmp_path), "train")
    assert [[each.label for each in split.objects_of(image.id)] for image in split.images] == [[0, 1], [1, 1]]
    first = split.objects_of(1)[0]
    assert (first.box, first.area) == ((4, 5, 25, 30), 25 * 21)
    mask = decode(first.segmentation["counts"], 40, 60)
    assert mask[5:30, 4:25].all() and mask.sum() == first.area


def test_class_beyond_the_list(tmp_path):
    with pytest.raises(FinesegError, match="map of a: 2001 is of class 2; there are 1"):
        read(IdMapsOptions(), write_sample(tmp_path), "train")
