"""The showroom: exact labels, shapes rather than colours, repeatable files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from fineseg_datasets.showroom import CLASSES, STUFF, Room, render_room, write_split
from fineseg_datasets.showroom.rasterizer import look_at, rasterize

SIDE = 144
ROOMS = 320


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [render_room(seed, (SIDE, SIDE)) for seed in range(ROOMS)]


def _boxes(room: Room) -> list[tuple[int, int, int, int]]:
    """Return x, y, width, height of each visible mask."""
    return [cv2.boundingRect((room.instances == k + 1).astype(np.uint8)) for k in range(len(room.labels))]


def test_same_arguments_same_room() -> None:
    first, second = render_room(7, (64, 80)), render_room(7, (64, 80))
    for name in ("image", "instances", "labels", "stuff"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.image, render_room(8, (64, 80)).image)


def test_a_seed_sequence_is_left_as_it_was() -> None:
    sequence = np.random.SeedSequence(3)
    np.testing.assert_array_equal(render_room(sequence, (48, 48)).image, render_room(sequence, (48, 48)).image)


def test_things_and_stuff_partition_the_picture(rooms: list[Room]) -> None:
    for room in rooms:
        thing, void_or_thing = room.instances > 0, room.stuff == 255
        assert np.all(void_or_thing[thing])
        assert np.all(room.stuff[~void_or_thing] < len(STUFF))
        assert (void_or_thing & ~thing).mean() < 0.02
        assert set(np.unique(room.instances)) - {0} == set(range(1, len(room.labels) + 1))


def test_slivers_are_void_and_not_instances(rooms: list[Room]) -> None:
    areas = np.concatenate([np.bincount(room.instances.ravel())[1:] for room in rooms])
    assert areas.min() >= 12
    assert any(((room.stuff == 255) & (room.instances == 0)).any() for room in rooms)


def test_every_class_and_stuff_occurs(rooms: list[Room]) -> None:
    counts = np.bincount(np.concatenate([room.labels for room in rooms]), minlength=len(CLASSES))
    assert len(CLASSES) >= 12
    assert counts.min() >= 0.3 * counts.mean()
    assert set(np.unique(np.stack([room.stuff for room in rooms]))) == {*range(len(STUFF)), 255}


def test_sizes_are_those_of_3d_future(rooms: list[Room]) -> None:
    assert np.mean([len(room.labels) for room in rooms]) == pytest.approx(5.0, abs=0.7)
    sides = np.array([np.sqrt(width * height) / SIDE for room in rooms for _, _, width, height in _boxes(room)])
    assert np.median(sides) == pytest.approx(250 / 1200, abs=0.03)
    shares = np.bincount(np.digitize(sides, [113 / 1200, 256 / 1200]), minlength=3) / len(sides)
    np.testing.assert_allclose(shares, [0.07, 0.40, 0.53], atol=0.08)


def _seen_through(rooms: list[Room], name: str) -> float:
    """Return the median share of a mask's box where floor, wall and so on show between two pixels of the mask."""
    shares = []
    for room in rooms:
        for index in np.flatnonzero(room.labels == CLASSES.index(name)):
            x, y, width, height = _boxes(room)[index]
            mask = (room.instances == index + 1)[y : y + height, x : x + width]
            left = np.maximum.accumulate(mask, axis=1)
            right = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
            behind = (room.stuff != 255)[y : y + height, x : x + width]
            shares.append(float((left & right & ~mask & behind).mean()))
    return float(np.median(shares))


@pytest.mark.parametrize("name", ["Dining Chair", "Dining Table", "Shelf"])
def test_background_shows_through_open_furniture(rooms: list[Room], name: str) -> None:
    assert _seen_through(rooms, name) > 0.05


@pytest.mark.parametrize("name", ["Wardrobe", "Double Bed"])
def test_closed_furniture_has_no_holes(rooms: list[Room], name: str) -> None:
    assert _seen_through(rooms, name) < 0.02


