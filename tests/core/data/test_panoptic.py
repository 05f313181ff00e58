"""Panoptic maps: their PNG, their masks, and splits whose things serve instance models as they are."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import categories, change, write_maps
from PIL import Image

from fineseg import FinesegError, PanopticFile, PanopticMap, Segment, Split
from fineseg.data import masks
from fineseg.data.checks import check_data
from fineseg.data.coco import read_coco
from fineseg.data.panoptic import LARGEST_ID, decode_ids, encode_ids, load_map, present_ids, semantic_labels
from fineseg.data.panoptic_json import read_panoptic, segment_masks
from fineseg.metrics.mask_ap import mask_ap, truth_as_prediction

CLASSES = {3: False, 7: True, 1: False, 20: True}
LABELS = (7, 20, 1, 3)


def drawn_ids(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    names = np.concatenate([[0, 1, 255, 256, 65536, LARGEST_ID], rng.integers(1, LARGEST_ID, 3)])
    height, width = rng.integers(1, 9, 2)
    return np.kron(rng.choice(names, (height, width)), np.ones(rng.integers(1, 4, 2), int)).astype(np.int32)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_colours_are_ids(seed: int) -> None:
    ids = drawn_ids(seed)
    content = encode_ids(ids)
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        colours = np.asarray(picture).astype(np.int64)
    np.testing.assert_array_equal(colours @ [1, 256, 65536], ids)
    np.testing.assert_array_equal(decode_ids(content, "x"), ids)
    assert decode_ids(content, "x").dtype == np.int32
    assert present_ids(ids) == sorted(set(ids.ravel().tolist()))


def test_alpha_says_nothing() -> None:
    ids = drawn_ids(1)
    with Image.open(io.BytesIO(encode_ids(ids))) as picture:
        picture.putalpha(7)
        content = io.BytesIO()
        picture.save(content, "PNG")
    np.testing.assert_array_equal(decode_ids(content.getvalue(), "x"), ids)


@pytest.mark.parametrize("wrong", [-1, LARGEST_ID + 1])
def test_ids_that_no_colour_can_be(wrong: int) -> None:
    with pytest.raises(ValueError, match="a colour holds 0 to 16777215"):
        encode_ids(np.array([[wrong]]))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_masks_of_segments_equal_those_drawn_one_by_one(seed: int) -> None:
    ids = drawn_ids(seed)
    present = np.random.default_rng(seed).permutation(present_ids(ids)).tolist()
    found = segment_masks(ids, present)
    assert list(found) == present
    for number, rle in found.items():
        assert rle == {"size": list(ids.shape), "counts": masks.encode(ids == number)}


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_labels_of_pixels_equal_loops(seed: int) -> None:
    """Void, unlisted ids and unknown classes are 255; crowd is its class."""
    rng = np.random.default_rng(seed)
    ids = drawn_ids(seed)
    listed = [n for n in rng.permutation(present_ids(ids)).tolist() if n and rng.random() < 0.8] + [12345]
    segments = tuple(Segment(n, int(rng.integers(-1, 133)), crowd=bool(rng.random() < 0.3)) for n in listed)
    found = semantic_labels(PanopticMap(1, ids, segments))
    label_of = {s.id: s.label if s.label >= 0 else 255 for s in segments}
    expected = [[label_of.get(number, 255) for number in row] for row in ids.tolist()]
    assert found.dtype == np.uint8 and found.tolist() == expected


def test_labels_leave_room_for_what_is_not_known() -> None:
    ids = np.ones((1, 1), np.int32)
    assert semantic_labels(PanopticMap(1, ids, (Segment(1, 254),))).tolist() == [[254]]
    with pytest.raises(ValueError, match="label 256 does not fit"):
        semantic_labels(PanopticMap(1, ids, (Segment(1, 256),)))


# ---------------------------------------------------------------------- splits


def maps() -> list[PanopticMap]:
    first, second = np.zeros((6, 8), np.int32), np.full((4, 4), 300, np.int32)
    first[1:4, 2:5], first[4:, :], first[0, 7] = 70000, 5, 6
    second[:2] = 5
    return [
        PanopticMap(30, first, (Segment(5, 3), Segment(70000, 1), Segment(6, 0, 2.0, crowd=True))),
        PanopticMap(4, second, (Segment(5, 1), Segment(300, 1))),
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = write_maps(tmp_path, "truth", maps(), LABELS)
    images = [
        {"id": m.image_id, "file_name": f"{m.image_id}.jpg", "height": m.ids.shape[0], "width": m.ids.shape[1]}
        for m in maps()
    ]
    change(path, images=images, categories=categories(CLASSES))
    return path


def read(file: Path, **options: Any) -> Split:
    return read_panoptic(file, file.with_suffix(""), file.parent / "images", "train", **options)


def test_things_are_objects_and_come_first(file: Path) -> None:
    split = read(file)
    assert [c.id for c in split.categories] == [7, 20] and [c.id for c in split.stuff] == [1, 3]
    assert [c.id for c in split.panoptic_categories] == list(LABELS)
    assert split.images[0].file == file.parent / "images" / "30.jpg"
    thing, crowd = split.objects_of(30)
    assert (thing.label, thing.box, thing.area, thing.crowd) == (1, (2, 1, 5, 4), 9, False)
    assert (crowd.label, crowd.box, crowd.area, crowd.crowd) == (0, (7, 0, 8, 1), 2, True)
    assert thing.segmentation == {"size": [6, 8], "counts": masks.encode(maps()[0].ids == 70000)}
    assert [o.id for image in split.images for o in split.objects_of(image.id)] == [1, 2, 3, 4]
    assert [f.what for f in check_data({"train": split}) if "no such file" not in f.what] == [
        "its mask has only 1 pixel"
    ]


def test_maps_stay_in_their_files(file: Path) -> None:
    split = read(file)
    assert split.panoptic[30].file == file.with_suffix("") / "000030.png"
    assert [s.label for s in split.panoptic[30].segments] == [3, 1, 0]
    loaded = load_map(split.panoptic[30], split.images[0])
    np.testing.assert_array_equal(loaded.ids, maps()[0].ids)
    assert loaded.segments == split.panoptic[30].segments and loaded.image_id == 30
    part = split.select([4], "part")
    assert list(part.panoptic) == list(part.objects) == [4] and part.stuff == split.stuff


def test_classes_of_a_test_split_come_from_another_file(file: Path, tmp_path: Path) -> None:
    """COCO's list of test images does not say which classes are things."""
    document = json.loads(file.read_text())
    bare = [{"id": c["id"], "name": c["name"]} for c in document["categories"]]
    test = tmp_path / "image_info_test.json"
    test.write_text(json.dumps({"images": document["images"], "categories": bare[:1]}))
    split = read(test, classes=file)
    assert (split.labelled, split.panoptic, split.objects) == (False, {}, {})
    assert [c.id for c in split.panoptic_categories] == list(LABELS)
    with pytest.raises(FinesegError) as caught:
        read(test)
    assert str(caught.value) == (
        f"{test}: categories do not say which are things (isthing); name a file of the data set whose do"
    )


