"""Every fault of a panoptic map planted once, in small files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from panoptic_cases import categories, change, write_maps

from fineseg import Category, FinesegError, PanopticFile, PanopticMap, Segment, Split
from fineseg.data.checks import check_data
from fineseg.data.panoptic import encode_ids
from fineseg.data.panoptic_checks import check_maps, check_stuff
from fineseg.data.panoptic_json import SHOWN_FAULTS, read_panoptic

SIZE = (24, 32)
LABELS = (62, 65, 199, 200)


def ids_of(number: int) -> np.ndarray:
    """Return a map with segments 1 (chair), 70000 (bed) and 9 (wall)."""
    ids = np.full(SIZE, 9, np.int32)
    ids[2:8, 2 : 8 + number], ids[10:20, 10:20], ids[0, 0] = 1, 70000, 0
    return ids


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write three images of noise with maps; return the annotation file."""
    numbers = (1, 2, 3)
    maps = [PanopticMap(n, ids_of(n), (Segment(1, 0), Segment(70000, 1), Segment(9, 2))) for n in numbers]
    path = write_maps(tmp_path, "truth", maps, LABELS)
    (tmp_path / "images").mkdir()
    for number in numbers:
        noise = np.random.default_rng(number).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), noise)
    rows = [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in numbers]
    change(path, images=rows, categories=categories({62: True, 65: True, 199: False, 200: False}))
    return path


def read(file: Path, name: str = "train") -> Split:
    return read_panoptic(file, file.with_suffix(""), file.parent / "images", name)


def lines(split: Split) -> list[str]:
    return [f"{f.kind}: {f.line}" for f in check_maps("train", split)]


def test_sound_maps_have_no_findings(file: Path) -> None:
    split = read(file)
    assert lines(split) == check_data({"train": split}) == []
    assert lines(replace(split, stuff=(), panoptic={})) == []
    assert lines(replace(split, labelled=False, panoptic={})) == []


Plant = Callable[[Path], object]


def _png(ids: np.ndarray) -> Plant:
    return lambda png: png.write_bytes(encode_ids(ids))


def _without(number: int) -> np.ndarray:
    return np.where(ids_of(2) == number, 9, ids_of(2))


def _with(number: int) -> np.ndarray:
    ids = ids_of(2)
    ids[22:, :4] = number
    return ids


@pytest.mark.parametrize(
    ("plant", "faults"),
    [
        (Path.unlink, ["{png}: no such file"]),
        (lambda png: png.write_bytes(b"no png"), ["{png}: is no readable PNG ("]),
        (lambda png: png.write_bytes(png.read_bytes()[:-30]), ["{png}: is no readable PNG ("]),
        (lambda png: cv2.imwrite(str(png), np.zeros(SIZE, np.uint8)), ["{png}: its colours are 'L'; must be RGB"]),
        (_png(np.full((24, 31), 9)), ["{png}: the map has 31 x 24 pixels, the image 32 x 24"]),
        (_png(_with(5)), ["{png}: segment 5 is in the map but not listed", "segment 9: its area is given as 619;"]),
        (_png(_without(1)), ["{png}: segment 1 is listed but has no pixel in the map", "segment 9: its area is given"]),
        (
            _png(np.where(_without(1) == 9, 6, _without(1))),
            [
                "{png}: segment 6 is in the map but not listed",
                "{png}: segment 1 is listed but has no pixel in the map (and 1 more)",
            ],
        ),
    ],
)
def test_maps_that_are_not_what_is_listed(plant: Plant, faults: list[str], file: Path) -> None:
    split = read(file)
    png = split.panoptic[2].file
    plant(png)
    found = lines(split)
    assert len(found) == len(faults)
    for line, fault in zip(found, faults, strict=True):
        assert line.partition(": ")[2].startswith("train: image 2 (2.png): " + fault.format(png=png))
    assert {line.partition(":")[0] for line in found} <= {"map-broken", "area-off"}
    assert [f for f in check_data({"train": split}) if f.severity == "error"]
    with pytest.raises(FinesegError) as caught:
        read(file)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(png))


def test_maps_and_images_that_have_no_other_side(file: Path) -> None:
    split = read(file)
    maps = {number: each for number, each in split.panoptic.items() if number != 2} | {77: split.panoptic[1]}
    assert lines(replace(split, panoptic=maps)) == [
        "map-broken: train: a panoptic map belongs to image 77, which is not in the split",
        "map-broken: train: image 2 (2.png): has no panoptic map",
    ]


@pytest.mark.parametrize("label", [-1, 4])
def test_segments_of_no_class(label: int, file: Path) -> None:
    split = read(file)
    segments = (Segment(1, 0), Segment(70000, 1), Segment(9, label))
    maps = {**split.panoptic, 3: PanopticFile(split.panoptic[3].file, segments)}
    assert lines(replace(split, panoptic=maps)) == [
        f"no-such-class: train: image 3 (3.png): segment 9: label {label} is no class; there are 4"
    ]


def test_stuff_must_be_numbered_alike(file: Path) -> None:
    split = read(file)
    things_only = replace(split, stuff=(), panoptic={})
    assert check_stuff({"a": things_only, "b": split, "c": split}) == []
    other = replace(split, stuff=(Category(199, "wall"), split.stuff[1]))
    (found,) = [f for f in check_data({"a": split, "b": other}) if f.kind == "classes-differ"]
    assert found.line == "b: its stuff classes differ from those of a: id 199 is 'wall', there 'class 199'"
    turned = replace(split, stuff=split.stuff[::-1])
    assert [f.what for f in check_stuff({"a": split, "b": turned})] == [
        "its stuff classes differ from those of a: their order"
    ]


def test_every_broken_map_is_told_at_once(file: Path) -> None:
    for number in (1, 3):
        (file.with_suffix("") / f"{number:06d}.png").unlink()
    with pytest.raises(FinesegError) as caught:
        read(file)
    assert str(caught.value).splitlines() == [f"{file.with_suffix('')}/{n:06d}.png: no such file" for n in (1, 3)]


def test_many_broken_maps_are_counted(tmp_path: Path) -> None:
    count = SHOWN_FAULTS + 3
    path = write_maps(tmp_path, "truth", [PanopticMap(n, ids_of(1), ()) for n in range(count)], LABELS)
    rows = [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in range(count)]
    change(path, images=rows, categories=categories({62: True, 199: False}))
    with pytest.raises(FinesegError) as caught:
        read(path)
    *told, last = str(caught.value).splitlines()
    assert len(told) == SHOWN_FAULTS and all("segment 1 is in the map but not listed (and 2 more)" in t for t in told)
    assert last == "and 3 more maps"
