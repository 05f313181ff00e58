"""Data set and submission `coco-panoptic`: where files lie, the zip's form, and every planted fault by its line."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fineseg import Category, FinesegError, ImageInfo, PanopticMap, Segment, Split, make_instances
from fineseg.data.panoptic import decode_ids, encode_ids
from fineseg_datasets import panoptic_submission
from fineseg_datasets.coco_panoptic import read
from fineseg_datasets.options import CocoPanopticOptions, CocoPanopticSubmissionOptions

OPTIONS = CocoPanopticSubmissionOptions()
NAME = "panoptic_test-dev2017_fineseg_results"
THINGS = (Category(1, "person"), Category(7, "train"))
STUFF = (Category(92, "banner", "textile"), Category(200, "rug-merged"))
IMAGES = tuple(ImageInfo(number, Path("test2017") / f"{number:012d}.jpg", 8, 6) for number in (5, 9, 12))
SPLIT = Split("test-dev2017", THINGS, IMAGES, labelled=False, stuff=STUFF)


def predictions() -> dict[int, PanopticMap]:
    ids = np.zeros((6, 8), np.int32)
    ids[:2, :3], ids[3:], ids[2, 2:5] = 70000, 8, 2**24 - 1
    return {
        5: PanopticMap(5, ids, (Segment(70000, 1), Segment(8, 2), Segment(2**24 - 1, 1))),
        9: PanopticMap(9, np.zeros((6, 8), np.int32), ()),
        12: PanopticMap(12, np.full((6, 8), 1, np.int32), (Segment(1, 3),)),
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return panoptic_submission.write(OPTIONS, SPLIT, predictions(), tmp_path / "submission.zip")


# -------------------------------------------------------------------- data set


def write_data(root: Path) -> None:
    folder = root / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    (folder / "5.png").write_bytes(encode_ids(predictions()[5].ids))
    segments = [
        {"id": s.id, "category_id": SPLIT.panoptic_categories[s.label].id, "iscrowd": 0, "area": 6}
        for s in predictions()[5].segments
    ]
    document = {
        "images": [{"id": 5, "file_name": "5.jpg", "width": 8, "height": 6}],
        "annotations": [{"image_id": 5, "file_name": "5.png", "segments_info": segments}],
        "categories": [
            {"id": c.id, "name": c.name, "isthing": int(c in THINGS), "supercategory": c.supercategory}
            for c in (*STUFF, *THINGS)
        ],
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(document))
    test = {"images": document["images"], "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(test))


def test_defaults_are_cocos_own_layout(tmp_path: Path) -> None:
    write_data(tmp_path)
    split = read(CocoPanopticOptions(), tmp_path, "val2017")
    assert (split.name, split.categories, split.stuff) == ("val2017", THINGS, STUFF)
    assert split.images[0].file == tmp_path / "val2017" / "5.jpg"
    assert split.panoptic[5].file == tmp_path / "annotations" / "panoptic_val2017" / "5.png"
    assert [o.label for o in split.objects_of(5)] == [1, 1]


def test_cocos_test_images_take_the_classes_of_another_split(tmp_path: Path) -> None:
    write_data(tmp_path)
    annotations = {"test-dev2017": "annotations/image_info_test-dev2017.json"}
    options: dict[str, Any] = {"annotations": annotations, "classes": "annotations/panoptic_val2017.json"}
    split = read(CocoPanopticOptions(**options, images="test2017"), tmp_path, "test-dev2017")
    assert (split.labelled, split.panoptic_categories) == (False, THINGS + STUFF)
    assert split.images[0].file == tmp_path / "test2017" / "5.jpg"
    options["classes"] = "no.json"
    with pytest.raises(FinesegError) as caught:
        read(CocoPanopticOptions(**options), tmp_path, "test-dev2017")
    assert str(caught.value) == f"{tmp_path / 'no.json'}: no such file"


def test_missing_file_names_the_splits_at_hand(tmp_path: Path) -> None:
    write_data(tmp_path)
    with pytest.raises(FinesegError) as caught:
        read(CocoPanopticOptions(), tmp_path, "train2017")
    file = tmp_path / "annotations" / "panoptic_train2017.json"
    assert str(caught.value) == f"{file}: no such file; splits at hand: val2017"


# ------------------------------------------------------------------ submission


def test_form_is_that_of_cocos_server(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.namelist() == [*(f"{NAME}/{n:012d}.png" for n in (5, 9, 12)), f"{NAME}.json"]
        assert archive.testzip() is None
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        document = json.loads(archive.read(f"{NAME}.json"))
        np.testing.assert_array_equal(decode_ids(archive.read(f"{NAME}/000000000005.png"), "x"), predictions()[5].ids)
    assert document["annotations"][0] == {
        "image_id": 5,
        "file_name": "000000000005.png",
        "segments_info": [
            {"id": 70000, "category_id": 7}, {"id": 8, "category_id": 92}, {"id": 2**24 - 1, "category_id": 7}
        ],
    }  # fmt: skip
    assert document["annotations"][1]["segments_info"] == []
    assert [(c["id"], c["isthing"]) for c in document["categories"]] == [(1, 1), (7, 1), (92, 0), (200, 0)]
    assert document["images"][0] == {"id": 5, "file_name": "000000000005.jpg", "width": 8, "height": 6}


def test_what_is_written_is_sound_and_always_the_same(written: Path, tmp_path: Path) -> None:
    assert panoptic_submission.check(OPTIONS, SPLIT, written) == []
    again = panoptic_submission.write(OPTIONS, SPLIT, predictions(), tmp_path / "again.zip")
    assert again.read_bytes() == written.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "submission.zip"]


def test_more_images_than_are_in_memory_at_a_time(tmp_path: Path) -> None:
    count = 2 * panoptic_submission.AT_ONCE + 3
    images = tuple(replace(IMAGES[0], id=n, file=Path(f"{n}.jpg")) for n in range(count))
    found = {n: replace(predictions()[5], image_id=n) for n in range(count)}
    split = replace(SPLIT, images=images)
    path = panoptic_submission.write(OPTIONS, split, found, tmp_path / "s.zip")
    assert panoptic_submission.check(OPTIONS, split, path) == []


def test_the_file_scores_as_its_maps_do(written: Path, tmp_path: Path) -> None:
    from fineseg.console import Console
    from fineseg.metrics.panoptic_quality import count_image
    from fineseg.stages.panoptic_files import score_panoptic_files

    with zipfile.ZipFile(written) as archive:
        archive.extractall(tmp_path)
    truth = json.loads((tmp_path / f"{NAME}.json").read_text())
    for row in truth["annotations"]:
        row["segments_info"] = [{**s, "iscrowd": 0, "area": 24} for s in row["segments_info"]]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    file = tmp_path / f"{NAME}.json"
    scores = score_panoptic_files(file, None, tmp_path / "truth.json", tmp_path / NAME, Console())
    assert [row.tp + row.fp for row in scores.result.classes] == [0, 2, 1, 1]
    assert count_image(predictions()[12], predictions()[12], 4).tp.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b"])
def test_name_that_no_file_should_have(name: str) -> None:
    with pytest.raises(ValidationError):
        CocoPanopticSubmissionOptions(algorithm=name)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (None, "image 5 (000000000005.jpg) of split 'test-dev2017' has not been predicted; predict all"),
        (make_instances(5, (6, 8), [], [], [], []), "image 5 (000000000005.jpg): this format takes panoptic maps"),
        (PanopticMap(5, np.zeros((8, 6), np.int32), ()), "its predicted map is of size 8 x 6; the image is 6 x 8"),
        (PanopticMap(5, np.ones((6, 8), np.int32), (Segment(1, 4),)), "segment 1 has label 4, beyond the 4 classes"),
        (PanopticMap(5, np.ones((6, 8), np.int32), ()), "segment 1 is in the map but not listed"),
        (PanopticMap(5, np.zeros((6, 8), np.int32), (Segment(1, 0),)), "segment 1 is listed but has no pixel"),
        (
            PanopticMap(5, np.tile(np.int32([1, 2]), (6, 4)), (Segment(1, 2), Segment(2, 2))),
            "segments 1 and 2 are both 'banner'; a class of stuff is one segment",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused(found: Any, line: str, tmp_path: Path) -> None:
    maps = {**predictions(), 5: found}
    if found is None:
        del maps[5]
    with pytest.raises(FinesegError) as caught:
        panoptic_submission.write(OPTIONS, SPLIT, maps, tmp_path / "s.zip")
    assert line in str(caught.value) and str(caught.value).startswith("image 5 (")
    assert list(tmp_path.iterdir()) == []


Members = dict[str, bytes]


def _json(edit: Callable[[Any], object]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        document = json.loads(members[f"{NAME}.json"])
        edit(document)
        members[f"{NAME}.json"] = json.dumps(document).encode()

    return change


def _png(name: str, content: bytes | np.ndarray) -> Callable[[Members], None]:
    data = content if isinstance(content, bytes) else encode_ids(content)
    return lambda members: members.__setitem__(f"{NAME}/{name}", data)


FIVE = f"{NAME}/000000000005.png"


@pytest.mark.parametrize(
    ("plant", "line"),
    [
        (lambda m: m.pop(f"{NAME}.json"), f"must hold {NAME}.json once, not in a folder; it holds '{FIVE}', "),
        (lambda m: m.__setitem__(f"{NAME}.json", b"\xff"), f"{NAME}.json: byte 0 is not UTF-8"),
        (
            lambda m: m.__setitem__(f"{NAME}.json", b"[]"),
            f"{NAME}.json: must be an object with annotations, not a list",
        ),
        (lambda m: m.pop(FIVE), f"{FIVE}: must be in the zip once, as the map of image 5"),
        (_png("x.png", np.zeros((1, 1))), f"holds '{NAME}/x.png', which no annotation names"),
        (lambda m: m.__setitem__("../evil", b""), "holds '../evil', which no annotation names"),
        (_json(lambda d: d.pop("annotations")), f"{NAME}.json: annotations is missing"),
        (_json(lambda d: d["annotations"].pop(0)), "annotations: no annotation of image 5; 1 of the 3 images of split"),
        (_json(lambda d: d["annotations"].append(d["annotations"][0])), "annotations[3]: image 5 is annotated twice"),
        (
            _json(lambda d: d["annotations"][0].update(image_id=77)),
            "annotations[0]: image_id 77 is no image of split 'test-dev2017'",
        ),
        (
            _json(lambda d: d["annotations"][1].update(file_name="000000000005.png")),
            "annotations[1]: image 9: file_name is that of image 5 already",
        ),
        (
            _json(lambda d: d["annotations"][0]["segments_info"][1].update(category_id=93)),
            "annotations[0]: image 5: segment 8: category_id 93 is in no category; known ids 1, 7, 92, 200",
        ),
        (
            _json(lambda d: d["annotations"][0]["segments_info"][1].update(id=0)),
            "annotations[0]: image 5: segments_info[1]: id is 0; it must be from 1 to 16777215",
        ),
        (
            _json(lambda d: d["annotations"][0]["segments_info"][1].update(id=70000)),
            "annotations[0]: image 5: segment 70000 is listed twice; ids must differ",
        ),
        (
            _json(lambda d: d["annotations"][0]["segments_info"].pop(1)),
            f"{FIVE}: image 5: segment 8 is in the map but not listed",
        ),
        (
            _json(lambda d: d["annotations"][0]["segments_info"].append({"id": 3, "category_id": 1})),
            f"{FIVE}: image 5: segment 3 is listed but has no pixel in the map",
        ),
        (
            _json(lambda d: [s.update(category_id=200) for s in d["annotations"][0]["segments_info"][:2]]),
            f"{FIVE}: image 5: segments 70000 and 8 are both 'rug-merged'; a class of stuff is one segment",
        ),
        (_png("000000000005.png", np.zeros((6, 9))), f"{FIVE}: has 9 x 6 pixels; image 5 has 8 x 6"),
        (_png("000000000005.png", b"no png"), f"{FIVE}: is no readable PNG ("),
        (_png("000000000005.png", b"x" * 70_000), f"{FIVE}: is said to be larger than any PNG of 8 x 6 pixels"),
    ],
)
def test_every_planted_fault_is_named(plant: Callable[[Members], None], line: str, written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    plant(members)
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    faults = panoptic_submission.check(OPTIONS, SPLIT, written)
    assert any(fault.startswith(str(written)) and line in fault for fault in faults), faults
    assert all("\n" not in fault for fault in faults)


def test_files_that_are_no_zip(written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: len(content) // 2])
    assert panoptic_submission.check(OPTIONS, SPLIT, written)[0].startswith(f"{written}: is no readable zip (")
    missing = tmp_path / "none.zip"
    assert panoptic_submission.check(OPTIONS, SPLIT, missing) == [f"{missing}: no such file"]