def test_faults_name_file_image_and_segment(file: Path) -> None:
    document, png = json.loads(file.read_text()), file.with_suffix("") / "000030.png"
    rows, images = document["annotations"], document["images"]
    segments = rows[0]["segments_info"]
    wide = [{**images[0], "width": 9}, images[1]]
    unknown = [{**rows[0], "segments_info": [{**segments[0], "category_id": 99}]}, rows[1]]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"annotations": rows[1:]}, f"{file}: image 30 has no annotation (1 of 2 images have none)"),
        ({"images": images[1:]}, f"{file}: image_id 30 of an annotation is in no image; known ids 4"),
        ({"annotations": [*rows, rows[1]]}, f"{file}: annotations[2]: image 4 is annotated in annotations[1] already"),
        ({"images": wide}, f"{png}: image 30: the map has 8 x 6 pixels, the image 9 x 6"),
        (
            {"annotations": unknown},
            f"{file}: annotations[0]: image 30: segment 5: category_id 99 is in no category; known ids 1, 3, 7, 20",
        ),
        (
            {"annotations": [{**rows[0], "segments_info": segments[1:]}, rows[1]]},
            f"{png}: image 30: segment 5 is in the map but not listed",
        ),
        (
            {"annotations": [{**rows[0], "segments_info": [*segments, {**segments[0], "id": 8}]}, rows[1]]},
            f"{png}: image 30: segment 8 is listed but has no pixel in the map",
        ),
        (
            {"annotations": [{**rows[0], "segments_info": [*segments, segments[0]]}, rows[1]]},
            f"{file}: annotations[0]: image 30: segment 5 is listed twice; ids must differ",
        ),
    ]
    for changed, line in cases:
        file.write_text(json.dumps({**document, **changed}))
        with pytest.raises(FinesegError) as caught:
            read(file)
        assert str(caught.value).startswith(line)
    file.write_text(json.dumps(document))
    png.unlink()
    with pytest.raises(FinesegError) as caught:
        read(file)
    assert str(caught.value) == f"{png}: no such file"


