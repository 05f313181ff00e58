"""Both submission formats: bytes, form, agreement of a re-scored file, and every planted fault by its line."""

import copy
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fineseg import Category, FinesegError, ImageInfo, Instances, Split, make_instances
from fineseg.data import masks
from fineseg_datasets import coco_json, result_rows, threedfuture_submission
from fineseg_datasets.archive import write_zip
from fineseg_datasets.options import CocoJsonOptions, ThreeDFutureSubmissionOptions
from fineseg_datasets.threedfuture_classes import CATEGORIES

SPLIT = Split(
    "test", CATEGORIES, tuple(ImageInfo(i, Path("images") / "test" / f"{i - 1:07d}.jpg", 40, 30) for i in (1, 2, 3))
)
OPTIONS = ThreeDFutureSubmissionOptions()
COCO_OPTIONS = CocoJsonOptions()
NAME = "segmentation_results.json"


def rectangle(x: int, y: int, width: int, height: int) -> bytes:
    mask = np.zeros((30, 40), bool)
    mask[y : y + height, x : x + width] = True
    return masks.encode(mask)


def predictions() -> dict[int, Instances]:
    first = [rectangle(2, 3, 10, 8), rectangle(5, 5, 30, 20), rectangle(0, 0, 0, 0)]
    boxes = [[2, 3, 12, 11], [5, 5, 35, 25], [0, 0, 1, 1]]
    second = make_instances(2, (30, 40), [33, 0], [1.0, 0.12345], boxes[:2], first[:2])
    return {
        1: make_instances(1, (30, 40), [4, 12, 4], [0.25, 0.98765, 0.0004], boxes, first),
        2: second,
        3: make_instances(3, (30, 40), [], [], [], []),
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return threedfuture_submission.write(OPTIONS, SPLIT, predictions(), tmp_path / "submission.zip")


def content(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(NAME))


def test_form_is_that_of_the_winner(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.namelist() == [NAME] and archive.testzip() is None
        assert archive.getinfo(NAME).date_time == (1980, 1, 1, 0, 0, 0)  # no clock in the bytes
    document = content(written)
    assert document["images"][1] == {"image_id": 2, "width": 40, "height": 30, "file_name": "0000001"}
    assert [(a["image_id"], a["category_id"], a["score"]) for a in document["annotations"]] == [
        (1, 13, 0.988), (1, 5, 0.25), (1, 5, 0.0), (2, 34, 1.0), (2, 1, 0.123),
    ]  # fmt: skip
    first = document["annotations"][0]
    assert set(first) == {"image_id", "category_id", "segmentation", "score"}
    assert first["segmentation"] == {"size": [30, 40], "counts": rectangle(5, 5, 30, 20).decode()}


def test_what_is_written_is_sound_and_always_the_same(written: Path, tmp_path: Path) -> None:
    assert threedfuture_submission.check(OPTIONS, SPLIT, written) == []
    again = threedfuture_submission.write(OPTIONS, SPLIT, predictions(), tmp_path / "again.zip")
    assert again.read_bytes() == written.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "submission.zip"]


def test_reading_back_gives_the_predictions(written: Path) -> None:
    read = threedfuture_submission.read_submission(OPTIONS, SPLIT, written)
    assert list(read) == [1, 2, 3] and len(read[3]) == 0
    for image_id, before in predictions().items():
        best = before.select(np.argsort(-before.scores, kind="stable"))
        assert read[image_id].labels.tolist() == best.labels.tolist()
        assert read[image_id].masks.tolist() == best.masks.tolist()
        assert read[image_id].scores == pytest.approx(best.scores, abs=5e-4)
    assert read[1].boxes[0].tolist() == [5, 5, 35, 25]


def test_only_the_best_of_an_image_are_written(tmp_path: Path) -> None:
    few = ThreeDFutureSubmissionOptions(max_per_image=1, score_decimals=5, file_name="other.json")
    path = threedfuture_submission.write(few, SPLIT, predictions(), tmp_path / "s.zip")
    assert [len(i) for i in threedfuture_submission.read_submission(few, SPLIT, path).values()] == [1, 1, 0]
    assert threedfuture_submission.check(few, SPLIT, path) == []


def test_twins_are_written_once_but_empty_masks_stay(tmp_path: Path) -> None:
    counts = [rectangle(2, 3, 10, 8)] * 3 + [rectangle(0, 0, 0, 0)] * 2
    twins = make_instances(1, (30, 40), [4, 4, 5, 6, 6], [0.5001, 0.5, 0.5, 0.1, 0.1], [[0, 0, 9, 9]] * 5, counts)
    path = threedfuture_submission.write(OPTIONS, SPLIT, {**predictions(), 1: twins}, tmp_path / "s.zip")
    assert len(threedfuture_submission.read_submission(OPTIONS, SPLIT, path)[1]) == 4
    assert threedfuture_submission.check(OPTIONS, SPLIT, path) == []


def test_predictions_that_do_not_fit_the_split(tmp_path: Path) -> None:
    good = predictions()
    nothing = make_instances(2, (40, 30), [], [], [], [])
    lost = {key: good[key] for key in (1, 3)}
    far = good[2].with_rows(good[2].labels + 1, good[2].scores, good[2].boxes, good[2].masks)
    cases = [
        (lost, "image 2 (0000001.jpg) of split 'test' has not been predicted; predict all of its images first"),
        (
            {**good, 2: nothing},
            "image 2 (0000001.jpg): its prediction is of size 40 x 30; the image is 30 x 40 (height x width)",
        ),
        ({**good, 2: far}, "image 2 (0000001.jpg): its prediction has labels beyond the 34 classes"),
        (
            {**good, 2: good[2].with_scores(np.array([np.nan, 1]))},
            "image 2 (0000001.jpg): its prediction has scores or boxes that are no numbers",
        ),
    ]
    for wrong, message in cases:
        with pytest.raises(FinesegError) as caught:
            threedfuture_submission.write(OPTIONS, SPLIT, wrong, tmp_path / "s.zip")
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def put(index: int, key: str, value: Any) -> Callable[[Any], object]:
    return lambda document: document["annotations"][index].__setitem__(key, value)


def put_image(index: int, key: str, value: Any) -> Callable[[Any], object]:
    return lambda document: document["images"][index].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (put(1, "image_id", 9), "annotations[1]: image_id 9 is in no image; known ids 1..3"),
        (put(1, "category_id", 0), "annotations[1]: category_id 0 is in no category; known ids 1..34"),
        (put(1, "score", 1.5), "annotations[1]: score is 1.5; it must be from 0 to 1"),
        (put(1, "score", float("nan")), "annotations[1]: score is nan; it must be from 0 to 1"),
        (lambda d: d["annotations"][1].pop("segmentation"), "annotations[1]: segmentation is missing"),
        (
            put(1, "segmentation", {"size": [40, 30], "counts": "00"}),
            "annotations[1]: segmentation: size is [40, 30]; image 1 is [30, 40] (height, width)",
        ),
        (
            put(1, "segmentation", {"size": [30, 40], "counts": "4P"}),
            "annotations[1]: segmentation: counts stops inside a number",
        ),
        (
            lambda d: d["annotations"].append(d["annotations"][0]),
            "annotations[5]: repeats annotations[0]: same image, class, mask and score",
        ),
        (
            lambda d: d.update(annotations=[]),
            "annotations: is empty; not one object was detected in 3 images",
        ),
        (lambda d: d.update(annotations={}), "annotations: must be a list of results, not an object"),
        (lambda d: d.pop("annotations"), "annotations is missing"),
        (put_image(1, "width", 41), "images[1]: width is 41; image 2 has 40"),
        (put_image(1, "file_name", "0000002"), "images[1]: file_name is '0000002'; image 2 is '0000001'"),
        (lambda d: d["images"].append(d["images"][0]), "images[3]: image_id 1 is listed twice"),
        (lambda d: d["images"].pop(0), "images: lacks 1 of 3 images, first image_id 1"),
        (lambda d: d.update(images=1), "images must be a list, not a number"),
    ],
)
def test_planted_fault_is_one_line(written: Path, change: Callable[[Any], object], line: str) -> None:
    document = content(written)
    change(document)
    write_zip(written, NAME, json.dumps(document))
    assert threedfuture_submission.check(OPTIONS, SPLIT, written) == [f"{written}: {NAME}: {line}"]


