"""Scores beside which a run on the furniture photographs is to be read.

    python tests/realdata/baselines.py RUN_FOLDER [UNTRAINED_RUN_FOLDER]

Prints AP, AP50 of the run, of the same masks all called the most frequent class, of one centred box of the mean size in
every image, and of a run whose learning rate was too small to learn (`--set train.lr=1e-12 --set train.epochs=1`).
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from fineseg import Instances, Split, make_instances
from fineseg.data.coco import read_coco
from fineseg.data.masks import encode
from fineseg.metrics.mask_ap import mask_ap
from fineseg.predictions import read_instances

FURNITURE = Path(__file__).parents[3] / "shared" / "data" / "furniture"


def centred_boxes(train: Split, split: Split, label: int) -> dict[int, Instances]:
    """Return one box of the training objects' mean size in the middle of each image."""
    sizes = np.array([(o.box[2] - o.box[0], o.box[3] - o.box[1]) for i in train.images for o in train.objects_of(i.id)])
    width, height = sizes.mean(axis=0)
    found = {}
    for image in split.images:
        x, y = (image.width - width) / 2, (image.height - height) / 2
        plane = np.zeros((image.height, image.width), dtype=bool)
        plane[round(y) : round(y + height), round(x) : round(x + width)] = True
        box = [[x, y, x + width, y + height]]
        found[image.id] = make_instances(image.id, (image.height, image.width), [label], [1.0], box, [encode(plane)])
    return found


def main(run: Path, untrained: Path | None) -> None:
    """Print the table."""
    train = read_coco(FURNITURE / "instances_train.json", FURNITURE / "images", "train")
    split = read_coco(FURNITURE / "instances_val.json", FURNITURE / "images", "val")
    ((model, _),) = json.loads((run / "metrics.json").read_text())["models"].items()
    predicted = read_instances(sorted((run / "predictions" / model / "validation").glob("*.parquet")))
    label = Counter(o.label for i in train.images for o in train.objects_of(i.id)).most_common(1)[0][0]
    one_class = {
        k: p.with_rows(np.full_like(p.labels, label), p.scores, p.boxes, p.masks) for k, p in predicted.items()
    }
    rows = {model: predicted, "one class": one_class, "centred box": centred_boxes(train, split, label)}
    if untrained is not None:
        rows["untrained"] = read_instances(sorted((untrained / "predictions" / model / "validation").glob("*.parquet")))
    for name, predictions in rows.items():
        summary = mask_ap(split, predictions).summary
        print(f"{name:>12}  " + "  ".join(f"{key} {value:5.1f}" for key, value in summary.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
