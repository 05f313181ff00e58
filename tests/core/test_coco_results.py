"""Results lists: round trip, the box of a mask, one line per fault, and a published score reached through both ways."""

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fineseg import Category, FinesegError, ImageInfo, Instances, Split, make_instances
from fineseg.coco_results import instances_of_results, parse_results, read_coco_results, write_coco_results
from fineseg.data import masks
from fineseg.data.coco import read_coco

SPLIT = Split(
    "val",
    (Category(4, "bed"), Category(90, "sofa")),
    (ImageInfo(3, Path("a.jpg"), 20, 10), ImageInfo(7, Path("b.jpg"), 8, 6)),
)


def predictions() -> dict[int, Instances]:
    mask = np.zeros((10, 20), bool)
    mask[2:5, 3:9] = True
    boxes = [[3.25, 2, 9, 5], [0, 0, 20, 10]]
    first = make_instances(3, (10, 20), [1, 0], [0.875, 0.1], boxes, [masks.encode(mask), masks.encode(~mask)])
    return {3: first, 7: make_instances(7, (6, 8), [], [], [], [])}


def written() -> list[dict[str, Any]]:
    return write_coco_results(predictions().values(), SPLIT.categories)


def test_results_are_those_of_coco() -> None:
    first = written()[0]
    assert (first["image_id"], first["category_id"], first["score"]) == (3, 90, 0.875)
    assert first["bbox"] == [3.25, 2, 5.75, 3]
    assert first["segmentation"]["size"] == [10, 20] and isinstance(first["segmentation"]["counts"], str)
    assert write_coco_results(predictions().values(), SPLIT.categories, decimals=1)[0]["score"] == 0.9


def test_round_trip_keeps_everything_and_names_every_image(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(written()))
    read = read_coco_results(file, SPLIT)
    assert list(read) == [3, 7] and len(read[7]) == 0
    for key in ("labels", "scores", "boxes", "masks"):
        assert np.array_equal(getattr(read[3], key), getattr(predictions()[3], key)), key


def test_box_that_is_absent_is_the_masks() -> None:
    rows = [{key: value for key, value in row.items() if key != "bbox"} for row in written()]
    assert instances_of_results(rows, "r.json", SPLIT)[3].boxes.tolist() == [[3, 2, 9, 5], [0, 0, 20, 10]]


def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row.__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put("image_id", 4), "image_id 4 is in no image; known ids 3, 7"),
        (put("category_id", 1), "category_id 1 is in no category; known ids 4, 90"),
        (put("score", float("nan")), "score is nan; it must be a finite number"),
        (put("score", "0.5"), "score is '0.5'; it must be a number"),
        (lambda row: row.pop("score"), "score is missing"),
        (
            put("segmentation", [[1, 2, 3, 4, 5, 6]]),
            "segmentation must be a compressed RLE {size: [height, width], counts: text}",
        ),
        (
            put("segmentation", {"size": [20, 10], "counts": "X6"}),
            "segmentation: size is [20, 10]; image 3 is [10, 20] (height, width)",
        ),
        (
            put("segmentation", {"size": [10, 20], "counts": "`0"}),
            "segmentation: the runs of counts cover 16 pixels; the image has 200",
        ),
        (put("bbox", [0, 0, -1, 5]), "bbox[2] is -1; it must be a finite number, 0 or more"),
    ],
)
def test_fault_is_one_line_with_its_place(damage: Callable[[Any], Any], message: str) -> None:
    rows = copy.deepcopy(written())
    damage(rows[1])
    with pytest.raises(FinesegError) as caught:
        instances_of_results(rows, "r.json", SPLIT)
    assert str(caught.value) == f"r.json[1]: {message}"


def test_every_fault_is_listed_in_order_of_the_file() -> None:
    rows: list[Any] = [*copy.deepcopy(written()), None]
    rows[0]["score"] = 2
    rows[1]["segmentation"]["counts"] = "P"
    results, faults = parse_results(rows, "r.json", SPLIT, scores=(0, 1))
    assert not results
    assert faults == [
        "r.json[0]: score is 2; it must be from 0 to 1",
        "r.json[1]: segmentation: counts stops inside a number",
        "r.json[2]: must be an object, not null",
    ]
    with pytest.raises(FinesegError, match=r"^r\.json: must be a list of results, not an object$"):
        parse_results({}, "r.json", SPLIT)


@pytest.mark.realdata
def test_published_score_survives_reading_and_writing(shared_data: Path) -> None:
    """detectron2's own results, read and written again, still score as its authors published."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = shared_data / "maskrcnn_pred_gt_51"
    split = read_coco(folder / "gt_trainval.json", folder, "trainval")
    read = read_coco_results(folder / "pred_segm.json", split)
    assert sum(map(len, read.values())) == 278
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "gt_trainval.json"))
        evaluation = COCOeval(truth, truth.loadRes(write_coco_results(read.values(), split.categories)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    published = json.loads((folder / "expected.json").read_text())["published_segm"]
    assert evaluation.stats[:3] * 100 == pytest.approx(
        [published["AP"], published["AP50"], published["AP75"]], abs=1e-3
    )