def test_all_faults_are_listed_up_to_a_limit(written: Path) -> None:
    document = content(written)
    row = document["annotations"][0]
    document["annotations"] = [{**row, "score": 2} for _ in range(150)]
    write_zip(written, NAME, json.dumps(document))
    lines = threedfuture_submission.check(OPTIONS, SPLIT, written)
    assert len(lines) == result_rows.MOST_LINES + 1
    assert lines[-1] == "and 50 faults more"
    document["annotations"] = [{**row, "score": number / 200} for number in range(101)]
    write_zip(written, NAME, json.dumps(document))
    assert threedfuture_submission.check(OPTIONS, SPLIT, written) == [
        f"{written}: {NAME}: annotations: image_id 1 has 101 entries; at most 100 are allowed"
    ]


def test_other_tools_may_leave_out_the_images(written: Path) -> None:
    document = content(written)
    del document["images"]
    write_zip(written, NAME, json.dumps(document))
    assert threedfuture_submission.check(OPTIONS, SPLIT, written) == []


def rezip(path: Path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"results.json": "[]"}, f"must hold {NAME} once; it holds 'results.json'"),
        ({}, f"must hold {NAME} once; it holds nothing"),
        ({NAME: "{}", "notes.txt": ""}, f"must hold {NAME} alone; it also holds 'notes.txt'"),
        (
            {NAME: "{}", "../evil.json": ""},
            f"member '../evil.json' points outside of the zip; only {NAME} belongs in it",
        ),
        ({NAME: "{}", "/etc/x": ""}, f"member '/etc/x' points outside of the zip; only {NAME} belongs in it"),
        (
            {NAME: '{"annotations": ['},
            f"{NAME}: line 1, column 18: no valid JSON (Expecting value); is the file cut off?",
        ),
        ({NAME: "[]"}, f"{NAME}: must be an object with images and annotations, not a list"),
    ],
)
def test_zip_that_is_none_of_ours(tmp_path: Path, members: dict[str, str], line: str) -> None:
    path = tmp_path / "s.zip"
    rezip(path, members)
    assert threedfuture_submission.check(OPTIONS, SPLIT, path) == [f"{path}: {line}"]


