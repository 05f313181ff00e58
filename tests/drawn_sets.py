"""Drawn splits with detections, and what pycocotools says of them."""

import contextlib
import copy
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineseg import Category, ImageInfo, Instances, Split, TrueObject, make_instances
from fineseg.data import masks
from fineseg.metrics.mask_ap import COCO_AREA_RANGES

# ------------------------------------------------------------------ drawn sets

SIDE = 32


def blob(rng: np.random.Generator, centre: np.ndarray, radius: float, side: int, noise: float) -> np.ndarray:
    """Return a noisy disc [side, side] with at least one pixel."""
    y, x = np.mgrid[:side, :side]
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2 * rng.uniform(1 - noise, 1 + noise, (side, side))
    mask[int(centre[0]), int(centre[1])] = True
    return mask


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    y, x = np.nonzero(mask)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def draw(
    seed: int, images: int = 8, classes: int = 4, side: int = SIDE, noise: float = 0.3
) -> tuple[Split, dict[int, Instances]]:
    """Draw a split and detections of it: crowds, tied scores, empty images, classes without truth or detections."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(50)[:images]
    infos = tuple(ImageInfo(int(i), Path(f"{i}.jpg"), side, side) for i in ids)
    categories = tuple(Category(int(i), f"class {i}") for i in np.sort(rng.permutation(20)[:classes]))
    used = rng.permutation(classes)[: max(1, classes - 1)]
    objects: dict[int, tuple[TrueObject, ...]] = {}
    predictions = {}
    for info in infos:
        true, found = [], []
        for _ in range(rng.integers(0, 7)):
            centre, radius, label = rng.uniform(3, side - 3, 2), rng.uniform(1, side * 0.375), int(rng.choice(used))
            mask = blob(rng, centre, radius, side, noise)
            area = float(mask.sum() + rng.integers(-1, 2))
            rle = {"size": [side, side], "counts": masks.encode(mask)}
            true.append(TrueObject(len(true), label, box_of(mask), rle, area, bool(rng.random() < 0.2)))
            for _ in range(rng.integers(0, 4)):
                near, about = np.clip(centre + rng.normal(0, 1, 2), 0, side - 1), radius * rng.uniform(0.8, 1.2)
                shifted = blob(rng, near, about, side, noise)
                found.append((label if rng.random() < 0.9 else int(rng.integers(classes)), shifted))
        objects[info.id] = tuple(true)
        if rng.random() < 0.85:
            scores = np.round(rng.random(len(found)), int(rng.integers(1, 4)))
            predictions[info.id] = make_instances(
                info.id,
                (side, side),
                [label for label, _ in found],
                scores,
                [np.add(box_of(mask), rng.normal(0, 0.3, 4) * [1, 1, 0, 0]) for _, mask in found],
                [masks.encode(mask) for _, mask in found],
            )
    return Split("drawn", categories, infos, objects), predictions


# ------------------------------------------------------------------ the oracle


def oracle(
    truth: dict,
    results: list[dict],
    ranges: Mapping[str, tuple[float, float]] = COCO_AREA_RANGES,
    limits: Sequence[int] = (1, 10, 100),
    kind: str = "segm",
) -> tuple[list[float], list[list[float]]]:
    """Return pycocotools' [AP, AP50, AP75, one per range] and [AP, AP50, AP75] of each class in percent, nan for -1."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        true_side = COCO()
        true_side.dataset = copy.deepcopy(truth)
        true_side.createIndex()
        if results:
            found_side = true_side.loadRes(copy.deepcopy(results))
        else:
            found_side = COCO()
            found_side.dataset = {**true_side.dataset, "annotations": []}
            found_side.createIndex()
        evaluation = _evaluation(true_side, found_side, kind)
        evaluation.params.areaRng = [[0, 1e10], *(list(each) for each in ranges.values())]
        evaluation.params.areaRngLbl = ["all", *ranges]
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]

    def mean(part: np.ndarray) -> float:
        part = part[part > -1]
        return 100 * float(np.mean(part)) if part.size else math.nan

    figures = [mean(precision[..., 0]), mean(precision[0, ..., 0]), mean(precision[5, ..., 0])]
    figures += [mean(precision[..., position]) for position in range(1, 1 + len(ranges))]
    return figures, [
        [mean(precision[part, :, k, 0]) for part in (slice(None), 0, 5)] for k in range(precision.shape[2])
    ]


def _evaluation(true_side: Any, found_side: Any, kind: str) -> Any:
    """Return pycocotools' evaluation; for "boundary" each IoU is lowered to the boundaries' where that is less."""
    from pycocotools.cocoeval import COCOeval

    if kind != "boundary":
        return COCOeval(true_side, found_side, kind)

    class BoundaryEval(COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> Any:
            ious = super().computeIoU(imgId, catId)
            if not len(ious):
                return ious
            true, found = self._gts[imgId, catId], self._dts[imgId, catId]
            order = np.argsort([-each["score"] for each in found], kind="mergesort")[: self.params.maxDets[-1]]
            for d, n in enumerate(order):
                for g, each in enumerate(true):
                    if not each["iscrowd"]:
                        pair = (self.cocoDt.annToMask(found[n]), self.cocoGt.annToMask(each))
                        ious[d, g] = min(ious[d, g], boundary_iou_by_loops(*pair))
            return ious

    return BoundaryEval(true_side, found_side, "segm")


def boundary_iou_by_loops(first: np.ndarray, second: np.ndarray) -> float:
    """Return the IoU of both masks' pixels [H, W] that lie within 2 % of the diagonal of what is not their mask."""
    reach = max(1, round(0.02 * math.hypot(*first.shape)))
    bands = []
    for mask in (first, second):
        band = np.zeros(mask.shape, bool)
        padded = np.pad(mask.astype(bool), reach)
        for y, x in zip(*np.nonzero(mask), strict=True):
            band[y, x] = not padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all()
        bands.append(band)
    union = np.count_nonzero(bands[0] | bands[1])
    return np.count_nonzero(bands[0] & bands[1]) / union if union else 0.0


def as_coco(split: Split) -> dict:
    """Write a split as a COCO file's content, in its own category ids."""
    annotations = []
    for image in split.images:
        for each in split.objects_of(image.id):
            x1, y1, x2, y2 = each.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": split.categories[each.label].id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": each.area,
                    "iscrowd": int(each.crowd),
                    "segmentation": {**each.segmentation},
                }
            )
    return {
        "images": [{"id": i.id, "height": i.height, "width": i.width} for i in split.images],
        "categories": [{"id": c.id, "name": c.name} for c in split.categories],
        "annotations": annotations,
    }


def as_results(split: Split, predictions: Mapping[int, Instances], kind: str = "segm") -> list[dict]:
    rows = []
    for image_id, found in predictions.items():
        for n in range(len(found)):
            row = {"image_id": image_id, "category_id": split.categories[found.labels[n]].id}
            row["score"] = float(found.scores[n])
            if kind == "segm":
                row["segmentation"] = {"size": [found.height, found.width], "counts": found.masks[n]}
            else:
                x1, y1, x2, y2 = (float(v) for v in found.boxes[n])
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            rows.append(row)
    return rows
