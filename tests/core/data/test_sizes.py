"""Sizes of objects against masks that numpy counts, the draw of images, and the ranges that are proposed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fineseg import FinesegError
from fineseg.data.sizes import draw, propose_ranges, read_sizes, shares
from fineseg.profile.schema import MetricTable


def coded(mask: np.ndarray, *, compressed: bool = True) -> dict[str, Any]:
    if compressed:
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": list(mask.shape), "counts": rle["counts"].decode()}
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *changes, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def write(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": annotations}))  # no categories, no file names
    return path


def random_file(
    path: Path, rng: np.random.Generator, images: int = 12
) -> tuple[dict[int, list[tuple[int, int]]], Path]:
    """Write objects with masks of every kind; return their areas and their image's, by image, and the file."""
    frames, annotations = [], []
    truth: dict[int, list[tuple[int, int]]] = {}
    for number in rng.permutation(1000)[:images].tolist():
        height, width = rng.integers(6, 40, 2).tolist()
        frames.append({"id": number, "height": height, "width": width})
        truth[number] = []
        for _ in range(rng.integers(0, 6)):
            mask = rng.random((height, width)) < rng.uniform(0.02, 0.9)
            mask[rng.integers(height), rng.integers(width)] = True
            row: dict[str, Any] = {"image_id": number, "segmentation": coded(mask, compressed=bool(rng.random() < 0.5))}
            area = int(mask.sum())
            unsound = [None, 0, -3.0, math.nan, math.inf, height * width + 1, "12", True]
            stated = [area, *unsound, "absent"][rng.integers(10)]
            annotations.append(row if stated == "absent" else {**row, "area": stated})
            truth[number].append((area, height * width))
    order = rng.permutation(len(annotations))
    return truth, write(path, frames, [annotations[i] for i in order])


@pytest.mark.parametrize("seed", range(8))
def test_areas_are_the_masks(tmp_path: Path, seed: int) -> None:
    truth, path = random_file(tmp_path / "a.json", np.random.default_rng(seed))
    found = read_sizes(path, images=5, seed=seed)
    drawn = draw(truth, 5, seed)
    wanted = [each for number in drawn for each in truth[number]]
    assert (found.images, found.of_images, found.crowds, found.empty) == (5, 12, 0, 0)
    np.testing.assert_allclose(np.sort(found.pixels), np.sort([math.sqrt(area) for area, _ in wanted]))
    np.testing.assert_allclose(np.sort(found.relative), np.sort([math.sqrt(area / whole) for area, whole in wanted]))


def test_stated_area_counts(tmp_path: Path) -> None:
    """COCO's size classes go by the stated area, not by the drawn mask."""
    mask = np.ones((10, 10), bool)
    path = write(
        tmp_path / "a.json",
        [{"id": 1, "height": 10, "width": 10}],
        [{"image_id": 1, "area": 49.0, "segmentation": coded(mask)}, {"image_id": 1, "area": 4}],
    )
    assert read_sizes(path, images=9, seed=0).pixels.tolist() == [7, 2]


def test_boxes(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:6, 3:12] = np.eye(4, 9, dtype=bool)
    mask[5, 11] = True
    polygon = [[0, 0, 8, 0, 8, 2, 0, 2]]
    path = write(
        tmp_path / "a.json",
        [{"id": 1, "height": 20, "width": 30}],
        [
            {"image_id": 1, "area": 1, "bbox": [1, 1, 2.5, 10]},
            {"image_id": 1, "area": 1, "segmentation": coded(mask)},
            {"image_id": 1, "area": 1, "segmentation": polygon},
            {"image_id": 1, "area": 1, "bbox": [1, 1, 0, 10]},
        ],
    )
    found = read_sizes(path, images=1, seed=0, boxes=True)
    np.testing.assert_allclose(found.pixels**2, [25, 36, 16])
    assert found.empty == 1
    np.testing.assert_allclose(read_sizes(path, images=1, seed=0).pixels, [1, 1, 1, 1])


def test_crowds_and_empty_masks_are_left_out(tmp_path: Path) -> None:
    nothing = coded(np.zeros((9, 9), bool))
    path = write(
        tmp_path / "a.json",
        [{"id": 1, "height": 9, "width": 9}, {"id": 2, "height": 9, "width": 9}],
        [
            {"image_id": 1, "area": 9, "iscrowd": 1},
            {"image_id": 1, "area": 0, "segmentation": nothing},
            {"image_id": 1, "area": 4, "iscrowd": 0},
        ],
    )
    found = read_sizes(path, images=2, seed=0)
    assert (found.pixels.tolist(), found.crowds, found.empty) == ([2], 1, 1)