def test_file_that_is_absent_or_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    assert threedfuture_submission.check(OPTIONS, SPLIT, path) == [f"{path}: no such file"]
    path.write_text("{}")
    assert threedfuture_submission.check(OPTIONS, SPLIT, path) == [
        f"{path}: is no readable zip (File is not a zip file)"
    ]


def test_damaged_bytes_never_give_a_traceback(written: Path) -> None:
    sound = written.read_bytes()
    drawn = random.Random(0)
    for _ in range(400):
        damaged = bytearray(sound)
        for _ in range(drawn.randint(1, 4)):
            damaged[drawn.randrange(len(damaged))] = drawn.randrange(256)
        written.write_bytes(damaged[: drawn.choice([len(damaged), drawn.randrange(len(damaged))])])
        lines = threedfuture_submission.check(OPTIONS, SPLIT, written)
        assert all("\n" not in line for line in lines)


def test_any_change_of_a_value_is_found_or_harmless(written: Path) -> None:
    """Values of every kind in every place: the check answers in lines, and what it passes can be read."""
    document = content(written)
    drawn = random.Random(1)
    strange: list[Any] = [None, True, -1, 2**80, 1e308, float("inf"), "", "\ud800", [], {}, [[1]], {"size": 3}]
    for _ in range(300):
        changed = copy.deepcopy(document)
        row = drawn.choice(changed["annotations"] + changed["images"])
        target = drawn.choice([row, row.get("segmentation", row)])
        target[drawn.choice(list(target))] = drawn.choice(strange)
        write_zip(written, NAME, json.dumps(changed))
        lines = threedfuture_submission.check(OPTIONS, SPLIT, written)
        assert all("\n" not in line for line in lines)
        if not lines:
            threedfuture_submission.read_submission(OPTIONS, SPLIT, written)


