"""`fineseg evaluate`: pycocotools' figures on anyone's files, both outputs, one line per fault, and no torch."""

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_sets import as_coco, as_results, draw, oracle
from imported import heavy_after

from fineseg.cli.main import main
from fineseg.metrics.mask_ap import COCO_AREA_RANGES, instance_ap

Answer = tuple[int, str, str]
TOLERANCE = 1e-6


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str], no_progress: None) -> Callable[..., Answer]:
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(predictions: Path, truth: Path, *more: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", "--predictions", str(predictions), "--ground-truth", str(truth), *more])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, default=lambda counts: counts.decode()))
    return path


def figures(table: dict[str, float | None]) -> list[float]:
    return [math.nan if value is None else value for value in table.values()]


def assert_close(found: dict[str, float | None], expected: list[float]) -> None:
    np.testing.assert_allclose(figures(found), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(6))
def test_json_equals_pycocotools(seed: int, tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    split, predictions = draw(seed, noise=0.1)
    truth, rows, boxes = as_coco(split), as_results(split, predictions), as_results(split, predictions, "bbox")
    ranges, limits, options = COCO_AREA_RANGES, (1, 10, 100), []
    if seed % 2:
        ranges, limits = {"tiny": (0.0, 60.0), "rest": (60.0, math.inf)}, (1, 5, 10)
        options = ["--area", "tiny:0:60", "--area", "rest:60:inf", "--max-detections", "1,5,10"]
    both = [{**row, "bbox": box["bbox"]} for row, box in zip(rows, boxes, strict=True)]
    file = write(tmp_path / "p.json", both)
    code, out, err = evaluate(file, write(tmp_path / "g.json", truth), "--json", *options)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == ["segm", "bbox", "boundary", "holes", "per_class"]
    summary, classes = oracle(truth, rows, ranges, limits)
    assert list(found["segm"]) == ["AP", "AP50", "AP75", *(f"AP{name[0]}" for name in ranges)]
    assert_close(found["segm"], summary)
    assert_close(found["bbox"], oracle(truth, boxes, ranges, limits, "bbox")[0])
    assert_close(found["boundary"], oracle(truth, rows, {}, limits, "boundary")[0])
    assert list(found["per_class"]) == [category.name for category in split.categories]
    for row, expected in zip(found["per_class"].values(), classes, strict=True):
        assert_close({key: row[key] for key in ("AP", "AP50", "AP75")}, expected)
    counted = [a for a in truth["annotations"] if not a["iscrowd"]]
    assert sum(row["objects"] for row in found["per_class"].values()) == len(counted)


def test_results_without_boxes_as_submissions_write_them(tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    """A list, an object with annotations, a zip of either: the same figures, and no "bbox"."""
    split, predictions = draw(4)
    truth, rows = write(tmp_path / "g.json", as_coco(split)), as_results(split, predictions)
    plain = write(tmp_path / "p.json", rows)
    within = write(tmp_path / "o.json", {"images": [], "annotations": rows})
    for file in (plain, within):
        with zipfile.ZipFile(tmp_path / f"{file.stem}.zip", "w") as archive:
            archive.write(file, "any name.json")
    answers = [evaluate(file, truth, "--json") for file in (plain, within, tmp_path / "p.zip", tmp_path / "o.zip")]
    assert answers[0][0] == 0 and "bbox" not in json.loads(answers[0][1])
    assert answers == [answers[0]] * 4


def test_scores_that_float32_cannot_tell_apart_keep_their_order(
    tmp_path: Path, evaluate: Callable[..., Answer]
) -> None:
    """The better of two detections is the higher by 1e-12 and stands last."""
    truth = {
        "images": [{"id": 0, "width": 8, "height": 8}],
        "categories": [{"id": 0}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": {"size": [8, 8], "counts": [0, 32, 32]}}
        ],
    }
    row = {"image_id": 0, "category_id": 0, "score": 0.5, "segmentation": {"size": [8, 8], "counts": "00"}}
    wrong = {**row, "segmentation": {"size": [8, 8], "counts": "P1P1"}}
    right = {**row, "score": 0.5 + 1e-12, "segmentation": {"size": [8, 8], "counts": "0P1P1"}}
    g = write(tmp_path / "g.json", truth)
    code, out, _ = evaluate(write(tmp_path / "p.json", [wrong, right]), g, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["segm"]["AP"] == pytest.approx(100)
    row = found["per_class"].pop("0")
    assert not found["per_class"]
    none = {"AP": None, "objects": 0}
    assert row.pop("areas") == {"small": {"AP": pytest.approx(100), "objects": 1}, "medium": none, "large": none}
    assert row == {"AP": pytest.approx(100), "AP50": 100, "AP75": 100, "objects": 1}


def test_ground_truth_of_3dfuture_has_no_plain_names(tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    split, predictions = draw(4)
    truth = as_coco(split)
    names = ["Wine Cooler", "Desk", "Desk", None]
    truth["categories"] = [
        {"id": category["id"], "category_name": "Furniture"} | ({"fine-grained category name": name} if name else {})
        for category, name in zip(truth["categories"], names, strict=True)
    ]
    for annotation in truth["annotations"]:
        annotation.pop("iscrowd")
    file, ids = write(tmp_path / "p.json", as_results(split, predictions)), [c.id for c in split.categories]
    _, out, _ = evaluate(file, write(tmp_path / "g.json", truth), "--json")
    expected = ["Wine Cooler", f"Desk ({ids[1]})", f"Desk ({ids[2]})", "Furniture"]
    assert list(json.loads(out)["per_class"]) == expected


def test_table_for_people(tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    split, predictions = draw(2)
    truth, rows = as_coco(split), as_results(split, predictions)
    code, out, err = evaluate(write(tmp_path / "p.json", rows), write(tmp_path / "g.json", truth))
    summary, classes = oracle(truth, rows)
    lines = [line.split() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0] == ["AP", "in", "%", "AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert lines[1] == ["masks", *("-" if math.isnan(value) else f"{value:.2f}" for value in summary)]
    assert [line[0] for line in lines[1:3]] == ["masks", "boundaries"] and len(lines[2]) == 4
    assert lines[3] == [] and lines[4][:3] == ["masks", "by", "class"]
    holes = instance_ap(split, predictions)["holes"].summary
    assert lines[-1][:6] == ["IoU", "of", "holes", "in", "%:", f"{holes['IoU']:.2f},"]
    for line, category, expected in zip(lines[5:-2], split.categories, classes, strict=True):
        shown = ["-" if math.isnan(value) else f"{value:.2f}" for value in expected]
        assert line[:-1] == [*category.name.split(), *shown]


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    split, predictions = draw(2)
    found = write(tmp_path / "p.json", as_results(split, predictions))
    truth = write(tmp_path / "g.json", as_coco(split))
    assert heavy_after("evaluate", "--predictions", found, "--ground-truth", truth) == set()


@pytest.mark.realdata
def test_published_result(shared_data: Path, evaluate: Callable[..., Answer]) -> None:
    folder = shared_data / "maskrcnn_pred_gt_51"
    expected = json.loads((folder / "expected.json").read_text())
    truth, rows = (json.loads((folder / f"{name}.json").read_text()) for name in ("gt_trainval", "pred_segm"))
    masks = [{key: value for key, value in row.items() if key != "bbox"} for row in rows]
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in rows]
    for options, ranges, limits in (
        ([], COCO_AREA_RANGES, (1, 10, 100)),
        (["--area", "s:0:12769", "--area", "l:12769:1e10", "--max-detections", "1,5,10"],
         {"s": (0.0, 12769.0), "l": (12769.0, 1e10)}, (1, 5, 10)),
    ):  # fmt: skip
        code, out, _ = evaluate(folder / "pred_segm.json", folder / "gt_trainval.json", "--json", *options)
        found = json.loads(out)
        assert code == 0
        assert_close(found["segm"], oracle(truth, masks, ranges, limits)[0])
        assert_close(found["bbox"], oracle(truth, boxes, ranges, limits, "bbox")[0])
        if not options:
            for kind in ("segm", "bbox"):
                assert {key: round(ap, 3) for key, ap in found[kind].items()} == expected[f"published_{kind}"]
