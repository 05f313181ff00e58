"""Reading COCO instances: values against pycocotools, and one exact line for what is wrong."""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from fineseg import FinesegError, Split
from fineseg.data import masks
from fineseg.data.coco import read_coco, split_of

ELLIPSE = np.zeros((24, 32), np.uint8)
cv2.ellipse(ELLIPSE, (14, 10), (9, 6), 20, 0, 360, 1, -1)


def coded(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def document() -> dict[str, Any]:
    """A small valid file with both kinds of masks, a crowd, ids that are not contiguous, and absent values."""
    polygon = [2.0, 3.0, 20.5, 3.0, 20.5, 15.0, 2.0, 15.0]
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 32, "height": 24},
            {"id": 3, "file_name": "sub/a.jpg", "width": 40, "height": 30},
        ],
        "categories": [
            {"id": 90, "name": "sofa"},
            {"id": 4, "name": "bed", "supercategory": "furniture"},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 90,
                "segmentation": coded(ELLIPSE),
                "bbox": [5, 4, 19, 13],
                "area": 170.5,
                "iscrowd": 0,
            },
            {"id": 2, "image_id": 3, "category_id": 4, "segmentation": [polygon]},
            {
                "id": 5,
                "image_id": 7,
                "category_id": 4,
                "segmentation": {"size": [24, 32], "counts": [24, 48, 696]},
                "iscrowd": 1,
            },
        ],
    }


def read(value: Any, labelled: bool | None = None) -> Split:
    return split_of(json.loads(json.dumps(value)), "train.json", Path("images"), "train", labelled=labelled)


def test_categories_images_and_labels() -> None:
    split = read(document())
    assert [(c.id, c.name, c.supercategory) for c in split.categories] == [(4, "bed", "furniture"), (90, "sofa", "")]
    assert [(i.id, i.file, i.width, i.height) for i in split.images] == [
        (7, Path("images/b.jpg"), 32, 24),
        (3, Path("images/sub/a.jpg"), 40, 30),
    ]
    assert [(o.id, o.label, o.crowd) for o in split.objects_of(7)] == [(1, 1, False), (5, 0, True)]
    assert split.labelled and split.name == "train"


def test_box_and_area_are_those_of_the_file() -> None:
    first = read(document()).objects_of(7)[0]
    assert first.box == (5.0, 4.0, 24.0, 17.0)
    assert first.area == 170.5


def test_absent_box_and_area_are_the_masks() -> None:
    raw = document()
    for key in ("bbox", "area", "iscrowd"):
        raw["annotations"][0][key] = None
    ellipse, crowd = read(raw).objects_of(7)
    rows, columns = np.nonzero(ELLIPSE)
    assert ellipse.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert ellipse.area == ELLIPSE.sum() and not ellipse.crowd
    assert (crowd.box, crowd.area) == ((1, 0, 3, 24), 48)
    polygon = read(raw).objects_of(3)[0]
    rle = coco_mask.merge(coco_mask.frPyObjects(raw["annotations"][1]["segmentation"], 30, 40))
    assert polygon.area == coco_mask.area(rle)
    assert polygon.box == (2.0, 3.0, 21.0, 15.0)


def test_masks_come_out_as_they_went_in() -> None:
    ellipse, crowd = (o.segmentation for o in read(document()).objects_of(7))
    assert isinstance(ellipse, dict) and isinstance(crowd, dict)
    assert np.array_equal(masks.decode(ellipse["counts"], 24, 32), ELLIPSE.astype(bool))
    assert masks.decode(crowd["counts"], 24, 32).sum(axis=0).tolist() == [0, 24, 24] + [0] * 29


def test_without_annotations_the_split_is_unlabelled() -> None:
    raw = document()
    del raw["annotations"]
    assert not read(raw).labelled
    with pytest.raises(FinesegError, match=r"^train\.json: annotations is missing$"):
        read(raw, labelled=True)
    hidden = read(document(), labelled=False)
    assert not hidden.labelled and not hidden.objects


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(raw: Any) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = to

    return apply


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def apply(raw: Any) -> None:
        for key in path[:-1]:
            raw = raw[key]
        del raw[path[-1]]

    return apply