@pytest.mark.parametrize("name", ["results", "a/b.json", "..\\b.json", ".json"])
def test_file_name_in_the_zip_is_a_plain_one(name: str) -> None:
    with pytest.raises(ValidationError, match="file name without folders"):
        ThreeDFutureSubmissionOptions(file_name=name)


# ------------------------------------------------------------------- coco-json


@pytest.mark.parametrize("suffix", [".zip", ".json"])
def test_coco_json_keeps_everything(tmp_path: Path, suffix: str) -> None:
    path = coco_json.write(COCO_OPTIONS, SPLIT, predictions(), tmp_path / f"submission{suffix}")
    assert coco_json.check(COCO_OPTIONS, SPLIT, path) == []
    read = coco_json.read_submission(COCO_OPTIONS, SPLIT, path)
    for image_id, before in predictions().items():
        best = before.select(np.argsort(-before.scores, kind="stable"))
        for key in ("labels", "scores", "boxes", "masks"):
            assert np.array_equal(getattr(read[image_id], key), getattr(best, key)), key


def test_coco_json_is_read_by_pycocotools(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {
        "images": [{"id": i.id, "width": i.width, "height": i.height} for i in SPLIT.images],
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
        "annotations": [],
    }
    truth.createIndex()
    path = coco_json.write(CocoJsonOptions(boxes=False), SPLIT, predictions(), tmp_path / "results.json")
    assert len(truth.loadRes(str(path)).anns) == 5
    assert "bbox" not in json.loads(path.read_text())[0]
    rounded = coco_json.write(CocoJsonOptions(score_decimals=2), SPLIT, predictions(), tmp_path / "rounded.json")
    assert [row["score"] for row in json.loads(rounded.read_text())] == [0.99, 0.25, 0.0, 1.0, 0.12]


def test_coco_json_faults(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "results.json", tmp_path / "results.zip"
    for text, line in (
        ("{}", "must be a list of results, not an object"),
        ("[]", "is empty; not one object was detected in 3 images"),
        ("[1", "line 1, column 3: no valid JSON (Expecting ',' delimiter); is the file cut off?"),
    ):
        plain.write_text(text)
        rezip(zipped, {"results.json": text})
        assert coco_json.check(COCO_OPTIONS, SPLIT, plain) == [f"{plain}: {line}"]
        assert coco_json.check(COCO_OPTIONS, SPLIT, zipped) == [f"{zipped}: results.json: {line}"]
    plain.write_text('[{"image_id": 1}]')
    assert coco_json.check(COCO_OPTIONS, SPLIT, plain) == [f"{plain}[0]: category_id is missing"]
    with pytest.raises(FinesegError, match="category_id is missing"):
        coco_json.read_submission(COCO_OPTIONS, SPLIT, plain)


def test_category_ids_are_the_data_sets_own(tmp_path: Path) -> None:
    split = Split("val", (Category(17, "cat"), Category(90, "dog")), SPLIT.images[:1])
    one = make_instances(1, (30, 40), [1], [0.5], [[2, 3, 12, 11]], [rectangle(2, 3, 10, 8)])
    path = coco_json.write(COCO_OPTIONS, split, {1: one}, tmp_path / "r.json")
    assert json.loads(path.read_text())[0]["category_id"] == 90
    assert coco_json.read_submission(COCO_OPTIONS, split, path)[1].labels.tolist() == [1]
