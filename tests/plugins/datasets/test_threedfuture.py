"""Data set `3dfuture`: every way in which its files differ from COCO's, on a fixture of the same form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from fineseg import FinesegError, ImageInfo, Split
from fineseg.data import masks
from fineseg.data.checks import check_data
from fineseg_datasets.options import ThreeDFutureOptions
from fineseg_datasets.showroom import CLASSES
from fineseg_datasets.threedfuture import held_out_ids, read
from fineseg_datasets.threedfuture_classes import CATEGORIES, LATER_NAMES
from fineseg_datasets.threedfuture_fixture import write_fixture

FINE = "fine-grained category name"
OPTIONS = ThreeDFutureOptions()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("3dfuture")
    write_fixture(folder, {"train": 9, "val": 2, "test": 3}, size=(48, 64), seed=5)
    return folder


def load(root: Path, split: str) -> Any:
    return json.loads((root / "annotations" / f"{split}_set.json").read_text())


def damaged(root: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    raw = load(root, "train")
    change(raw)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "train_set.json").write_text(json.dumps(raw))
    return folder


def test_fixture_has_the_form_of_the_challenge(root: Path) -> None:
    raw = load(root, "train")
    assert set(raw["categories"][0]) == {"id", "category_name", FINE}
    assert [c["id"] for c in raw["categories"]] == list(range(1, 35))
    assert [(i["id"], i["file_name"]) for i in raw["images"]][:2] == [(1, "0000000"), (2, "0000001")]
    assert {type(a["segmentation"]) for a in raw["annotations"]} == {dict, list}
    assert {a["style"] is None for a in raw["annotations"]} == {True, False}
    assert not any("iscrowd" in a for a in raw["annotations"])
    assert set(load(root, "test")) == {"images"}


def test_fixture_is_the_same_every_time(root: Path, tmp_path: Path) -> None:
    write_fixture(tmp_path, {"train": 9, "val": 2, "test": 3}, size=(48, 64), seed=5)
    files = sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file())
    assert len(files) == 9 + 2 + 3 + 3
    assert all((root / f).read_bytes() == (tmp_path / f).read_bytes() for f in files)


def test_classes_are_those_of_2020() -> None:
    assert [c.id for c in CATEGORIES] == list(range(1, 35))
    sizes = {
        group: sum(c.supercategory == group for c in CATEGORIES) for group in {c.supercategory for c in CATEGORIES}
    }
    assert sizes == {
        "Cabinet/Shelf/Desk": 12, "Bed": 5, "Chair": 5, "Table": 3, "Sofa": 6, "Pier/Stool": 1, "Lighting": 2,
    }  # fmt: skip
    assert CATEGORIES[18].name == "Lounge Chair / Book-chair / Computer Chair" and CATEGORIES[32].name == "Pendant Lamp"
    assert set(CLASSES) <= {c.name for c in CATEGORIES}


def test_training_split_against_pycocotools(root: Path) -> None:
    split = read(OPTIONS, root, "train")
    oracle = COCO(str(root / "annotations" / "train_set.json"))
    assert split.labelled and split.categories == CATEGORIES and len(split.images) == 9
    assert all(image.file.is_file() and image.file.suffix == ".jpg" for image in split.images)
    for image in split.images:
        truth = oracle.loadAnns(oracle.getAnnIds(image.id))
        assert [o.id for o in split.objects_of(image.id)] == [a["id"] for a in truth]
        for true_object, annotation in zip(split.objects_of(image.id), truth, strict=True):
            rle = masks.to_rle(true_object.segmentation, image.height, image.width)
            mask = masks.decode(rle["counts"], image.height, image.width)
            assert np.array_equal(mask, oracle.annToMask(annotation).astype(bool))
            assert true_object.area == mask.sum() and not true_object.crowd
            assert CATEGORIES[true_object.label].id == annotation["category_id"]
    assert [f for f in check_data({"train": split}) if f.severity == "error"] == []


def test_splits_without_annotations_still_have_the_classes(root: Path) -> None:
    for name, count in (("val", 2), ("test", 3)):
        split = read(OPTIONS, root, name)
        assert (split.labelled, len(split.images), split.categories) == (False, count, CATEGORIES)
        assert split.images[0].file == root / "images" / name / "0000000.jpg"


def rename(raw: Any) -> None:
    for category in raw["categories"]:
        category[FINE] = LATER_NAMES.get(category["id"], category[FINE]).upper()


@pytest.mark.parametrize(
    "change",
    [
        rename,
        lambda raw: raw["categories"].reverse(),
        lambda raw: raw.pop("categories"),
        lambda raw: [category.update({FINE: None}) for category in raw["categories"]],
        lambda raw: [category.update(name=category.pop(FINE)) for category in raw["categories"]],
        lambda raw: [image.update(file_name=image["file_name"] + ".jpg") for image in raw["images"]],
        lambda raw: [annotation.update(area=None, bbox=None, iscrowd=None) for annotation in raw["annotations"]],
    ],
)
def test_other_releases_read_the_same(root: Path, tmp_path: Path, change: Callable[[Any], object]) -> None:
    before, after = read(OPTIONS, root, "train"), read(OPTIONS, damaged(root, tmp_path, change), "train")
    assert after.categories == before.categories and after.objects == before.objects
    assert [i.file.name for i in after.images] == [i.file.name for i in before.images]


def test_layout_of_the_later_release(root: Path, tmp_path: Path) -> None:
    (tmp_path / "GT").mkdir()
    (tmp_path / "GT" / "train_set.json").write_text(json.dumps(load(root, "train")))
    options = ThreeDFutureOptions(annotations="GT/{split}_set.json", images="{split}/image")
    assert read(options, tmp_path, "val_new").images[0].file.parent == tmp_path / "train" / "image"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda raw: raw["categories"][4].update({FINE: "Car"}),
            "categories[4]: class 5 is named 'Car'; in 3D-FUTURE it is 'Tea Table' or 'Coffee Table'",
        ),
        (lambda raw: raw["categories"][0].update(id=0), "categories[0]: id is 0; it must be from 1 to 34"),
        (
            lambda raw: raw["annotations"][0].update(category_id=35),
            "annotations[0]: category_id 35 is in no category; known ids 1..34",
        ),
        (lambda raw: raw.pop("annotations"), "annotations is missing"),
        (lambda raw: raw.pop("images"), "images is missing"),
        (lambda raw: raw["images"][1].pop("file_name"), "images[1]: file_name is missing"),
        (lambda raw: raw.update(categories=3), "categories must be a list, not a number"),
    ],
)
def test_fault_is_one_line(root: Path, tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    folder = damaged(root, tmp_path, change)
    with pytest.raises(FinesegError) as caught:
        read(OPTIONS, folder, "train")
    assert str(caught.value) == f"{folder / 'annotations' / 'train_set.json'}: {message}"


def test_split_that_is_none(root: Path) -> None:
    with pytest.raises(FinesegError) as caught:
        read(OPTIONS, root, "dev")
    assert str(caught.value) == "3dfuture has no split 'dev'; its splits: train, val, test, train_new, val_new"


def test_own_validation_split_is_the_winners() -> None:
    """numpy's global legacy generator, as the winner's script used it, on as many images as the challenge had."""
    state = np.random.get_state()
    np.random.seed(0)
    order = np.arange(12_144)
    np.random.shuffle(order)
    np.random.set_state(state)
    images = tuple(ImageInfo(i, Path(f"{i - 1:07d}.jpg"), 1200, 1200) for i in range(1, 12_145))
    train_new, val_new = held_out_ids(Split("train", CATEGORIES, images))
    assert (len(train_new), len(val_new)) == (9144, 3000)
    assert train_new == (order[:9144] + 1).tolist()
    assert val_new == (order[9144:] + 1).tolist()


def test_virtual_splits_share_nothing_and_lose_nothing(root: Path) -> None:
    train, new, held_out = (read(OPTIONS, root, name) for name in ("train", "train_new", "val_new"))
    assert (new.name, held_out.name) == ("train_new", "val_new")
    assert (len(new.images), len(held_out.images)) == (7, 2)
    assert {i.id for i in new.images} ^ {i.id for i in held_out.images} == {i.id for i in train.images}
    assert all(part.objects_of(i.id) == train.objects_of(i.id) for part in (new, held_out) for i in part.images)
    for count, sizes in ((0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (100, (75, 25))):
        images = tuple(ImageInfo(i, Path("a.jpg"), 9, 9) for i in range(count))
        assert tuple(map(len, held_out_ids(Split("train", CATEGORIES, images)))) == sizes