FAULTS = [
    (drop("images"), "images is missing"),
    (change("images", to={}), "images must be a list, not an object"),
    (change("categories", to=[]), "categories is empty; at least one class is needed"),
    (change("annotations", to=None), "annotations must be a list, not null"),
    (change("annotations", 1, to=5), "annotations[1]: must be an object, not a number"),
    (
        change("annotations", 1, "category_id", to=99),
        "annotations[1]: category_id 99 is in no category; known ids 4, 90",
    ),
    (drop("annotations", 1, "category_id"), "annotations[1]: category_id is missing"),
    (change("annotations", 2, "image_id", to=8), "annotations[2]: image_id 8 is in no image; known ids 3, 7"),
    (change("annotations", 2, "image_id", to="7"), "annotations[2]: image_id is '7'; it must be a whole number"),
    (change("annotations", 2, "id", to=1), "annotations[2]: id 1 is taken by annotations[0]; ids must differ"),
    (change("images", 1, "id", to=7), "images[1]: id 7 is taken by images[0]; ids must differ"),
    (change("categories", 1, "id", to=90), "categories[1]: id 90 is taken by categories[0]; ids must differ"),
    (change("categories", 0, "name", to=3), "categories[0]: name is 3; it must be a text"),
    (change("images", 0, "width", to=-32), "images[0]: width is -32; it must be from 1 to 65535"),
    (change("images", 0, "width", to=True), "images[0]: width is True; it must be a whole number"),
    (change("images", 0, "file_name", to=" "), "images[0]: file_name is ' ', which can be no file"),
    (
        change("annotations", 0, "segmentation", "size", to=[32, 24]),
        "annotations[0]: segmentation: size is [32, 24]; image 7 is [24, 32] (height, width)",
    ),
    (
        change("annotations", 0, "segmentation", "counts", to="`0"),
        "annotations[0]: segmentation: the runs of counts cover 16 pixels; the image has 768",
    ),
    (
        change("annotations", 2, "segmentation", "counts", to=[24, 48]),
        "annotations[2]: segmentation: the runs of counts cover 72 pixels; the image has 768",
    ),
    (
        change("annotations", 2, "segmentation", "counts", to=[-8, 776]),
        "annotations[2]: segmentation: counts holds a run of impossible length",
    ),
    (
        change("annotations", 2, "segmentation", "counts", to="4P"),
        "annotations[2]: segmentation: counts stops inside a number",
    ),
    (drop("annotations", 0, "segmentation", "size"), "annotations[0]: segmentation: size is missing"),
    (
        change("annotations", 1, "segmentation", to=None),
        "annotations[1]: segmentation must be polygons or an RLE, not null",
    ),
    (
        change("annotations", 1, "segmentation", to=[]),
        "annotations[1]: segmentation is an empty list; it needs a polygon",
    ),
    (
        change("annotations", 1, "segmentation", to=[1, 2, 3, 4, 5, 6]),
        "annotations[1]: segmentation[0] must be a list of numbers x1, y1, x2, y2, ..., not a number",
    ),
    (
        change("annotations", 1, "segmentation", to=[[1, 2, 3, 4]]),
        "annotations[1]: segmentation[0] has 4 numbers; a polygon needs an even number, at least 6",
    ),
    (
        change("annotations", 1, "segmentation", 0, 2, to=float("nan")),
        "annotations[1]: segmentation[0] reaches x = nan; the image ends at 40",
    ),
    (
        change("annotations", 1, "segmentation", 0, 3, to=1e8),
        "annotations[1]: segmentation[0] reaches y = 100000000.0; the image ends at 30",
    ),
    (
        change("annotations", 1, "segmentation", 0, 3, to="3"),
        "annotations[1]: segmentation[0] holds something that is no number",
    ),
    (
        change("annotations", 0, "bbox", to=[1, 2, 3]),
        "annotations[0]: bbox must be a list of 4 numbers: x, y, width, height",
    ),
    (
        change("annotations", 0, "bbox", 2, to=-1),
        "annotations[0]: bbox[2] is -1; it must be a finite number, 0 or more",
    ),
    (
        change("annotations", 0, "bbox", 0, to=float("inf")),
        "annotations[0]: bbox[0] is inf; it must be a finite number",
    ),
    (
        change("annotations", 0, "area", to=float("nan")),
        "annotations[0]: area is nan; it must be a finite number, 0 or more",
    ),
    (change("annotations", 0, "iscrowd", to=2), "annotations[0]: iscrowd must be 0 or 1"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS, ids=[message[:50] for _, message in FAULTS])
def test_fault_is_one_line_with_its_place(damage: Callable[[Any], None], message: str) -> None:
    raw = document()
    damage(raw)
    with pytest.raises(FinesegError) as caught:
        read(raw)
    assert str(caught.value) == f"train.json: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"images": [\n  {"id": 1,',
            "line 2, column 12: no valid JSON (Expecting property name enclosed in double quotes)"
            "; is the file cut off?",
        ),
        (b'{"images": [\n {"id" 1}]}', "line 2, column 8: no valid JSON (Expecting ':' delimiter)"),
        (b"", "line 1, column 1: no valid JSON (Expecting value); is the file cut off?"),
        (b"[]", "must be an object with images, annotations and categories, not a list"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8, so this is no JSON"),
        (b"[" * 100_000, "no valid JSON (nested too deeply)"),
        (b'{"images": ' + b"9" * 5000 + b"}", None),
    ],
)
def test_file_that_is_no_coco_file(tmp_path: Path, content: bytes, message: str | None) -> None:
    file = tmp_path / "train.json"
    file.write_bytes(content)
    with pytest.raises(FinesegError) as caught:
        read_coco(file, tmp_path, "train")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert message is None or str(caught.value) == f"{file}: {message}"


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FinesegError) as caught:
        read_coco(tmp_path / "train.json", tmp_path, "train")
    assert str(caught.value) == f"{tmp_path / 'train.json'}: no such file"
    with pytest.raises(FinesegError, match="cannot be read"):
        read_coco(tmp_path, tmp_path, "train")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the path of every value in a document."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in steps for place in places(inner, (*path, key)))]