FRAME = [{"id": 1, "height": 9, "width": 9}]
UNSOUND = {"size": [9, 9], "counts": "0"}


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        (FRAME, [], "no object on 1 of 1 images"),
        (FRAME, [{"image_id": 1, "area": 5, "iscrowd": 1}], "no object on 1 of 1 images"),
        (FRAME, [{"image_id": 2, "area": 5}], "annotations[0]: image_id 2 is in no image"),
        (FRAME, [{"area": 5}], "annotations[0]: image_id is missing"),
        (FRAME, [{"image_id": 1}], "annotations[0]: segmentation is missing"),
        (FRAME, [{"image_id": 1, "segmentation": UNSOUND}], "annotations[0]: segmentation: the runs of counts cover 0"),
        (FRAME * 2, [], "images[1]: id 1 is taken by another image"),
        ([{"id": 1, "height": 9}], [], "images[0]: width is missing"),
    ],
)
def test_fault_in_one_line(tmp_path: Path, images: list[Any], annotations: list[Any], message: str) -> None:
    path = write(tmp_path / "a.json", images, annotations)
    with pytest.raises(FinesegError) as caught:
        read_sizes(path, images=10, seed=0)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


# ------------------------------------------------------------------ the draw


def test_draw_depends_on_seed_and_ids_alone() -> None:
    ids = list(range(5, 4000, 3))
    first = draw(ids, 100, 1)
    assert first == draw(reversed(ids), 100, 1) and len(first) == 100 and first <= set(ids)
    assert first != draw(ids, 100, 2)
    assert draw(ids, len(ids), 1) == draw(ids, 10**6, 1) == set(ids)


def test_draw_is_even() -> None:
    times = np.zeros(20)
    for seed in range(2000):
        times[list(draw(range(20), 5, seed))] += 1
    assert times.sum() == 10_000
    assert abs(times - 500).max() < 5 * math.sqrt(2000 * 0.25 * 0.75)  # five standard deviations of a binomial


# ---------------------------------------------------------------- the ranges


@pytest.mark.parametrize("seed", range(10))
def test_each_range_holds_a_third(seed: int) -> None:
    pixels = np.random.default_rng(seed).lognormal(5, 1, 3000)
    ranges = propose_ranges(pixels)
    assert ranges is not None and list(ranges) == ["small", "medium", "large"]
    for low, high in ranges.values():
        assert abs(sum(low <= pixel**2 < high for pixel in pixels) / 3000 - 1 / 3) < 0.02  # edges are whole pixels
        assert math.sqrt(low) == int(math.sqrt(low))
    found = shares(pixels, ranges)
    assert math.isclose(sum(found.values()), 1)
    assert found["small"] == sum(pixel**2 < ranges["small"][1] for pixel in pixels) / 3000
    assert MetricTable(area_ranges=ranges).area_ranges == ranges  # a profile takes them as they are


@pytest.mark.parametrize("pixels", [[5.0], [5.0] * 9, [1, 1, 1, 1, 9.0], [0.2, 0.3, 0.4], [7.1, 7.2, 7.3]])
def test_no_ranges_for_sizes_that_are_alike(pixels: list[float]) -> None:
    assert propose_ranges(np.array(pixels)) is None


def test_smallest_case_with_ranges() -> None:
    assert propose_ranges(np.array([1.0, 2, 3, 4])) == {"small": (0, 4), "medium": (4, 9), "large": (9, 1e10)}


# ------------------------------------------------------------------ real data


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "objects", "crowds"),
    [
        ("furniture/instances_train.json", 587, 0),
        ("furniture/instances_val.json", 146, 0),
        ("coco_panoptic_train100/instances_train100.json", 741, 6),
    ],
)
def test_real_files(shared_data: Path, file: str, objects: int, crowds: int) -> None:
    found = read_sizes(shared_data / file, images=10_000, seed=0)
    document = json.loads((shared_data / file).read_text())
    frames = {image["id"]: image["height"] * image["width"] for image in document["images"]}
    rows = [row for row in document["annotations"] if not row["iscrowd"]]
    assert (len(found.pixels), found.crowds, found.images) == (objects, crowds, len(frames))
    np.testing.assert_allclose(found.pixels, [row["area"] ** 0.5 for row in rows])
    np.testing.assert_allclose(found.relative, [(row["area"] / frames[row["image_id"]]) ** 0.5 for row in rows])
    boxes = read_sizes(shared_data / file, images=10_000, seed=0, boxes=True)
    np.testing.assert_allclose(boxes.pixels, [(row["bbox"][2] * row["bbox"][3]) ** 0.5 for row in rows])


@pytest.mark.realdata
def test_stated_areas_are_those_of_the_polygons(shared_data: Path, tmp_path: Path) -> None:
    """Without `area` the masks are drawn; on COCO the two differ by the rim of a polygon."""
    document = json.loads((shared_data / "coco_panoptic_train100" / "instances_train100.json").read_text())
    stated = read_sizes(shared_data / "coco_panoptic_train100" / "instances_train100.json", images=100, seed=0)
    for row in document["annotations"]:
        del row["area"]
    drawn = read_sizes(write(tmp_path / "a.json", document["images"], document["annotations"]), images=100, seed=0)
    large = stated.pixels > 16
    assert large.sum() > 400
    np.testing.assert_allclose(drawn.pixels[large], stated.pixels[large], rtol=0.06)