def test_colour_tells_less_than_twice_chance(rooms: list[Room]) -> None:
    histograms, labels, half = [], [], []
    for number, room in enumerate(rooms):
        bins = (room.image // 64).astype(np.int64) @ np.array([16, 4, 1])
        for index, label in enumerate(room.labels):
            counts = np.bincount(bins[room.instances == index + 1], minlength=64)
            histograms.append(np.sqrt(counts / counts.sum()))
            labels.append(label)
            half.append(number % 2)
    table, truth, test = np.array(histograms), np.array(labels), np.array(half) == 1
    centroids = np.stack([table[~test & (truth == c)].mean(axis=0) for c in range(len(CLASSES))])
    guess = np.square(table[:, None] - centroids).sum(axis=2).argmin(axis=1)
    recall = [np.mean(guess[test & (truth == c)] == c) for c in range(len(CLASSES))]
    assert np.mean(recall) < 2 / len(CLASSES)


@pytest.mark.parametrize("size", [(97, 131), (131, 97), (16, 16), (64, 200)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    room = render_room(5, size)
    assert room.image.shape == (*size, 3) and room.image.dtype == np.uint8
    assert room.instances.shape == size and room.instances.dtype == np.int32
    assert room.stuff.shape == size and room.stuff.dtype == np.uint8
    assert room.labels.dtype == np.int64


@pytest.mark.parametrize("size", [(1, 1), (0, 64), (64, 15)])
def test_too_small_a_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too small for a room: both sides need at least 16 pixels"):
        render_room(0, size)


def _facing_square(half: float, z: float) -> np.ndarray:
    return np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])


def test_a_face_covers_the_pixels_it_projects_to() -> None:
    camera = look_at(np.zeros(3), np.array([0.0, 0.0, -1.0]), 100.0, (80, 100))
    seen = rasterize(camera, _facing_square(0.5, -2.0)[None])
    expected = np.full((80, 100), -1)
    expected[15:65, 25:75] = 0
    np.testing.assert_array_equal(seen.face, expected)
    np.testing.assert_allclose(seen.depth[expected == 0], 2.0, rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_face_hides_the_farther_one(order: tuple[int, int]) -> None:
    camera = look_at(np.zeros(3), np.array([0.0, 0.0, -1.0]), 50.0, (60, 60))
    quads = np.stack([_facing_square(0.5, -2.0), _facing_square(2.0, -3.0)])
    seen = rasterize(camera, quads[list(order)])
    assert seen.face[30, 30] == order.index(0)
    assert seen.face[2, 2] == order.index(1)


def test_a_face_that_reaches_behind_the_eye_is_drawn_in_front_of_it() -> None:
    camera = look_at(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, -1.0]), 50.0, (60, 60))
    floor = np.array([[[-9.0, 0, 5], [9, 0, 5], [9, 0, -500], [-9, 0, -500]]])
    seen = rasterize(camera, floor)
    assert np.all(seen.face[:30] == -1)
    assert np.all(seen.face[40:] == 0)


def test_a_split_round_trips_through_coco(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    write_split(tmp_path, "train", 4, (60, 72), 11, lambda done, count: progress.append((done, count)))
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    coco = COCO(tmp_path / "annotations" / "train.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        stuff = cv2.imread(str(tmp_path / "stuff" / image["file_name"]).replace(".jpg", ".png"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (image["height"], image["width"], 3) == (60, 72, 3)
        union = np.zeros((60, 72), int)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(annotation)
            assert annotation["area"] == mask.sum()
            assert tuple(annotation["bbox"]) == cv2.boundingRect(mask)
            union += mask
        assert union.max() == 1
        assert np.all(stuff[union == 1] == 255)
    assert not list(tmp_path.rglob("*.tmp"))


def test_splits_share_no_rooms_and_repeat_exactly(tmp_path: Path) -> None:
    for folder, split in (("a", "train"), ("a", "val"), ("b", "train")):
        write_split(tmp_path / folder, split, 2, (48, 48), 0)
    first, again = ((tmp_path / name / "annotations" / "train.json").read_text() for name in "ab")
    assert first == again
    pictures = {path.read_bytes() for path in (tmp_path / "a" / "images").rglob("*.jpg")}
    assert len(pictures) == 4
    assert json.loads(first)["images"][1]["file_name"] == "train/0000002.jpg"