PLACES = [place for place in places(document()) if place]
STRANGE = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 2**70, 1e300, float("nan"), float("-inf"), "", "x\ny", "\0", "\ud800", [], {}, [[]], [[[]]]]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.one_of(st.integers(-9, 99), st.floats(), st.none()), max_size=9),
)


@seed(2)
@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(STRANGE, st.just(...))), min_size=1, max_size=3))
def test_any_mutation_reads_or_gives_one_line(mutations: list[tuple[tuple[Any, ...], Any]]) -> None:
    raw = copy.deepcopy(document())
    for path, value in mutations:
        try:
            (drop(*path) if value is ... else change(*path, to=copy.deepcopy(value)))(raw)
        except (KeyError, IndexError, TypeError):
            continue
    try:
        split = read(raw)
    except FinesegError as error:
        assert "\n" not in str(error)
        str(error).encode()
        return
    for image in split.images:  # what reads must also be usable
        for true_object in split.objects_of(image.id):
            rle = masks.to_rle(true_object.segmentation, image.height, image.width)
            if image.height * image.width < 10**6:
                assert masks.decode(rle["counts"], image.height, image.width).shape == (image.height, image.width)


def test_many_annotations_read_fast(tmp_path: Path) -> None:
    raw = document()
    raw["annotations"] = [{**raw["annotations"][i % 2], "id": i} for i in range(61_010)]
    file = tmp_path / "big.json"
    file.write_text(json.dumps(raw))
    start = time.process_time()
    split = read_coco(file, tmp_path, "train")
    assert sum(map(len, split.objects.values())) == 61_010
    assert time.process_time() - start < 6  # about 1.5 on one free core


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "images", "objects"), [("train", 489, 587), ("val", 122, 146)])
def test_furniture_reads_as_published(shared_data: Path, name: str, images: int, objects: int) -> None:
    folder = shared_data / "furniture"
    split = read_coco(folder / f"instances_{name}.json", folder / "images", name)
    assert (len(split.images), sum(map(len, split.objects.values()))) == (images, objects)
    assert [c.name for c in split.categories] == ["bed", "chair", "plant pot", "sofa", "swivelchair", "table"]
    assert all(image.file.is_file() for image in split.images)
