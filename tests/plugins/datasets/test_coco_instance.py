"""Data set `coco-instance`: where files lie, which classes are kept, and what is said when they are not there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fineseg import FinesegError
from fineseg_datasets.coco_instance import read
from fineseg_datasets.options import CocoInstanceOptions
from fineseg_datasets.plugin import fineseg_datasets, fineseg_submissions

SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]


def write_file(path: Path, count: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 8, "height": 8} for i in range(count)]
    annotations = [
        {"id": number, "image_id": 0, "category_id": category, "segmentation": SQUARE}
        for number, category in enumerate((9, 3, 5, 9))
    ]
    categories = [{"id": i, "name": name} for i, name in ((9, "sofa"), (3, "bed"), (5, "chair"))]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def options(**values: Any) -> CocoInstanceOptions:
    return CocoInstanceOptions.model_validate(values)


def test_defaults_are_cocos_own_layout(tmp_path: Path) -> None:
    write_file(tmp_path / "annotations" / "instances_train2017.json")
    split = read(options(), tmp_path, "train2017")
    assert split.name == "train2017"
    assert split.images[0].file == tmp_path / "train2017" / "0.jpg"
    assert [o.label for o in split.objects_of(0)] == [2, 0, 1, 2]


def test_tables_of_splits(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "first.json")
    chosen = options(annotations={"train": "a/first.json"}, images={"train": "pictures"})
    assert read(chosen, tmp_path, "train").images[0].file == tmp_path / "pictures" / "0.jpg"
    with pytest.raises(FinesegError) as caught:
        read(chosen, tmp_path, "val")
    assert str(caught.value) == "annotations says nothing of split 'val'; it has train"


def test_kept_classes_are_numbered_anew_by_id(tmp_path: Path) -> None:
    write_file(tmp_path / "instances_train.json", count=2)
    chosen = options(annotations="instances_{split}.json", images="images", classes=["sofa", "bed"])
    split = read(chosen, tmp_path, "train")
    assert [(c.id, c.name) for c in split.categories] == [(3, "bed"), (9, "sofa")]
    assert [(o.id, o.label) for o in split.objects_of(0)] == [(0, 1), (1, 0), (3, 1)]
    assert len(split.images) == 2


def test_unknown_class(tmp_path: Path) -> None:
    write_file(tmp_path / "instances_train.json")
    with pytest.raises(FinesegError) as caught:
        read(options(annotations="instances_{split}.json", classes=["couch"]), tmp_path, "train")
    expected = f"{tmp_path / 'instances_train.json'}: has no class 'couch'; its classes: bed, chair, sofa"
    assert str(caught.value) == expected


def test_missing_file_names_the_splits_at_hand(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_file(tmp_path / f"instances_{name}.json")
    for pattern, at_hand in (("instances_{split}.json", "train, val"), ("{split}/{split}.json", "none")):
        with pytest.raises(FinesegError) as caught:
            read(options(annotations=pattern), tmp_path, "test")
        file = tmp_path / pattern.replace("{split}", "test")
        assert str(caught.value) == f"{file}: no such file; splits at hand: {at_hand}"


@pytest.mark.parametrize("pattern", ["", "{name}.json", "a{split}}.json", "{}"])
def test_pattern_with_another_placeholder_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"only \{split\} stands for something"):
        options(images=pattern)


def test_plugin_offers_its_parts_without_importing_anything_heavy() -> None:
    assert [part.name for part in fineseg_datasets()] == [
        "coco-instance", "coco-panoptic", "3dfuture", "showroom", "showroom-panoptic"
    ]  # fmt: skip
    assert [part.name for part in fineseg_submissions()] == ["3dfuture", "coco-json", "coco-panoptic"]
    heavy = "{'torch', 'cv2', 'pycocotools', 'mmdet', 'ray', 'PIL'}"
    program = f"import sys, fineseg_datasets.plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "images", "objects"), [("train", 489, 587), ("val", 122, 146)])
def test_furniture(shared_data: Path, name: str, images: int, objects: int) -> None:
    chosen = options(annotations="instances_{split}.json", images="images")
    split = read(chosen, shared_data / "furniture", name)
    assert (len(split.images), sum(map(len, split.objects.values()))) == (images, objects)
    assert [c.name for c in split.categories] == ["bed", "chair", "plant pot", "sofa", "swivelchair", "table"]
    assert all(image.file.is_file() for image in split.images)


@pytest.mark.realdata
def test_furniture_stands_up_to_the_checks(shared_data: Path) -> None:
    from fineseg.data.checks import check_data

    chosen = options(annotations="instances_{split}.json", images="images")
    splits = {name: read(chosen, shared_data / "furniture", name) for name in ("train", "val")}
    assert [finding for finding in check_data(splits) if finding.severity == "error"] == []


def grouped_file(path: Path, rows: list[dict[str, Any]], *, labelled: bool = True) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 8, "height": 8, **row} for i, row in enumerate(rows)]
    document: dict[str, Any] = {"images": images, "categories": [{"id": 1, "name": "bed"}]}
    path.write_text(json.dumps({**document, "annotations": []} if labelled else document))


def test_a_field_of_the_images_rows_names_their_group(tmp_path: Path) -> None:
    grouped_file(tmp_path / "train.json", [{"scene": "a"}, {"scene": 7}, {"scene": " a "}])
    chosen = {"annotations": "{split}.json", "images": "."}
    assert [image.group for image in read(options(**chosen, group="scene"), tmp_path, "train").images] == [
        "a",
        "7",
        "a",
    ]
    assert [image.group for image in read(options(**chosen), tmp_path, "train").images] == ["", "", ""]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, "scene is missing"),
        ({"scene": ""}, "scene is empty; it must name the group that the image belongs to"),
        ({"scene": None}, "scene is null; it must be a text"),
        ({"scene": True}, "scene is True; it must be a text"),
    ],
)
def test_an_image_of_a_labelled_split_without_its_group_is_an_error(
    tmp_path: Path, row: dict[str, Any], fault: str
) -> None:
    grouped_file(tmp_path / "train.json", [{"scene": "a"}, row])
    with pytest.raises(FinesegError) as caught:
        read(options(annotations="{split}.json", images=".", group="scene"), tmp_path, "train")
    assert str(caught.value) == f"{tmp_path / 'train.json'}: images[1]: {fault}"


def test_images_to_predict_may_lack_their_group(tmp_path: Path) -> None:
    grouped_file(tmp_path / "test.json", [{"scene": "a"}, {}], labelled=False)
    split = read(options(annotations="{split}.json", images=".", group="scene"), tmp_path, "test")
    assert [image.group for image in split.images] == ["a", ""]
