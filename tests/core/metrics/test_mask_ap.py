"""Average precision against pycocotools, on drawn sets and on a published result."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_sets import SIDE, as_coco, as_results, draw, oracle

from fineseg import Category, FinesegError, ImageInfo, Instances, Split, TrueObject, make_instances
from fineseg.metrics.figures import area_keys
from fineseg.metrics.mask_ap import (
    COCO_AREA_RANGES,
    APResult,
    instance_ap,
    mask_ap,
    model_score,
    truth_as_prediction,
)

TOLERANCE = 1e-6
COMPETITION_RANGES = {"small": (0.0, 60.0), "medium": (60.0, 150.0), "large": (150.0, 1e10)}
PARTIAL_RANGES = {"tiny": (0.0, 25.0), "huge": (300.0, 1e10)}


def assert_equal(result: APResult, expected: tuple[list[float], list[list[float]]]) -> None:
    figures, classes = expected
    np.testing.assert_allclose(list(result.summary.values()), figures, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose([[c.ap, c.ap50, c.ap75] for c in result.classes], classes, rtol=0, atol=TOLERANCE)
    assert result.per_class == tuple(row.ap for row in result.classes)


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


def test_more_detections_in_an_image_than_a_byte_counts() -> None:
    split, predictions = draw(2, images=4, classes=2)
    many = {
        image_id: found.select(np.arange(300) % len(found)) for image_id, found in predictions.items() if len(found)
    }
    result = mask_ap(split, many, max_detections=(1, 10, 1000))
    assert_equal(result, oracle(as_coco(split), as_results(split, many), limits=(1, 10, 1000)))


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
    stored = json.loads(json.dumps(result.plain(), allow_nan=False))
    none = {"AP": None, "objects": 0}
    row = {"AP": None, "AP50": None, "AP75": None, "objects": 0, "areas": {"tiny": none, "huge": none}}
    assert stored["classes"] == [row] * 3
    assert APResult.from_plain(stored).plain() == stored
    assert mask_ap(replace(bare, images=()), {}).plain() == mask_ap(bare, {}).plain()


def test_class_rows_count_the_true_objects() -> None:
    split, predictions = draw(3, images=20)
    result = mask_ap(split, predictions)
    objects = [each for image in split.images for each in split.objects_of(image.id)]
    assert [row.objects for row in result.classes] == [
        sum(each.label == label and not each.crowd for each in objects) for label in range(len(split.categories))
    ]
    assert any(each.crowd for each in objects)
    assert APResult.from_plain(json.loads(json.dumps(result.plain()))).classes[0].plain() == result.classes[0].plain()


@pytest.mark.parametrize("seed", range(4))
def test_area_figures_of_classes_equal_those_of_each_class_alone(seed: int) -> None:
    split, predictions = draw(seed, images=12)
    result = mask_ap(split, predictions, area_ranges=COMPETITION_RANGES)
    score = model_score("a", result, COMPETITION_RANGES)
    assert (score.ap, score.per_class, score.support) == (result.summary["AP"], result.per_class, result.support)
    for label, row in enumerate(result.classes):
        lone = {i: tuple(o for o in split.objects_of(i) if o.label == label) for i in split.objects}
        found = {i: p.select(p.labels == label) for i, p in predictions.items()}
        alone = mask_ap(replace(split, objects=lone), found, area_ranges=COMPETITION_RANGES)
        counted = [o.area for objects in lone.values() for o in objects if not o.crowd]
        for position, (name, (low, high)) in enumerate(COMPETITION_RANGES.items()):
            ap, objects = row.areas[name]
            np.testing.assert_allclose(ap, alone.summary[f"AP{name[0]}"], rtol=0, atol=TOLERANCE)
            assert objects == sum(low <= area <= high for area in counted)
            cell = score.areas[position]
            assert (cell.low, cell.high, cell.support[label]) == (low, high, objects)
            np.testing.assert_equal(cell.per_class[label], ap)


@pytest.mark.parametrize("seed", range(8))
def test_boundary_ap_equals_pycocotools_on_boundaries_by_loops(seed: int) -> None:
    split, predictions = draw(seed, side=[24, 32, 90][seed % 3], noise=0.05)
    limits = (1, 5, 10) if seed % 2 else (1, 10, 100)
    result = instance_ap(split, predictions, area_ranges=PARTIAL_RANGES, max_detections=limits)
    truth, rows = as_coco(split), as_results(split, predictions)
    assert list(result) == ["segm", "boundary", "holes"]
    assert list(result["boundary"].summary) == ["AP", "AP50", "AP75"]
    assert_equal(result["segm"], oracle(truth, rows, PARTIAL_RANGES, limits))
    assert_equal(result["boundary"], oracle(truth, rows, {}, limits, "boundary"))
    assert 0 < result["boundary"].summary["AP"] < result["segm"].summary["AP"]


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
        (split, {}, {"kind": "keypoints"}, "choose 'segm', 'bbox' or 'boundary'"),
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
