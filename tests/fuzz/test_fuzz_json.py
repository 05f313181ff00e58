"""Readers of annotations and results: any JSON gives data or one line."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from drawn_sets import as_coco, as_results, draw
from fuzz.mutation import assert_lines, assert_one_line, examples, json_text, json_values, mutated, mutated_bytes
from hypothesis import given
from hypothesis import strategies as st

from fineseg import FinesegError
from fineseg.coco_results import instances_of_results, load_results, read_coco_results, split_of_results
from fineseg.data.checks import check_data
from fineseg.data.coco import read_coco
from fineseg.data.panoptic_json import read_panoptic
from fineseg.data.sizes import read_sizes
from fineseg.data.zipped import load_zipped_json
from fineseg.stages.files import read_truth

SPLIT, FOUND = draw(3, images=3, classes=3, side=12)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda counts: counts.decode()))


def truth() -> dict[str, Any]:
    """Return a COCO file with compressed and uncompressed masks, polygons and a crowd."""
    document: dict[str, Any] = plain(as_coco(SPLIT))
    for image in document["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    rows = document["annotations"]
    rows[0]["segmentation"] = [[1, 1, 9, 1, 9, 9.5, 1, 9]]
    rows[1]["segmentation"] = {"size": [12, 12], "counts": [10, 20, 114]}
    rows[1]["iscrowd"] = 1
    del rows[2]["bbox"], rows[2]["area"]
    return document


TRUTH = truth()
RESULTS = plain(as_results(SPLIT, FOUND))
RESULTS[0]["bbox"] = [1, 2, 3, 4]
PANOPTIC: dict[str, Any] = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "width": 4, "height": 3} for n in (1, 2)],
    "categories": [{"id": n, "name": f"class {n}", "isthing": n % 2, "supercategory": "all"} for n in (1, 2, 3)],
    "annotations": [
        {
            "image_id": n,
            "file_name": f"{n}.png",
            "segments_info": [
                {"id": 5, "category_id": 1, "iscrowd": 0, "area": 6},
                {"id": 700, "category_id": 2, "iscrowd": 0, "area": 6},
            ],
        }
        for n in (1, 2)
    ],
}


def readable(file: Path) -> None:
    """Read an annotation file in every way that there is; what is read must be fit for the checks that follow."""
    for read in (
        lambda: read_coco(file, file.parent, "split"),
        lambda: read_truth(file),
        lambda: read_sizes(file, images=2, seed=0),
        lambda: read_sizes(file, images=9, seed=0, boxes=True),
    ):
        try:
            found = read()
        except FinesegError as error:
            assert_one_line(error)
            continue
        if getattr(found, "labelled", False) and all(i.width * i.height < 10**6 for i in found.images):
            for finding in check_data({"split": found}):
                assert_one_line(FinesegError(f"{finding.where}: {finding.what}"))


@examples(400)
@given(document=mutated(TRUTH, json_values()))
def test_annotations(document: Any, folder: Path) -> None:
    (folder / "t.json").write_text(json_text(document))
    readable(folder / "t.json")


@examples(400)
@given(content=mutated_bytes(json.dumps(TRUTH).encode()))
def test_annotations_of_any_bytes(content: bytes, folder: Path) -> None:
    (folder / "t.json").write_bytes(content)
    readable(folder / "t.json")


def results_of(file: Path) -> None:
    for read in (
        lambda: read_coco_results(file, SPLIT),
        lambda: instances_of_results(*(loaded := load_results(file)), split_of_results([loaded])),
    ):
        try:
            found = read()
        except FinesegError as error:
            assert_one_line(error)
            continue
        for instances in found.values():
            assert np.isfinite(instances.scores).all() and np.isfinite(instances.boxes).all()
            assert len(instances.masks) == len(instances.labels)


@examples(400)
@given(document=mutated(RESULTS, json_values()) | mutated({"annotations": RESULTS[:2]}, json_values()))
def test_results(document: Any, folder: Path) -> None:
    (folder / "r.json").write_text(json_text(document))
    results_of(folder / "r.json")


@examples(400)
@given(content=mutated_bytes(json.dumps(RESULTS).encode()))
def test_results_of_any_bytes(content: bytes, folder: Path) -> None:
    (folder / "r.json").write_bytes(content)
    results_of(folder / "r.json")


# ----------------------------------------------------------------------- zips


def zipped(names: list[str], text: bytes, method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), text, method)
    return content.getvalue()


SUBMISSION = zipped(["results.json"], json.dumps(RESULTS[:3]).encode(), zipfile.ZIP_DEFLATED)


def zip_of(file: Path) -> None:
    for name in (None, "results.json"):
        try:
            load_zipped_json(file, name)
        except FinesegError as error:
            assert_one_line(error)
    results_of(file)


@examples(400)
@given(content=mutated_bytes(SUBMISSION))
def test_zips_of_any_bytes(content: bytes, folder: Path) -> None:
    (folder / "s.zip").write_bytes(content)
    zip_of(folder / "s.zip")


@examples(400)
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.just("results.json"), max_size=3),
    text=mutated(RESULTS, json_values()).map(lambda document: json_text(document).encode()) | st.binary(max_size=20),
    method=st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)),
)
def test_zips_of_any_members(names: list[str], text: bytes, method: int, folder: Path) -> None:
    (folder / "s.zip").write_bytes(zipped(names, text, method))
    zip_of(folder / "s.zip")


# ------------------------------------------------------------------- panoptic


def panoptic_of(file: Path, maps: Path) -> None:
    try:
        split = read_panoptic(file, maps, file.parent, "split")
    except FinesegError as error:
        assert_lines(error)
    else:
        assert set(split.panoptic or ()) <= {image.id for image in split.images}


def write_maps(folder: Path) -> Path:
    from fineseg.data.panoptic import encode_ids

    maps = folder / "maps"
    if not maps.is_dir():
        maps.mkdir()
        for n in (1, 2):
            (maps / f"{n}.png").write_bytes(encode_ids(np.array([[5, 5, 700, 700]] * 3)))
    return maps


@examples(400)
@given(document=mutated(PANOPTIC, json_values()))
def test_panoptic_annotations(document: Any, folder: Path) -> None:
    maps = write_maps(folder)
    (folder / "p.json").write_text(json_text(document))
    panoptic_of(folder / "p.json", maps)


@examples(400)
@given(content=mutated_bytes(json.dumps(PANOPTIC).encode()))
def test_panoptic_annotations_of_any_bytes(content: bytes, folder: Path) -> None:
    maps = write_maps(folder)
    (folder / "p.json").write_bytes(content)
    panoptic_of(folder / "p.json", maps)
