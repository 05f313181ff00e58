"""COCO average precision of instances, with the area ranges and detection limits that a competition asks for.

Letters: T IoU thresholds .50:.05:.95, R recall points 0:.01:1, K classes, A area ranges ("all" first), M detection
limits. The matching and the precision curves are faster-coco-eval's; they equal pycocotools', whose own summary is
bound to a limit of 100 detections.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fineseg.data import masks
from fineseg.data.split import ImageInfo, Split
from fineseg.errors import FinesegError
from fineseg.metrics.figures import area_keys
from fineseg.parts import AreaScore, ModelScore
from fineseg.predictions import Instances, make_instances

Kind = Literal["segm", "bbox", "boundary"]
AreaRanges = Mapping[str, tuple[float, float]]

ALL_AREAS = (0.0, 1e5**2)
COCO_AREA_RANGES: AreaRanges = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
COCO_MAX_DETECTIONS = (1, 10, 100)


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class in percent, nan without truth; `objects` counts its true ones without crowds.

    `areas` has AP and true objects of each area range, by its name.
    """

    ap: float
    ap50: float
    ap75: float
    objects: int
    areas: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON-ready data."""
        figures = {"AP": self.ap, "AP50": self.ap50, "AP75": self.ap75}
        areas = {name: {"AP": _none_for_nan(ap), "objects": count} for name, (ap, count) in self.areas.items()}
        row = {name: _none_for_nan(value) for name, value in figures.items()}
        return {**row, "objects": self.objects, "areas": areas}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> "ClassAP":
        """Return the row that `plain` was called on."""
        ap, ap50, ap75 = (_nan_for_none(stored[name]) for name in ("AP", "AP50", "AP75"))
        areas = {name: (_nan_for_none(row["AP"]), row["objects"]) for name, row in stored["areas"].items()}
        return cls(ap, ap50, ap75, stored["objects"], areas)


@dataclass(frozen=True)
class APResult:
    """Average precision in percent.

    `summary` has "AP" (mean over the IoU thresholds), "AP50", "AP75" and one entry an area range, in the order of the
    ranges ("small" -> "APs"; ranges that share a first letter -> "AP_<name>"). `classes` are in the order of the split;
    what is measured over all classes at once, `metrics.holes`, has figures of its own and no classes.
    What has no truth is nan here and null in `plain()`.
    """

    summary: dict[str, float]
    classes: tuple[ClassAP, ...]

    @property
    def per_class(self) -> tuple[float, ...]:
        """The AP of each category."""
        return tuple(row.ap for row in self.classes)

    @property
    def support(self) -> tuple[int, ...]:
        """The number of true objects of each category, crowds left out."""
        return tuple(row.objects for row in self.classes)

    def plain(self) -> dict[str, Any]:
        """Return the result as JSON-ready data: nan, which JSON does not know, becomes None."""
        return {
            "summary": {name: _none_for_nan(value) for name, value in self.summary.items()},
            "classes": [row.plain() for row in self.classes],
        }

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> "APResult":
        """Return the result that `plain` was called on."""
        return cls(
            summary={name: _nan_for_none(value) for name, value in stored["summary"].items()},
            classes=tuple(ClassAP.from_plain(row) for row in stored["classes"]),
        )


def instance_ap(
    truth: Split,
    predictions: Mapping[int, Instances],
    *,
    area_ranges: AreaRanges = COCO_AREA_RANGES,
    max_detections: Sequence[int] = COCO_MAX_DETECTIONS,
) -> dict[str, APResult]:
    """Measure predictions as a run reports them: AP of "segm", of "boundary" over all areas, and IoU of "holes"."""
    from fineseg.metrics.holes import hole_iou

    return {
        "segm": mask_ap(truth, predictions, area_ranges=area_ranges, max_detections=max_detections),
        "boundary": mask_ap(truth, predictions, area_ranges={}, max_detections=max_detections, kind="boundary"),
        "holes": APResult(hole_iou(truth, predictions, max(max_detections)), ()),
    }


def mask_ap(
    truth: Split,
    predictions: Mapping[int, Instances],
    *,
    area_ranges: AreaRanges = COCO_AREA_RANGES,
    max_detections: Sequence[int] = COCO_MAX_DETECTIONS,
    kind: Kind = "segm",
) -> APResult:
    """Measure predictions, by image id, against a labelled split.

    Every figure is taken at the largest of `max_detections`, a limit per image and class. `area_ranges` are closed
    intervals in square pixels; true objects fall into them by their stated area, detections by the area of their mask
    (of their box for `kind` "bbox"). `kind` "boundary" matches by the smaller of mask IoU and boundary IoU. An image of
    the split without an entry counts as one without detections. Detections of equal score keep their order. Raises
    `FinesegError` where predictions do not belong to the split.
    """
    _check_settings(truth, area_ranges, max_detections, kind)
    _check_predictions(truth, predictions)
    precision = _precision(truth, predictions, tuple(area_ranges.values()), max_detections, kind)
    summary = {
        "AP": _mean(precision[..., 0]),
        "AP50": _mean(precision[0, ..., 0]),
        "AP75": _mean(precision[5, ..., 0]),
    }
    for position, key in enumerate(area_keys(tuple(area_ranges)), start=1):
        summary[key] = _mean(precision[..., position])
    return APResult(summary, _class_rows(truth, precision, area_ranges))


def model_score(model: str, result: APResult, area_ranges: AreaRanges) -> ModelScore:
    """Return what ensemblers are told of a model that was measured with these area ranges."""
    areas = []
    for name, (low, high) in area_ranges.items():
        cells = [row.areas[name] for row in result.classes]
        areas.append(AreaScore(low, high, tuple(ap for ap, _ in cells), tuple(count for _, count in cells)))
    return ModelScore(model, result.summary["AP"], result.per_class, result.support, tuple(areas))


def _class_rows(truth: Split, precision: np.ndarray, area_ranges: AreaRanges) -> tuple[ClassAP, ...]:
    """Return the row of each class from the precision [T, R, K, A]."""
    objects = [each for image in truth.images for each in truth.objects_of(image.id) if not each.crowd]
    counts = [Counter(each.label for each in objects)]
    for low, high in area_ranges.values():
        counts.append(Counter(each.label for each in objects if low <= each.area <= high))
    rows = []
    for k in range(len(truth.categories)):
        ap, ap50, ap75 = (_mean(precision[part, :, k, 0]) for part in (slice(None), 0, 5))
        areas = {name: (_mean(precision[:, :, k, a]), counts[a][k]) for a, name in enumerate(area_ranges, start=1)}
        rows.append(ClassAP(ap, ap50, ap75, counts[0][k], areas))
    return tuple(rows)


def truth_as_prediction(split: Split) -> dict[int, Instances]:
    """Return the true objects as perfect predictions of score 1, without crowd regions.

    Measured against the same split they give 100, as long as the detection limit spares them.
    """
    found = {}
    for image in split.images:
        objects = [each for each in split.objects_of(image.id) if not each.crowd]
        found[image.id] = make_instances(
            image.id,
            (image.height, image.width),
            labels=[each.label for each in objects],
            scores=np.ones(len(objects)),
            boxes=[each.box for each in objects],
            masks=[masks.to_rle(each.segmentation, image.height, image.width)["counts"] for each in objects],
        )
    return found


def _precision(
    truth: Split,
    predictions: Mapping[int, Instances],
    ranges: Sequence[tuple[float, float]],
    max_detections: Sequence[int],
    kind: Kind,
) -> np.ndarray:
    """Return the interpolated precision [T, R, K, A] at the largest detection limit; -1 where there is no truth."""
    from faster_coco_eval import COCO, COCOeval_faster

    from fineseg.metrics.boundary import BoundaryEval

    frame = {
        "images": [{"id": image.id, "height": image.height, "width": image.width} for image in truth.images],
        "categories": [{"id": label, "name": each.name} for label, each in enumerate(truth.categories)],
    }
    if not frame["images"] or not frame["categories"]:
        return np.full((10, 101, len(truth.categories), 1 + len(ranges)), -1.0)
    true_side = COCO({**frame, "annotations": _true_annotations(truth, kind)}, print_function=_silent)
    found_side = COCO({**frame, "annotations": _found_annotations(truth, predictions, kind)}, print_function=_silent)
    if kind == "boundary":
        evaluation = BoundaryEval(true_side, found_side, "segm", print_function=_silent)
    else:
        evaluation = COCOeval_faster(true_side, found_side, kind, print_function=_silent)
    # Set here, not by `ranges=`, which logs a warning for ranges that leave areas out: a competition may want that.
    evaluation.params.areaRng = [list(each) for each in (ALL_AREAS, *ranges)]
    evaluation.params.areaRngLbl = ["all", *(str(position) for position in range(len(ranges)))]
    evaluation.params.maxDets = sorted(int(limit) for limit in max_detections)
    evaluation.evaluate()
    evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][..., -1]
    return precision


def _true_annotations(truth: Split, kind: Kind) -> list[dict[str, Any]]:
    """Return the true objects as COCO annotations; ids start at 1 because 0 stands for "unmatched"."""
    rows: list[dict[str, Any]] = []
    for image in truth.images:
        for each in truth.objects_of(image.id):
            x1, y1, x2, y2 = each.box
            row = {
                "id": len(rows) + 1,
                "image_id": image.id,
                "category_id": each.label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(each.area),
                "iscrowd": int(each.crowd),
            }
            if kind != "bbox":
                rle = masks.to_rle(each.segmentation, image.height, image.width)
                row["segmentation"] = {"size": list(rle["size"]), "counts": rle["counts"]}
            rows.append(row)
    return rows


def _found_annotations(truth: Split, predictions: Mapping[int, Instances], kind: Kind) -> list[dict[str, Any]]:
    """Return the detections as COCO annotations, in their order, with the areas that size them."""
    rows: list[dict[str, Any]] = []
    for image in truth.images:
        found = predictions.get(image.id)
        if found is None or not len(found):
            continue
        boxes = found.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        if kind != "bbox":
            area = masks.areas(list(found.masks), image.height, image.width)
        else:
            area = boxes[:, 2] * boxes[:, 3]
        size = [image.height, image.width]
        columns = (found.labels.tolist(), found.scores.tolist(), boxes.tolist(), area.tolist(), found.masks)
        for label, score, box, square, counts in zip(*columns, strict=True):
            row = {"id": len(rows) + 1, "image_id": image.id, "category_id": label, "score": score}
            row |= {"bbox": box, "area": square, "iscrowd": 0}
            if kind != "bbox":
                row["segmentation"] = {"size": size, "counts": counts}
            rows.append(row)
    return rows


def _check_settings(truth: Split, area_ranges: AreaRanges, max_detections: Sequence[int], kind: str) -> None:
    if not truth.labelled:
        raise FinesegError(f"split {truth.name!r}: it has no annotations to measure against; choose a labelled split")
    if kind not in ("segm", "bbox", "boundary"):
        raise FinesegError(f"average precision: kind {kind!r} is unknown; choose 'segm', 'bbox' or 'boundary'")
    if not max_detections or min(max_detections) < 1:
        raise FinesegError(f"max_detections: {list(max_detections)} is not a list of limits; give e.g. [1, 10, 100]")
    for name, (low, high) in area_ranges.items():
        if not name or not low < high:
            raise FinesegError(f"area_ranges: {name!r} = [{low}, {high}] is no range; give a name and [low, high]")


def _check_predictions(truth: Split, predictions: Mapping[int, Instances]) -> None:
    images = {image.id: image for image in truth.images}
    strange = sorted(image_id for image_id in predictions if image_id not in images)
    if strange:
        raise FinesegError(
            f"split {truth.name!r}: it lacks {len(strange)} of the predicted images (first: {strange[0]}); "
            "measure predictions on the split that they were made for"
        )
    for image_id, found in predictions.items():
        fault = _fault(found, images[image_id], len(truth.categories))
        if fault:
            raise FinesegError(f"split {truth.name!r}, image {image_id}: {fault}")


def _fault(found: Instances, image: ImageInfo, classes: int) -> str | None:
    if (found.height, found.width) != (image.height, image.width):
        return (
            f"predictions are {found.width}x{found.height} pixels and the image is {image.width}x{image.height}; "
            "masks and boxes belong in the original frame"
        )
    if len(found) and not (found.labels.min() >= 0 and found.labels.max() < classes):
        return f"labels run from {found.labels.min()} to {found.labels.max()}; the split has labels 0 to {classes - 1}"
    if not np.isfinite(found.scores).all():
        return "a score is not a finite number; scores lie in 0 to 1"
    return None


def _mean(precision: np.ndarray) -> float:
    """Return the mean in percent of the curves that have truth (-1 marks those without), nan where none has."""
    measured = precision[precision > -1]
    return 100.0 * float(measured.mean()) if measured.size else float("nan")


def _none_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _nan_for_none(value: float | None) -> float:
    return float("nan") if value is None else value


def _silent(*_: object) -> None:
    """Take the evaluator's progress prints."""
