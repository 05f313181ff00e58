"""Held-out predictions of drawn models whose faults are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fineseg import Category, ImageInfo, Instances, Split, TrueObject, concatenate, make_instances
from fineseg.data.masks import encode
from fineseg.tuning.matching import THRESHOLDS, class_ap, match, mean_over_classes
from fineseg.tuning.overlaps import Overlaps

SIDE = 64
ALL = (0.0, 1e10)


def square(x: int, y: int, side: int) -> tuple[list[int], bytes]:
    plane = np.zeros((SIDE, SIDE), dtype=bool)
    plane[y : y + side, x : x + side] = True
    return [x, y, x + side, y + side], encode(plane)


def squares(
    seed: int, images: int = 60, slips: Sequence[float] = (0.1, 0.1), noise: float = 0.15, classes: int = 3
) -> tuple[Overlaps, list[list[Instances]]]:
    """Draw three squares an image, and models that see them about `slip` of a side too small, beside false squares.

    Each score is a chance: that of a detection to be a hit, and a little `noise`.
    """
    rng = np.random.default_rng(seed)
    infos = tuple(ImageInfo(n, Path(f"{n}.png"), SIDE, SIDE) for n in range(images))
    objects: dict[int, tuple[TrueObject, ...]] = {}
    found: list[list[Instances]] = [[] for _ in slips]
    for info in infos:
        places = [(int(x), int(rng.integers(40)), int(rng.integers(10, 20))) for x in (1, 22, 43)]
        labels = rng.integers(0, classes, 3)
        objects[info.id] = tuple(
            TrueObject(
                n, int(label), tuple(map(float, square(*place)[0])), rle(square(*place)[1]), float(place[2] ** 2)
            )
            for n, (place, label) in enumerate(zip(places, labels, strict=True))
        )
        for model, slip in zip(found, slips, strict=True):
            rows = []
            for (x, y, side), label in zip(places, labels, strict=True):
                off = min(round(side * slip * rng.uniform(0, 2)), side - 2)
                rows.append((int(label), rng.beta(4, 2), *square(x, y, side - off)))
            for _ in range(6):
                x, y, side = (int(v) for v in rng.integers([0, 0, 6], [44, 44, 20]))
                rows.append((int(rng.integers(classes)), rng.beta(2, 4), *square(x, y, side)))
            label, score, boxes, masks = zip(*rows, strict=True)
            scores = np.clip(np.array(score) + rng.normal(0, noise, len(score)), 0.02, 0.98)
            model.append(make_instances(info.id, (SIDE, SIDE), label, scores, boxes, list(masks)))
    categories = tuple(Category(n, f"class {n}") for n in range(classes))
    return Overlaps(Split("squares", categories, infos, objects), found), found


def rle(counts: bytes) -> dict:
    return {"size": [SIDE, SIDE], "counts": counts}


def one_list(models: Sequence[Sequence[Instances]]) -> list[Instances]:
    """Pool what all models say of each image."""
    return [concatenate(each) for each in zip(*models, strict=True)]


def ap_of(overlaps: Overlaps, found: Sequence[Instances]) -> float:
    matched = match(overlaps.truth, overlaps.of(found), THRESHOLDS, ALL, 100)
    return float(mean_over_classes(class_ap(matched, np.ones((1, len(found)))))[0])
