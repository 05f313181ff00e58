"""Average precision against pycocotools, on drawn sets and on a published result."""

import contextlib
import copy
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fineseg import Category, FinesegError, ImageInfo, Instances, Split, TrueObject, make_instances
from fineseg.data import masks
from fineseg.metrics.mask_ap import COCO_AREA_RANGES, APResult, area_keys, mask_ap, truth_as_prediction

TOLERANCE = 1e-6
COMPETITION_RANGES = {"small": (0.0, 60.0), "medium": (60.0, 150.0), "large": (150.0, 1e10)}
PARTIAL_RANGES = {"tiny": (0.0, 25.0), "huge": (300.0, 1e10)}


# ------------------------------------------------------------------ the oracle


def oracle(
    truth: dict,
    results: list[dict],
    ranges: Mapping[str, tuple[float, float]] = COCO_AREA_RANGES,
    limits: Sequence[int] = (1, 10, 100),
    kind: str = "segm",
) -> tuple[list[float], list[float]]:
    """Return pycocotools' [AP, AP50, AP75, one per range] and the AP per category id, in percent, nan for -1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

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
        evaluation = COCOeval(true_side, found_side, kind)
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
    return figures, [mean(precision[:, :, k, 0]) for k in range(precision.shape[2])]


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


def assert_equal(result: APResult, expected: tuple[list[float], list[float]]) -> None:
    figures, per_class = expected
    np.testing.assert_allclose(list(result.summary.values()), figures, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result.per_class, per_class, rtol=0, atol=TOLERANCE)


# ------------------------------------------------------------------- drawn sets

SIDE = 32


def blob(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return a noisy disc [SIDE, SIDE] with at least one pixel."""
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2 * rng.uniform(0.7, 1.3, (SIDE, SIDE))
    mask[int(centre[0]), int(centre[1])] = True
    return mask


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    y, x = np.nonzero(mask)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def draw(seed: int, images: int = 8, classes: int = 4) -> tuple[Split, dict[int, Instances]]:
    """Draw a split and detections of it: crowds, tied scores, empty images, classes without truth or detections."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(50)[:images]
    infos = tuple(ImageInfo(int(i), Path(f"{i}.jpg"), SIDE, SIDE) for i in ids)
    categories = tuple(Category(int(i), f"class {i}") for i in np.sort(rng.permutation(20)[:classes]))
    used = rng.permutation(classes)[: max(1, classes - 1)]
    objects: dict[int, tuple[TrueObject, ...]] = {}
    predictions = {}
    for info in infos:
        true, found = [], []
        for _ in range(rng.integers(0, 7)):
            centre, radius, label = rng.uniform(3, SIDE - 3, 2), rng.uniform(1, 12), int(rng.choice(used))
            mask = blob(rng, centre, radius)
            area = float(mask.sum() + rng.integers(-1, 2))
            rle = {"size": [SIDE, SIDE], "counts": masks.encode(mask)}
            true.append(TrueObject(len(true), label, box_of(mask), rle, area, bool(rng.random() < 0.2)))
            for _ in range(rng.integers(0, 4)):
                shifted = blob(rng, np.clip(centre + rng.normal(0, 1, 2), 0, SIDE - 1), radius * rng.uniform(0.8, 1.2))
                found.append((label if rng.random() < 0.9 else int(rng.integers(classes)), shifted))
        objects[info.id] = tuple(true)
        if rng.random() < 0.85:
            scores = np.round(rng.random(len(found)), int(rng.integers(1, 4)))
            predictions[info.id] = make_instances(
                info.id,
                (SIDE, SIDE),
                [label for label, _ in found],
                scores,
                [np.add(box_of(mask), rng.normal(0, 0.3, 4) * [1, 1, 0, 0]) for _, mask in found],
                [masks.encode(mask) for _, mask in found],
            )
    return Split("drawn", categories, infos, objects), predictions


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(20))
def test_drawn_sets_equal_pycocotools(seed: int, kind: str) -> None:
    split, predictions = draw(seed)
    for ranges in (COCO_AREA_RANGES, COMPETITION_RANGES, PARTIAL_RANGES):
        for limits in ((1, 10, 100), (1, 5, 10), (2,)):
            result = mask_ap(split, predictions, area_ranges=ranges, max_detections=limits, kind=kind)
            expected = oracle(as_coco(split), as_results(split, predictions, kind), ranges, limits, kind)
            assert_equal(result, expected)


def test_detection_limit_counts_per_image_and_class() -> None:
    """More detections than the limit in one image: the headline is taken at the largest limit."""
    split, predictions = draw(2, images=4, classes=2)
    crowded = {
        image_id: found.select(np.tile(np.arange(len(found)), 6)).with_scores(
            np.random.default_rng(0).random(6 * len(found))
        )
        for image_id, found in predictions.items()
    }
    at = {}
    for limits in ((1, 5, 10), (10, 5, 1), (1, 10, 100)):
        at[limits] = mask_ap(split, crowded, max_detections=limits)
        assert_equal(at[limits], oracle(as_coco(split), as_results(split, crowded), limits=sorted(limits)))
    assert at[1, 5, 10].plain() == at[10, 5, 1].plain()
    assert at[1, 5, 10].summary["AP"] != at[1, 10, 100].summary["AP"]


def test_no_detections_at_all() -> None:
    split, _ = draw(1)
    for empty in ({}, {i.id: make_instances(i.id, (SIDE, SIDE), [], [], [], []) for i in split.images}):
        result = mask_ap(split, empty)
        assert result.summary["AP"] == 0
        assert_equal(result, oracle(as_coco(split), []))


def test_what_has_no_truth_is_nan_and_null_in_json() -> None:
    split, predictions = draw(2, classes=3)
    bare = replace(split, objects={})
    result = mask_ap(bare, predictions, area_ranges=PARTIAL_RANGES)
    assert list(result.summary) == ["AP", "AP50", "AP75", "APt", "APh"]
    assert all(math.isnan(value) for value in (*result.summary.values(), *result.per_class))
    assert json.loads(json.dumps(result.plain(), allow_nan=False))["per_class"] == [None] * 3
    assert mask_ap(replace(bare, images=()), {}).plain() == mask_ap(bare, {}).plain()


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(5))
def test_the_truth_as_prediction_gives_100(seed: int, kind: str) -> None:
    split, _ = draw(seed)
    result = mask_ap(split, truth_as_prediction(split), area_ranges=COMPETITION_RANGES, kind=kind)
    measured = [value for value in (*result.summary.values(), *result.per_class) if not math.isnan(value)]
    np.testing.assert_allclose(measured, 100, rtol=0, atol=TOLERANCE)
    assert not any(math.isnan(value) for value in list(result.summary.values())[:3])


def test_result_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    split, predictions = draw(0)
    mask_ap(split, predictions, area_ranges=PARTIAL_RANGES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("small", "medium", "large"), ("APs", "APm", "APl")),
        (("small", "medium", "large", "mega"), ("APs", "AP_medium", "APl", "AP_mega")),
        ((), ()),
    ],
)
def test_keys_of_area_ranges(names: tuple[str, ...], keys: tuple[str, ...]) -> None:
    assert area_keys(names) == keys


def test_faults_are_one_line_each() -> None:
    split, predictions = draw(5)
    image_id = next(i for i, found in predictions.items() if len(found))
    found = predictions[image_id]
    stranger = make_instances(99, (SIDE, SIDE), [], [], [], [])
    cases = [
        (split, {99: stranger}, {}, r"split 'drawn': it lacks 1 of the predicted images \(first: 99\); measure"),
        (split, {image_id: replace(found, height=9)}, {}, "are 32x9 pixels and the image is 32x32"),
        (split, {image_id: replace(found, labels=found.labels + 4)}, {}, "the split has labels 0 to 3"),
        (split, {image_id: found.with_scores(found.scores * np.nan)}, {}, "not a finite number"),
        (replace(split, labelled=False), {}, {}, "no annotations to measure against"),
        (split, {}, {"max_detections": ()}, "not a list of limits"),
        (split, {}, {"area_ranges": {"small": (9.0, 1.0)}}, "is no range"),
        (split, {}, {"kind": "keypoints"}, "choose 'segm' or 'bbox'"),
    ]
    for truth, given, settings, message in cases:
        with pytest.raises(FinesegError, match=message) as caught:
            mask_ap(truth, given, **settings)
        assert "\n" not in str(caught.value)


# -------------------------------------------------------------------- real data


def load_real(folder: Path) -> tuple[Split, dict[int, Instances], dict, list[dict]]:
    content = json.loads((folder / "gt_trainval.json").read_text())
    results = json.loads((folder / "pred_segm.json").read_text())
    label = {category["id"]: position for position, category in enumerate(content["categories"])}
    images = tuple(ImageInfo(i["id"], Path(i["file_name"]), i["width"], i["height"]) for i in content["images"])
    objects: dict[int, tuple[TrueObject, ...]] = {}
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        new = TrueObject(
            a["id"], label[a["category_id"]], (x, y, x + w, y + h), a["segmentation"], a["area"], bool(a["iscrowd"])
        )
        objects[a["image_id"]] = (*objects.get(a["image_id"], ()), new)
    predictions = {}
    for image in images:
        mine = [row for row in results if row["image_id"] == image.id]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (row["bbox"] for row in mine)]
        predictions[image.id] = make_instances(
            image.id,
            (image.height, image.width),
            [label[row["category_id"]] for row in mine],
            [row["score"] for row in mine],
            corners,
            [row["segmentation"]["counts"].encode() for row in mine],
        )
    categories = tuple(Category(c["id"], c["name"]) for c in content["categories"])
    for row in results:
        del row["bbox"]
    return Split("real", categories, images, objects), predictions, content, results


@pytest.mark.realdata
def test_published_result_of_a_mask_rcnn(shared_data: Path) -> None:
    folder = shared_data / "maskrcnn_pred_gt_51"
    published = json.loads((folder / "expected.json").read_text())["published_segm"]
    split, predictions, content, results = load_real(folder)
    result = mask_ap(split, predictions)
    for key in ("AP", "AP50", "AP75"):
        assert round(result.summary[key], 3) == published[key]
    assert_equal(result, oracle(content, results))
    limited = mask_ap(split, predictions, max_detections=(1, 5, 10), area_ranges={"small": (0, 113**2)})
    assert_equal(limited, oracle(content, results, {"small": (0, 113**2)}, (1, 5, 10)))


@pytest.mark.realdata
def test_published_boxes_of_a_mask_rcnn(shared_data: Path) -> None:
    folder = shared_data / "maskrcnn_pred_gt_51"
    published = json.loads((folder / "expected.json").read_text())["published_bbox"]
    split, predictions, _, _ = load_real(folder)
    result = mask_ap(split, predictions, kind="bbox")
    for key in ("AP", "AP50", "AP75"):
        assert result.summary[key] == pytest.approx(published[key], abs=5e-4)


@pytest.mark.realdata
def test_real_truth_as_prediction_gives_100(shared_data: Path) -> None:
    split, _, _, _ = load_real(shared_data / "maskrcnn_pred_gt_51")
    summary = mask_ap(split, truth_as_prediction(split)).summary
    np.testing.assert_allclose(list(summary.values()), 100, rtol=0, atol=TOLERANCE)
