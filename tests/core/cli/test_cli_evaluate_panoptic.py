"""`fineseg evaluate --task panoptic`: loops' and panopticapi's figures on anyone's files, and one line per fault."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imported import heavy_after
from panoptic_cases import categories, change, count_by_loops, draw_pair, write_maps

from fineseg import PanopticMap, Segment
from fineseg.cli.main import main

Answer = tuple[int, str, str]
CLASSES = {3: False, 7: True, 1: False, 20: True, 9: True}
"""Category id -> thing, in the order of the file; labels are things by id, then stuff by id."""
IDS = (7, 9, 20, 1, 3)
REFUSED_QUIRKS = {
    "058_image_annotated_twice": "annotations[1]: image 5801 is annotated in annotations[0] already",
    "059_gt_image_twice": "annotations[2]: image 5901 is annotated in annotations[0] already",
    "063_prediction_lists_id_zero": "image 6301: segments_info[1]: id is 0; it must be from 1 to 16777215",
    "064_prediction_id_twice": "image 6401: segment 20 is listed twice",
}
"""What panopticapi takes in some way or other, and we do not."""
ERRORS = {
    "043": "image 4302: segment 4865530 is in the map but not listed",
    "044": "image 4402: segment 4242 is listed but has no pixel in the map",
    "045": "image 4501: segment 11399430: category_id 999 is in no category; known ids 1, 2, 3,",
    "046": "no prediction for image 4602; 1 of the 2 images of",
    "047": "annotations[0]: image_id is '4701'; it must be a whole number",
    "048": "004802.png: no such file",
    "049": "image 4901: the predicted map has 74 x 63 pixels, the true one 78 x 63",
    "050": "005001.png: its colours are 'L'; must be RGB",
    "051": "image 5101: segment 900: area is missing",
    "052": "image 5201: segment 900: iscrowd is missing",
}


@dataclass(frozen=True)
class Files:
    """Predictions and ground truth, and the drawn maps in them."""

    predictions: Path
    truth: Path
    pairs: list[tuple[PanopticMap, PanopticMap]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return draw_files(tmp_path, 0)


def draw_files(folder: Path, seed: int, images: int = 6) -> Files:
    rng = np.random.default_rng(seed)
    pairs = [draw_pair(rng, int(number), len(IDS)) for number in rng.permutation(1000)[:images]]
    truth = write_maps(folder, "truth", [pair[0] for pair in pairs], IDS)
    change(truth, categories=categories(CLASSES))
    return Files(write_maps(folder, "found", [pair[1] for pair in pairs][::-1], IDS), truth, pairs)


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str], no_progress: None) -> Callable[..., Answer]:
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(predictions: Path, truth: Path, *more: object) -> Answer:
        given = ["--task", "panoptic", "--predictions", str(predictions), "--ground-truth", str(truth)]
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", *given, *map(str, more)])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


@pytest.mark.parametrize("seed", range(8))
def test_json_equals_loops(seed: int, tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    files = draw_files(tmp_path, seed)
    code, out, err = evaluate(files.predictions, files.truth, "--json")
    found, expected = json.loads(out), count_by_loops(files.pairs)
    assert (code, err) == (0, "")
    assert list(found) == ["All", "Things", "Stuff", "per_class"]
    for name, labels in (("All", range(5)), ("Things", range(3)), ("Stuff", range(3, 5))):
        assert list(found[name]) == ["pq", "sq", "rq", "n"]
        figures = [math.nan if value is None else value for value in found[name].values()]
        np.testing.assert_allclose(figures, expected.means(list(labels)), rtol=0, atol=1e-9)
    assert list(found["per_class"]) == [f"class {number}" for number in IDS]
    for label, row in enumerate(found["per_class"].values()):
        figures = [math.nan if row[name] is None else row[name] for name in ("pq", "sq", "rq")]
        np.testing.assert_allclose(figures, expected.means([label])[:3], rtol=0, atol=1e-9)
        assert [row["tp"], row["fp"], row["fn"]] == [c[label] for c in (expected.tp, expected.fp, expected.fn)]


def test_folders_may_be_called_anything(files: Files, evaluate: Callable[..., Answer]) -> None:
    expected = evaluate(files.predictions, files.truth, "--json")
    folders = []
    for file in (files.predictions, files.truth):
        folders.append(file.with_name(f"{file.stem} pngs"))
        file.with_suffix("").rename(folders[-1])
    code, _, err = evaluate(files.predictions, files.truth)
    assert code == 1 and err == (
        f"error: {files.truth.with_suffix('')}: no such folder; it should hold the PNGs of {files.truth}\n"
    )
    options = ["--prediction-folder", folders[0], "--ground-truth-folder", folders[1]]
    assert evaluate(files.predictions, files.truth, "--json", *options) == expected


def test_table_for_people(files: Files, evaluate: Callable[..., Answer]) -> None:
    code, out, err = evaluate(files.predictions, files.truth)
    lines, expected = [line.split() for line in out.splitlines()], count_by_loops(files.pairs)
    assert (code, err) == (0, "")
    assert lines[0] == ["in", "%", "PQ", "SQ", "RQ", "classes"]
    figures = [f"{value:.2f}" for value in expected.means(range(3))[:3]]
    assert lines[2] == ["Things", *figures, str(expected.means(range(3))[3])]
    assert lines[4] == [] and lines[5] == ["by", "class", "PQ", "SQ", "RQ", "matched", "wrong", "missed"]
    assert [line[:2] for line in lines[6:]] == [["class", str(number)] for number in IDS]


def test_a_class_that_is_absent_is_null_and_a_dash(tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    ids = np.ones((2, 2), np.int32)
    truth = write_maps(tmp_path, "truth", [PanopticMap(1, ids, (Segment(1, 0),))], IDS)
    change(truth, categories=categories(CLASSES))
    found = write_maps(tmp_path, "found", [PanopticMap(1, ids, (Segment(1, 0),))], IDS)
    table = json.loads(evaluate(found, truth, "--json")[1])
    assert table["All"] == table["Things"] == {"pq": 100.0, "sq": 100.0, "rq": 100.0, "n": 1}
    assert table["Stuff"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert evaluate(found, truth)[1].splitlines()[3].split() == ["Stuff", "-", "-", "-", "0"]


def test_classes_of_one_name_are_told_apart(files: Files, evaluate: Callable[..., Answer]) -> None:
    rows = categories(CLASSES)
    for row in rows:
        row["name"] = "door"
    rows[0]["name"] = None
    change(files.truth, categories=rows)
    names = list(json.loads(evaluate(files.predictions, files.truth, "--json")[1])["per_class"])
    assert names == ["door (7)", "door (9)", "door (20)", "door (1)", "3"]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("categories", None, "categories must be a list, not null"),
        ("categories", [], "categories is empty; at least one class is needed"),
        ("categories", [{"id": 1}], "categories[0]: isthing is missing"),
        ("categories", [{"id": 1, "isthing": 2}], "categories[0]: isthing is 2; it must be 1 for things, 0 for stuff"),
        ("categories", [{"id": 1, "isthing": 1}] * 2, "categories[1]: id 1 is taken by categories[0]; ids must differ"),
        ("annotations", {}, "annotations must be a list, not an object"),
        ("annotations", [{"image_id": 1}], "annotations[0]: file_name is missing"),
        ("annotations", [{"image_id": 1, "file_name": " "}], "annotations[0]: segments_info is missing"),
        (
            "annotations",
            [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 2**24}]}],
            "annotations[0]: image 1: segments_info[0]: id is 16777216; it must be from 1 to 16777215",
        ),
        (
            "annotations",
            [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 2, "category_id": 7, "iscrowd": 2}]}],
            "annotations[0]: image 1: segment 2: iscrowd must be 0 or 1",
        ),
        (
            "annotations",
            [{"image_id": 1, "file_name": "a.png", "segments_info": [7]}],
            "annotations[0]: image 1: segments_info[0]: must be an object, not a number",
        ),
    ],
)
def test_wrong_ground_truth_is_one_line(
    key: str, value: Any, line: str, files: Files, evaluate: Callable[..., Answer]
) -> None:
    change(files.truth, **{key: value})
    code, out, err = evaluate(files.predictions, files.truth, "--json")
    assert (code, out, err) == (1, "", f"error: {files.truth}: {line}\n")


@pytest.mark.parametrize(("option", "value"), [("--area", "small:0:5"), ("--max-detections", "1,10,100")])
def test_options_of_instances_are_refused(
    option: str, value: str, files: Files, evaluate: Callable[..., Answer]
) -> None:
    answer = evaluate(files.predictions, files.truth, option, value)
    assert answer == (1, "", f"error: {option} is for --task instance; this is --task panoptic\n")


def test_nothing_heavy_is_imported(files: Files) -> None:
    given = ["--predictions", files.predictions, "--ground-truth", files.truth]
    assert heavy_after("evaluate", "--task", "panoptic", *given) == set()


# ------------------------------------------------------------- what panopticapi says


@pytest.fixture(scope="session")
def oracle(shared_data: Path) -> Path:
    """Folder of inputs whose figures panopticapi has computed."""
    return shared_data / "panoptic_oracle" / "pq"


@pytest.mark.realdata
def test_every_figure_is_panopticapis(oracle: Path, tmp_path: Path, evaluate: Callable[..., Answer]) -> None:
    cases = json.loads((oracle / "expected.json").read_text())["cases"]
    scored = 0
    for name, case in cases.items():
        truth = _records(oracle / case["gt_json"], case["image_ids"], tmp_path / f"{name}.json")
        code, out, err = evaluate(
            oracle / case["pred_json"], truth,
            "--json", "--prediction-folder", oracle / case["pred_folder"],
            "--ground-truth-folder", oracle / case["gt_folder"],
        )  # fmt: skip
        if case["kind"] == "error" or name in REFUSED_QUIRKS:
            line = REFUSED_QUIRKS.get(name) or ERRORS[name[:3]]
            assert (code, out) == (1, "") and line in err and err.count("\n") == 1, err
            continue
        assert (code, err) == (0, ""), name
        found, scored = json.loads(out), scored + 1
        for group in ("All", "Things", "Stuff"):
            if "error" in case[group]:
                assert found[group] == {"pq": None, "sq": None, "rq": None, "n": 0}, name
                continue
            expected = [100 * case[group][figure] for figure in ("pq", "sq", "rq")]
            figures = [found[group][figure] for figure in ("pq", "sq", "rq")]
            np.testing.assert_allclose(figures, expected, rtol=0, atol=1e-9, err_msg=name)
            assert found[group]["n"] == case[group]["n"], name
        rows = {row_name.split("-")[1]: row for row_name, row in found["per_class"].items() if name < "070"}
        for number, row in rows.items():
            counts = case["counts"].get(number, {"tp": 0, "fp": 0, "fn": 0})
            assert {key: row[key] for key in ("tp", "fp", "fn")} == {key: counts[key] for key in ("tp", "fp", "fn")}
    assert scored == 57


def _records(truth: Path, image_ids: list[int] | None, beside: Path) -> Path:
    """Return the ground truth with these records only."""
    if image_ids is None:
        return truth
    document = json.loads(truth.read_text())
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] in image_ids]
    beside.write_text(json.dumps(document))
    return beside


@pytest.mark.realdata
def test_cocos_own_annotations_score_100(shared_data: Path, evaluate: Callable[..., Answer]) -> None:
    file = shared_data / "coco_panoptic_train100" / "panoptic_train100.json"
    found = json.loads(evaluate(file, file, "--json")[1])
    assert found["All"] == {"pq": 100.0, "sq": 100.0, "rq": 100.0, "n": 119}
    assert list(found["per_class"])[:2] == ["person", "bicycle"] and list(found["per_class"])[80] == "banner"
    assert sum(row["tp"] for row in found["per_class"].values()) == 1105