def test_labelled_demands_annotations(file: Path) -> None:
    document = json.loads(file.read_text())
    file.write_text(json.dumps({key: document[key] for key in ("images", "categories")}))
    assert not read(file).labelled
    with pytest.raises(FinesegError, match="annotations is missing"):
        read(file, labelled=True)


@pytest.mark.realdata
def test_cocos_things_are_those_of_its_instances(shared_data: Path) -> None:
    """Published counts; every true area and box; classes numbered alike; masks near the same objects' polygons."""
    folder = shared_data / "coco_panoptic_train100"
    split = read_panoptic(
        folder / "panoptic_train100.json", folder / "panoptic_train100", folder / "images", "train100"
    )
    objects = [each for image in split.images for each in split.objects_of(image.id)]
    assert (len(split.images), len(split.categories), len(split.stuff)) == (100, 80, 53)
    assert (len(objects), sum(o.crowd for o in objects)) == (746, 6)
    assert sum(len(p.segments) for p in split.panoptic.values()) == 1111
    boxes = {
        (a["image_id"], s["id"]): (s["bbox"], s["area"])
        for a in json.loads((folder / "panoptic_train100.json").read_text())["annotations"]
        for s in a["segments_info"]
    }
    for image in split.images:
        things = [s for s in split.panoptic[image.id].segments if s.label < 80]
        for segment, each in zip(things, split.objects_of(image.id), strict=True):
            (x, y, width, height), area = boxes[image.id, segment.id]
            assert each.box == (x, y, x + width, y + height) and each.area == area
            assert not isinstance(each.segmentation, list)
            assert masks.areas([each.segmentation["counts"]], image.height, image.width) == [area]
    assert [f for f in check_data({"train100": split}) if f.severity == "error"] == []
    assert mask_ap(split, truth_as_prediction(split), max_detections=(1000,)).summary["AP"] == pytest.approx(100)
    instances = read_coco(folder / "instances_train100.json", folder / "images", "train100")
    assert [(c.id, c.name) for c in instances.categories] == [(c.id, c.name) for c in split.categories]
    near = 0
    for image in split.images:
        mine, theirs = (s.objects_of(image.id) for s in (split, instances))
        coded = [[masks.to_rle(o.segmentation, image.height, image.width)["counts"] for o in s] for s in (mine, theirs)]
        ious = masks.ious(*coded, image.height, image.width) if mine and theirs else np.zeros((len(mine), 1))
        same = [[a.label == b.label for b in theirs] or [False] for a in mine]
        near += int((np.where(same, ious, 0).max(axis=1) > 0.7).sum()) if mine else 0
    assert near > 0.9 * len(objects)


def test_a_map_is_read_only_when_it_fits(tmp_path: Path, file: Path) -> None:
    split = read(file)
    image = replace(split.images[0], width=99)
    with pytest.raises(FinesegError, match="the map has 8 x 6 pixels, the image 99 x 6"):
        load_map(split.panoptic[30], image)
    with pytest.raises(FinesegError, match="no such file"):
        load_map(PanopticFile(tmp_path / "none.png", ()), image)
