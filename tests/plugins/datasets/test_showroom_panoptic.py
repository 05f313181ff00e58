"""Data set `showroom-panoptic`: the same pictures as `showroom`, every pixel's class, COCO's own classes and layout."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fineseg.data.checks import check_data
from fineseg.data.panoptic import load_map
from fineseg.metrics.panoptic_quality import count_image, panoptic_result
from fineseg_datasets.coco_panoptic import read as read_coco_panoptic
from fineseg_datasets.options import CocoPanopticOptions, ShowroomOptions
from fineseg_datasets.showroom import CLASSES, STUFF, Room, render_room
from fineseg_datasets.showroom.generate import room_seed
from fineseg_datasets.showroom.panoptic import (
    CABINET,
    CHAIR,
    CLASS_OF_FURNITURE,
    CLASS_OF_STUFF,
    COCO_CLASSES,
    WALL,
    panoptic_map,
)
from fineseg_datasets.showroom_dataset import SPLITS, generate, generate_panoptic, read_panoptic_rooms

SIDE = 96
OPTIONS = ShowroomOptions(train=12, val=4, test=2, size=SIDE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("showroom-panoptic")
    for split in SPLITS:
        generate_panoptic(OPTIONS, folder, split, lambda done, total: None)
    return folder


def test_splits_are_sound(root: Path) -> None:
    splits = {name: read_panoptic_rooms(OPTIONS, root, name) for name in SPLITS}
    assert [len(split.images) for split in splits.values()] == [12, 4, 2]
    for split in splits.values():
        assert [c.name for c in split.categories] == ["chair", "couch", "bed", "dining table"]
        assert [c.id for c in split.stuff] == [130, 156, 181, 186, 188, 190, 199, 200]
        assert split.labelled and len(split.panoptic) == len(split.images)
    assert [f for f in check_data(splits) if f.severity == "error"] == []


def test_maps_show_what_stands_at_every_pixel(root: Path) -> None:
    """Pixel by pixel from the room; every thing is one segment, all of a class of stuff another."""
    split = read_panoptic_rooms(OPTIONS, root, "train")
    furniture = [CLASS_OF_FURNITURE[name].id for name in CLASSES]
    stuff = [CLASS_OF_STUFF[name].id for name in STUFF]
    void = 0
    for number, image in enumerate(split.images, 1):
        room = render_room(room_seed(OPTIONS.seed, "train", number), (SIDE, SIDE))
        found = load_map(split.panoptic[image.id], image)
        segments = {s.id: split.panoptic_categories[s.label].id for s in found.segments}
        for y in range(SIDE):
            for x in range(SIDE):
                piece, surface = room.instances[y, x], room.stuff[y, x]
                expected = furniture[room.labels[piece - 1]] if piece else stuff[surface] if surface != 255 else None
                assert segments.get(int(found.ids[y, x])) == expected
                void += expected is None
        things = [index for index, label in enumerate(room.labels) if CLASS_OF_FURNITURE[CLASSES[label]].isthing]
        assert len(split.objects_of(image.id)) == len(things)
        for index in things:
            assert len(np.unique(found.ids[room.instances == index + 1])) == 1
        of_stuff = [c for c in segments.values() if c in {s.id for s in split.stuff}]
        assert len(of_stuff) == len(set(of_stuff))
        result = panoptic_result(count_image(found, replace(found), 12), 4)
        assert result.groups["All"].pq == 100.0
    assert void < 0.005 * len(split.images) * SIDE * SIDE


def test_a_room_by_hand() -> None:
    """Two chairs, a nightstand and a wardrobe, a wall, and a sliver of what nobody knows."""
    names = ["Dining Chair", "armchair", "Nightstand", "Wardrobe"]
    instances = np.array([[1, 1, 0, 2, 0], [3, 4, 0, 2, 0]], np.int32)
    stuff = np.array([[255, 255, 0, 255, 255], [255, 255, 0, 255, 0]], np.uint8)
    labels = np.array([CLASSES.index(name) for name in names])
    ids, rows = panoptic_map(Room(np.zeros((2, 5, 3), np.uint8), instances, labels, stuff))
    chair, cabinet, wall = CHAIR.first_id, CABINET.first_id, WALL.first_id
    expected = [[chair + 1, chair + 1, wall, chair + 2, 0], [cabinet, cabinet, wall, chair + 2, wall]]
    np.testing.assert_array_equal(ids, expected)
    assert rows == [
        {"id": chair + 1, "category_id": 62, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
        {"id": chair + 2, "category_id": 62, "area": 2, "bbox": [3, 0, 1, 2], "iscrowd": 0},
        {"id": wall, "category_id": 199, "area": 3, "bbox": [2, 0, 3, 2], "iscrowd": 0},
        {"id": cabinet, "category_id": 188, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 0},
    ]


def test_pictures_are_those_of_the_instance_form(root: Path, tmp_path: Path) -> None:
    generate(OPTIONS, tmp_path, "val", lambda done, total: None)
    pictures = sorted((tmp_path / "images" / "val").iterdir())
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.read_bytes() == (root / "images" / "val" / picture.name).read_bytes()


def test_files_are_in_cocos_layout_and_always_the_same(root: Path, tmp_path: Path) -> None:
    split = read_coco_panoptic(CocoPanopticOptions(images="images"), root, "val")
    assert split == read_panoptic_rooms(OPTIONS, root, "val")
    document = json.loads((root / "annotations" / "panoptic_val.json").read_text())
    row = document["annotations"][0]["segments_info"][0]
    assert set(row) == {"id", "category_id", "area", "bbox", "iscrowd"}
    generate_panoptic(OPTIONS, tmp_path, "val", lambda done, total: None)
    for file in (tmp_path / "annotations").rglob("*.*"):
        assert file.read_bytes() == (root / "annotations" / file.relative_to(tmp_path / "annotations")).read_bytes()


def test_ids_of_things_reach_no_other_class() -> None:
    firsts = sorted(each.first_id for each in COCO_CLASSES)
    assert min(b - a for a, b in itertools.pairwise(firsts)) > 100
    assert firsts[-1] + 100 < 2**24


def test_every_class_is_drawn() -> None:
    seen = set()
    for seed in range(40):
        _, rows = panoptic_map(render_room(seed, (SIDE, SIDE)))
        seen |= {row["category_id"] for row in rows}
    assert seen == {each.id for each in COCO_CLASSES}


@pytest.mark.realdata
def test_classes_are_cocos(shared_data: Path) -> None:
    listed = json.loads((shared_data / "panopticapi_sample" / "panoptic_coco_categories.json").read_text())
    theirs = {c["id"]: c for c in listed}
    for each in COCO_CLASSES:
        mine = json.loads(json.dumps(vars(each)))
        assert mine == theirs[each.id]
