"""Every fault planted once in a small data set of real files."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fineseg import Category, FinesegError, ImageInfo, Split, TrueObject
from fineseg.data import checks, masks
from fineseg.data.checks import check_data, hash_files, image_listing, known_hashes, remember
from fineseg.data.findings import Finding
from fineseg.data.split import RLE

SIZE = (48, 64)


def true_object(number: int, rows: slice = slice(10, 30), box: tuple[float, ...] = (5, 10, 25, 30)) -> TrueObject:
    mask = np.zeros(SIZE, bool)
    mask[rows, 5:25] = True
    return TrueObject(number, 0, box, RLE(size=[*SIZE], counts=masks.encode(mask)), float(mask.sum()))  # type: ignore[arg-type]


def make_split(folder: Path, name: str, count: int = 3) -> Split:
    folder.mkdir(exist_ok=True)
    images = []
    for number in range(1, count + 1):
        file = folder / f"{name}{number}.jpg"
        noise = np.random.default_rng([number, *name.encode()]).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(file), noise)
        images.append(ImageInfo(number, file, SIZE[1], SIZE[0]))
    objects = {image.id: (true_object(image.id),) for image in images}
    return Split(name, (Category(1, "bed"),), tuple(images), objects)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return make_split(tmp_path / "data", "train")


def with_object(split: Split, planted: TrueObject) -> Split:
    return replace(split, objects={**split.objects, 2: (planted,)})


def texts(findings: list[Finding]) -> list[str]:
    return [f"{f.severity}: {f.where}: {f.what}" for f in findings]


def test_sound_data_has_no_findings_and_reports_progress(split: Split, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    splits = {"train": split, "val": make_split(tmp_path / "data", "val", 2)}
    assert check_data(splits, lambda done, total: seen.append((done, total))) == []
    assert seen == [(n, 5) for n in range(1, 6)]
    assert check_data({}) == []


def test_missing_and_damaged_files(split: Split) -> None:
    first, second, third = (image.file for image in split.images)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-400])
    third.write_text("no picture")
    found = texts(check_data({"train": split}))
    assert found[0] == f"error: train: image 1 (train1.jpg): {first}: no such file"
    assert found[1].startswith(f"error: train: image 2 (train2.jpg): {second}: is no readable image (")
    assert found[2].startswith(f"error: train: image 3 (train3.jpg): {third}: is no readable image (")
    assert len(found) == 3


def test_size_that_differs_and_a_turned_photograph(split: Split) -> None:
    images = (replace(split.images[0], width=65), *split.images[1:])
    file = split.images[1].file
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(file) as image:
        image.copy().save(file, exif=exif)
    assert cv2.imread(str(file)).shape[:2] == SIZE[::-1]  # what training would see
    objects = {2: split.objects[2]}
    assert texts(check_data({"train": replace(split, images=images, objects=objects)})) == [
        "error: train: image 1 (train1.jpg): the annotations say 65 x 48 pixels, the file has 64 x 48",
        "error: train: image 2 (train2.jpg): the annotations say 64 x 48 pixels, the file has 48 x 64"
        " after its EXIF orientation is followed",
    ]


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        (true_object(2, slice(0, 0)), "error: {}: its mask is empty"),
        (replace(true_object(2), segmentation=[[1, 1, 3, 1, 3, 2, 1, 2]]), "warning: {}: its mask has only 2 pixels"),
        (
            true_object(2, box=(60, 10, 70.5, 30)),
            "warning: {}: its box [60, 10, 70.5, 30] leaves the image of 64 x 48 by 6.5 pixels",
        ),
        (
            true_object(2, box=(70, 10, 80, 30)),
            "error: {}: its box [70, 10, 80, 30] lies outside the image of 64 x 48",
        ),
        (true_object(2, box=(9, 1, 5, 30)), "error: {}: its box [9, 1, 5, 30] is none (x1, y1, x2, y2)"),
        (replace(true_object(2), label=1), "error: {}: label 1 is no class; there are 1"),
        (
            replace(true_object(2), segmentation=RLE(size=[48, 64], counts=b"`0")),
            "error: {}: its mask is no RLE: the runs of counts cover 16 pixels; the image has 3072",
        ),
        (
            replace(true_object(2), segmentation=RLE(size=[64, 48], counts=b"`0")),
            "error: {}: its mask is of size [64, 48], not [48, 64]",
        ),
    ],
)
def test_objects(split: Split, planted: TrueObject, finding: str) -> None:
    found = texts(check_data({"train": with_object(split, planted)}))
    assert found == [finding.format("train: image 2 (train2.jpg): object 2")]


def test_box_may_touch_the_border(split: Split) -> None:
    mask = np.ones(SIZE, bool)
    whole = TrueObject(2, 0, (-0.5, 0, 64.5, 48), RLE(size=[*SIZE], counts=masks.encode(mask)), float(mask.sum()))
    assert check_data({"train": with_object(split, whole)}) == []


def filled(rows: int, columns: int, box: tuple[float, ...], area: float) -> TrueObject:
    """Return an object whose mask begins at (0, 0)."""
    mask = np.zeros(SIZE, bool)
    mask[:rows, :columns] = True
    return TrueObject(2, 0, box, RLE(size=[*SIZE], counts=masks.encode(mask)), area)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        (filled(20, 20, (0, 0, 22.9, 20), 400), None),  # 3 pixels are rounding
        (filled(20, 20, (0, 0, 23.5, 20), 400), "box-off: its box [0, 0, 23.5, 20] does not fit its mask, which fills"),
        (filled(20, 20, (4, 0, 20, 20), 400), "box-off: its box [4, 0, 20, 20] does not fit its mask, which fills"),
        (filled(20, 60, (0, 0, 65, 20), 1200), None),  # within a tenth of the side
        (filled(20, 20, (0, 0, 20, 20), 599), None),
        (filled(20, 20, (0, 0, 20, 20), 601), "area-off: its area is given as 601; its mask has 400 pixels"),
        (filled(20, 20, (0, 0, 20, 20), 0), "area-off: its area is given as 0; its mask has 400 pixels"),
        (filled(4, 4, (0, 0, 4, 4), 30), None),  # so few pixels are no measure
        (filled(48, 64, (0, 0, 64, 48), 3073), "area-off: its area is given as 3073; the image has 3072 pixels"),
        (
            filled(48, 64, (-4, 0, 64, 48), 3072),
            "box-beyond: its box [-4, 0, 64, 48] is larger than the image of 64 x 48 by 4 pixels",
        ),
    ],
)
def test_boxes_and_areas_against_masks(split: Split, planted: TrueObject, finding: str | None) -> None:
    found = [f"{each.kind}: {each.what}" for each in check_data({"train": with_object(split, planted)})]
    assert [text[: len(finding or "")] for text in found] == ([finding] if finding else [])


def test_groups_in_two_splits(split: Split, tmp_path: Path) -> None:
    def grouped(of: Split, *names: str) -> Split:
        images = tuple(replace(image, group=name) for image, name in zip(of.images, names, strict=True))
        return replace(of, images=images)

    val, test = (make_split(tmp_path / "data", name) for name in ("val", "test"))
    splits = {"train": grouped(split, "a", "a", ""), "val": grouped(val, "b", "", "c"), "test": grouped(test, *"def")}
    assert check_data(splits) == []
    splits["val"] = grouped(val, "a", "b", "a")
    splits["test"] = replace(grouped(test, "b", "d", "e"), labelled=False, objects={})
    assert texts(check_data(splits)) == [
        "error: val: image 1 (val1.jpg): group 'a' also lies in train: image 1 (train1.jpg)",
        "warning: test: image 1 (test1.jpg): group 'b' also lies in val: image 2 (val2.jpg)",
    ]


def test_the_same_picture_in_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    train, val = make_split(folder, "train"), make_split(folder, "val")
    for number in (1, 2, 3):
        smooth = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"train{number}.jpg"), cv2.resize(smooth, (640, 480), interpolation=cv2.INTER_CUBIC))
    first, second = (cv2.imread(str(folder / f"train{number}.jpg")) for number in (1, 2))
    cv2.imwrite(str(folder / "val2.jpg"), cv2.resize(first[:, ::-1], SIZE[::-1], interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "train3.jpg"), second, [cv2.IMWRITE_JPEG_QUALITY, 30])
    train = replace(train, images=tuple(replace(i, width=640, height=480) for i in train.images), objects={})
    found = texts(check_data({"train": train, "val": val}))
    assert [line[: line.index(" (likeness")] for line in found] == [
        "warning: train: image 3 (train3.jpg): looks the same as train: image 2 (train2.jpg)",
        "warning: val: image 2 (val2.jpg): looks like the mirror image of train: image 1 (train1.jpg)",
    ]


def test_a_photograph_is_compared_as_it_is_to_be_seen(tmp_path: Path) -> None:
    """A turned file and an upright one are the same picture."""
    smooth = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    upright = Image.fromarray(cv2.resize(smooth, (64, 48), interpolation=cv2.INTER_CUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "a.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    images = tuple(ImageInfo(n, tmp_path / f"{name}.png", 64, 48) for n, name in enumerate("ab"))
    (found,) = check_data({"train": Split("train", (Category(1, "bed"),), images)})
    assert found.kind == "alike-in-split" and "looks the same" in found.what


def test_classes_without_objects(split: Split, tmp_path: Path) -> None:
    classes = tuple(Category(number, name) for number, name in enumerate(["bed", "sofa", "desk", "lamp"]))
    val, test = (make_split(tmp_path / "data", name) for name in ("val", "test"))

    def labelled(of: Split, *labels: int, crowd: bool = False) -> Split:
        objects = {n: (replace(true_object(n), label=label, crowd=crowd),) for n, label in enumerate(labels, 1)}
        return replace(of, objects=objects, categories=classes)

    splits = {
        "train": labelled(split, 0, 0, 2),
        "val": labelled(val, 0, 1, 1),
        "test": replace(labelled(test), labelled=False),
    }
    assert texts(check_data(splits, trained="train")) == [
        "warning: train: class 'sofa' has no object here, and 2 in val",
        "warning: val: class 'desk' has no object here and gets no score (1 in train)",
        "warning: train: class 'lamp' has no object here, and none in any split",
    ]
    crowds = {"train": labelled(split, 0, 1, 2, crowd=True)}
    assert len(check_data(crowds, trained="train")) == 4
    assert check_data(splits) == check_data({"train": replace(splits["test"], name="train")}, trained="train") == []


def test_repeated_ids_and_strays(split: Split) -> None:
    images = (*split.images, split.images[0])
    objects = {**split.objects, 2: (true_object(3),), 9: (true_object(9),)}
    assert texts(check_data({"train": replace(split, images=images, objects=objects)})) == [
        "error: train: image id 1 occurs more than once",
        f"warning: train: {split.images[0].file} is listed as more than one image",
        "error: train: object id 3 occurs more than once",
        "error: train: objects belong to image 9, which is not in the split",
        "warning: train: image 1 (train1.jpg): is the same file as train: image 1 (train1.jpg)",
    ]


def test_same_picture_in_two_splits_and_other_classes(split: Split, tmp_path: Path) -> None:
    val = make_split(tmp_path / "data", "val")
    val.images[1].file.write_bytes(split.images[2].file.read_bytes())
    val = replace(val, categories=(Category(1, "sofa"),))
    assert texts(check_data({"train": split, "val": val})) == [
        "error: val: its classes differ from those of train: id 1 is 'sofa', there 'bed'",
        "error: val: image 2 (val2.jpg): is the same file as train: image 3 (train3.jpg)",
    ]


def test_how_classes_differ() -> None:
    def with_classes(*classes: tuple[int, str]) -> Split:
        return Split("x", tuple(Category(*each) for each in classes), ())

    first = with_classes((1, "bed"), (2, "sofa"), (3, "desk"))
    assert texts(check_data({"a": first, "b": with_classes((1, "sofa"), (2, "bed"), (3, "desk"))})) == [
        "error: b: its classes differ from those of a: id 1 is 'sofa', there 'bed'; id 2 is 'bed', there 'sofa'"
    ]
    many = with_classes((2, "sofa"), (4, "lamp"), (5, "rug"), (6, "rug"))
    assert texts(check_data({"a": first, "b": many})) == [
        "warning: b: 2 classes are called 'rug'",
        "error: b: its classes differ from those of a: it lacks 'bed' (id 1); it lacks 'desk' (id 3); "
        "it adds 'lamp' (id 4); and 2 more",
    ]


def test_known_hashes_are_those_of_unchanged_files(split: Split, tmp_path: Path) -> None:
    files, cache = [image.file for image in split.images], tmp_path / "hashes.json"
    assert known_hashes(files, cache) == {}
    remember({files[0]: "aa", files[1]: "bb", files[2]: "", tmp_path / "gone.jpg": "cc"}, cache)
    assert known_hashes(files, cache) == {str(files[0]): "aa", str(files[1]): "bb"}
    os.utime(files[1], ns=(1, 1))
    assert known_hashes([*files, tmp_path / "gone.jpg"], cache) == {str(files[0]): "aa"}
    assert hash_files(files[:1], cache) == {str(files[0]): "aa"}


def test_listing_is_sorted_plain_data(split: Split, tmp_path: Path) -> None:
    listing = image_listing(replace(split, images=split.images[::-1]), tmp_path / "hashes.json")
    assert [row[:2] for row in listing] == [[1, "train1.jpg"], [2, "train2.jpg"], [3, "train3.jpg"]]
    assert listing[0][2] == split.images[0].file.stat().st_size
    assert len(listing[0][3]) == 64
    assert json.loads(json.dumps(listing)) == listing


def test_unchanged_files_are_not_read_again(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, cache = [image.file for image in split.images], tmp_path / "cache" / "hashes.json"
    seen: list[tuple[int, int]] = []
    before = hash_files(files, cache, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    files[1].write_bytes(files[1].read_bytes()[::-1])
    os.utime(files[1], ns=(1, 1))
    read: list[Path] = []
    digest = checks.hashlib.file_digest
    monkeypatch.setattr(checks.hashlib, "file_digest", lambda f, kind: read.append(Path(f.name)) or digest(f, kind))
    after = hash_files(files, cache)
    assert read == [files[1]]
    assert [before[str(f)] == after[str(f)] for f in files] == [True, False, True]


@pytest.mark.parametrize("content", ["", "[1, 2", "[]", '{"x": 5}'])
def test_damaged_cache_only_costs_reading(split: Split, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "hashes.json"
    cache.write_text(content)
    assert len(hash_files([image.file for image in split.images], cache)) == 3
    assert len(json.loads(cache.read_text())) == 3


def test_hashing_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FinesegError) as caught:
        hash_files([tmp_path / "a.jpg"], tmp_path / "hashes.json")
    assert str(caught.value) == f"{tmp_path / 'a.jpg'}: no such file"
