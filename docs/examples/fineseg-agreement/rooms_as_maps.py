"""Write drawn rooms as id-maps: `python rooms_as_maps.py FOLDER`.

The classes are those of fineseg's data set showroom, in its order; every picture and mask stays as it is.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from fineseg_agreement.id_maps import CLASS_STEP, write_map

from fineseg import Split
from fineseg.data.coco import read_coco
from fineseg.data.masks import decode
from fineseg_datasets.showroom import write_split

COUNTS = {"train": 60, "val": 20}


def convert(split: Split, root: Path) -> None:
    """Write the pictures and maps of a split below a folder."""
    for kind in ("images", "maps"):
        (root / kind / split.name).mkdir(parents=True, exist_ok=True)
    for image in split.images:
        ids = np.zeros((image.height, image.width), dtype=int)
        for number, each in enumerate(split.objects_of(image.id), start=1):
            mask = decode(each.segmentation["counts"], image.height, image.width)
            ids[mask] = CLASS_STEP * (each.label + 1) + number
        shutil.copy(image.file, root / "images" / split.name / image.file.name)
        write_map(root / "maps" / split.name / f"{image.file.stem}.png", ids)


def main(root: Path, counts: dict[str, int] = COUNTS) -> None:
    """Draw rooms and convert them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (split, count) in enumerate(counts.items()):
            write_split(folder, split, count, size=(96, 96), seed=number)
            drawn = read_coco(folder / "annotations" / f"{split}.json", folder / "images", split)
            convert(drawn, root)
    print(f"classes = {[category.name for category in drawn.categories]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
