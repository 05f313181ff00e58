"""`fineseg fuse` and `fineseg class-table`: panopticapi's maps, two models on drawn data, real images, and no torch."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imported import heavy_after
from panoptic_cases import categories
from panoptic_fusion_cases import draw_masks
from PIL import Image

from fineseg.cli.main import main
from fineseg.data import masks
from fineseg.data.panoptic import read_ids
from fineseg.data.panoptic_json import segment_masks

Answer = tuple[int, str, str]
REFUSED = {
    "020_stuff_in_instances": "is stuff; instances are of things",
    "021_stuff_class_twice": "already; one mask each",
    "023_text_image_ids": "id is '000017'; it must be a whole number",
    "024_error_unknown_instance_class": "category_id 999 is in no category; known ids",
    "025_unknown_class_below_confidence": "category_id 999 is in no category; known ids",
    "026_error_unknown_semantic_class": "category_id 999 is in no category; known ids",
    "027_error_mask_size": "segmentation: size is [50, 50]; image 1 is [96, 128] (height, width)",
}
"""What panopticapi breaks off at, takes in some way, or does not look at, and what is said here instead."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], no_progress: None) -> Callable[..., Answer]:
    """Return a function that runs a command: exit code, stdout, stderr."""

    def call(*words: object) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, words)])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return call


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, default=lambda counts: counts.decode()))
    return path


def maps_of(out: Path) -> dict[str, tuple[np.ndarray, list[tuple[int, int]]]]:
    """Return the ids of each PNG in a result and (id, category) of its segments, by file name."""
    rows = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert {row["file_name"] for row in rows} == {path.name for path in (out / "panoptic").iterdir()}
    return {
        row["file_name"]: (
            read_ids(out / "panoptic" / row["file_name"]),
            [(each["id"], each["category_id"]) for each in row["segments_info"]],
        )
        for row in rows
    }


# ------------------------------------------------------------------------ oracle


@pytest.mark.realdata
def test_every_case_of_panopticapi(shared_data: Path, tmp_path: Path, run: Callable[..., Answer]) -> None:
    folder = shared_data / "panoptic_oracle" / "combine"
    cases = json.loads((folder / "expected.json").read_text())["cases"]
    assert len(cases) == 46
    wrong = []
    for name, case in cases.items():
        place, out = folder / case["inputs"], tmp_path / name
        files = [f"--{key}={place / file}.json" for key, file in INPUTS.items()]
        limits = {"confidence": "confidence_thr", "overlap": "overlap_thr", "stuff_area": "stuff_area_limit"}
        options = [f"--option={option}={case[key]}" for option, key in limits.items()]
        code, _, err = run("fuse", *files, *options, "--method", "heuristic", "--out", out)
        if name in REFUSED:
            assert code == 1 and len(err.splitlines()) == 1 and REFUSED[name] in err, (name, err)
            assert not out.exists()
            continue
        assert code == 0, (name, err)
        assert ("are left aside" in err) == (name == "022_unlisted_image"), (name, err)
        wrong += [f"{name}: {image}" for image in unequal(maps_of(out), case["images"], folder)]
    assert wrong == []
    assert list(tmp_path.glob(".*")) == []


INPUTS = {"instances": "instances", "semantic": "semantic", "images": "images", "categories": "categories"}


def unequal(found: Mapping[str, Any], images: list[dict[str, Any]], folder: Path) -> list[str]:
    """Return the images whose map or categories are others; entries without a pixel are not listed here."""
    told = []
    for image in images:
        ids, segments = found[Path(image["file_name"]).with_suffix(".png").name]
        left = [each for each in image["segments"] if each["area"]]
        numbers = np.zeros(256, int)
        numbers[[each["index"] for each in left]] = [number for number, _ in segments] or 0
        listed = [category for _, category in segments] == [each["category_id"] for each in left]
        expected = np.asarray(Image.open(folder / image["index_png"]))
        if not listed or ids.shape != expected.shape or (ids != numbers[expected]).any():
            told.append(image["file_name"])
    return told


# ------------------------------------------------------------------- real images


@pytest.mark.realdata
def test_truth_of_real_images_comes_back_whole(shared_data: Path, tmp_path: Path, run: Callable[..., Answer]) -> None:
    """Things as instances and all classes as semantics, crowds among these: fused they are the truth again."""
    folder = shared_data / "coco_panoptic_train100"
    truth = json.loads((folder / "panoptic_train100.json").read_text())
    kinds = {each["id"]: each["isthing"] for each in truth["categories"]}
    chosen = truth["annotations"][:20]
    instances: list[Any] = []
    semantic: list[Any] = []
    for row in chosen:
        ids = read_ids(folder / "panoptic_train100" / row["file_name"])
        coded = segment_masks(ids, [each["id"] for each in row["segments_info"]])
        for each in row["segments_info"]:
            entry = {"image_id": row["image_id"], "category_id": each["category_id"], "score": 1.0}
            entry["segmentation"] = {"size": list(ids.shape), "counts": coded[each["id"]]["counts"].decode()}
            if not kinds[each["category_id"]]:
                semantic.append(entry)
            elif not each["iscrowd"]:
                instances.append(entry)
    numbers = {row["image_id"] for row in chosen}
    images = [each for each in truth["images"] if each["id"] in numbers]
    words = ["fuse", "--instances", write(tmp_path / "i.json", instances), "--method", "heuristic"]
    words += ["--semantic", write(tmp_path / "s.json", semantic), "--option", "stuff_area=0"]
    words += ["--images", write(tmp_path / "images.json", {"images": images}), "--out", tmp_path / "fused"]
    assert run(*words, "--categories", folder / "panoptic_train100.json")[0] == 0
    small = write(tmp_path / "truth.json", {**truth, "annotations": chosen, "images": images})
    found = tmp_path / "fused" / "panoptic.json"
    code, out, _ = run(
        *("evaluate", "--task", "panoptic", "--predictions", found, "--ground-truth", small, "--json"),
        *("--ground-truth-folder", folder / "panoptic_train100"),
    )
    groups = json.loads(out)
    assert code == 0 and [groups[name]["pq"] for name in ("All", "Things", "Stuff")] == [100.0] * 3


# -------------------------------------------------------------------- two models


def two_models(folder: Path) -> dict[str, Path]:
    """Write what two models say of drawn images: a is right about class 3 alone, b about class 7; and the truth."""
    rng = np.random.default_rng(0)
    blot = masks.encode(np.eye(32, dtype=bool))
    truth: dict[str, Any] = {"images": [], "annotations": []}
    results: dict[str, list[Any]] = {"a": [], "b": []}
    for number in range(1, 7):
        truth["images"].append({"id": number, "file_name": f"deep/{number}.jpg", "height": 32, "width": 32})
        for category, top in ((3, 2), (7, 16)):
            mask = np.zeros((32, 32), bool)
            mask[top : top + rng.integers(4, 12), 4 : rng.integers(8, 30)] = True
            coded = {"size": [32, 32], "counts": masks.encode(mask)}
            entry = {"image_id": number, "category_id": category, "segmentation": coded}
            truth["annotations"].append({"id": 2 * number + top, **entry, "iscrowd": 0})
            for name, good in (("a", 3), ("b", 7)):
                said = entry if category == good else {**entry, "segmentation": {"size": [32, 32], "counts": blot}}
                results[name].append({**said, "score": float(rng.uniform(0.6, 1))})
    truth["categories"] = [{"id": 3, "name": "class 3"}, {"id": 7, "name": "class 7"}]
    files = {"truth": write(folder / "truth.json", truth)}
    (folder / "semantic").mkdir()
    for name, rows in results.items():
        files[name] = write(folder / f"{name}.json", rows)
        regions = [
            {"image_id": each["id"], "category_id": category, "segmentation": {"size": [32, 32], "counts": counts}}
            for each in truth["images"]
            for category, counts in zip((90, 91), halves(name), strict=True)
        ]
        files[f"s{name}"] = write(folder / "semantic" / f"{name}.json", regions)
    files["categories"] = write(folder / "categories.json", categories({3: True, 7: True, 90: False, 91: False}))
    return files


def halves(name: str) -> list[bytes]:
    left = np.zeros((32, 32), bool)
    left[:, : 16 if name == "a" else 20] = True
    return [masks.encode(left), masks.encode(~left)]


def test_two_models_each_in_its_class(tmp_path: Path, run: Callable[..., Answer]) -> None:
    files = two_models(tmp_path)
    table = tmp_path / "t.json"
    sources = ["--instances", files["a"], "--instances", files["b"]]
    code, out, err = run("class-table", *sources, "--ground-truth", files["truth"], "--out", table)
    assert (code, err) == (0, "")
    told = json.loads(table.read_text())
    assert [row["from"] for row in told["classes"]] == ["a", "b"]
    assert [row["ap"][row["from"]] for row in told["classes"]] == [pytest.approx(100)] * 2
    assert out.splitlines()[-1] == f"{table}: 2 classes; default {told['default']}"
    words = ["fuse", *sources, "--semantic", files["sa"], "--semantic", files["sb"], "--images", files["truth"]]
    words += ["--categories", files["categories"], "--option", "stuff_area=1"]
    both = [*words, "--class-table", table, "--method", "two-level", "--option", "weights={a=1, b=3}"]
    code, out, err = run(*both, "--out", tmp_path / "fused")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [f"{name}: its instances count in 1 classes" for name in "ab"]
    assert json.loads((tmp_path / "fused" / "class_table.json").read_text()) == told
    swapped = [*both, "--option", "default=b", "--option", "margin=100"]
    assert "b: its instances count in 2 classes" in run(*swapped, "--out", tmp_path / "other")[1]
    rows = json.loads(files["truth"].read_text())
    for name, (ids, segments) in maps_of(tmp_path / "fused").items():
        true = [row for row in rows["annotations"] if f"{row['image_id']}.png" == name]
        things = np.zeros((32, 32), bool)
        for row in true:
            things |= masks.decode(masks.to_rle(row["segmentation"], 32, 32)["counts"], 32, 32)
        stuff = {category: number for number, category in segments if category >= 90}
        assert ((ids > 0) & ~np.isin(ids, list(stuff.values())) == things).all()
        left = np.arange(32)[None].repeat(32, axis=0) < 20  # b weighs more
        assert (ids[left & ~things] == stuff[90]).all() and (ids[~left & ~things] == stuff[91]).all()


def test_equal_words_of_two_semantics_go_to_the_first_class(tmp_path: Path, run: Callable[..., Answer]) -> None:
    files = two_models(tmp_path)
    write(files["a"], [])
    words = ["fuse", "--instances", files["a"], "--semantic", files["sa"], "--semantic", files["sb"]]
    words += ["--images", files["truth"], "--categories", files["categories"], "--option", "stuff_area=1"]
    assert run(*words, "--method", "two-level", "--out", tmp_path / "fused")[0] == 0
    for ids, segments in maps_of(tmp_path / "fused").values():
        assert [category for _, category in segments] == [90, 91]
        assert (ids == np.where(np.arange(32) < 20, 1, 2)).all()


@pytest.mark.realdata
def test_a_panoptic_file_serves_as_ground_truth(shared_data: Path, tmp_path: Path, run: Callable[..., Answer]) -> None:
    folder = shared_data / "panoptic_oracle" / "pq" / "001_perfect"
    truth = json.loads((folder / "gt.json").read_text())
    (row,) = truth["annotations"][:1]
    ids = read_ids(folder / "gt" / row["file_name"])
    coded = segment_masks(ids, [each["id"] for each in row["segments_info"]])
    kinds = {each["id"]: each["isthing"] for each in truth["categories"]}
    rows = [
        {
            "image_id": row["image_id"],
            "category_id": each["category_id"],
            "score": 0.5,
            "segmentation": coded[each["id"]],
        }
        for each in row["segments_info"]
        if kinds[each["category_id"]]
    ]
    words = ["class-table", "--instances", write(tmp_path / "m.json", rows), "--out", tmp_path / "t.json"]
    code, _, err = run(*words, "--ground-truth", folder / "gt.json")
    assert (code, err) == (0, "")
    table = json.loads((tmp_path / "t.json").read_text())
    assert [each["id"] for each in table["classes"]] == sorted(n for n, thing in kinds.items() if thing)


def test_random_semantics_keep_to_the_order_of_the_file(tmp_path: Path, run: Callable[..., Answer]) -> None:
    rng = np.random.default_rng(2)
    drawn = draw_masks(rng, 3, (20, 30))
    regions = [
        {"image_id": 1, "category_id": n, "segmentation": {"size": [20, 30], "counts": masks.encode(mask)}}
        for n, mask in zip((3, 1, 2), drawn, strict=True)
    ]
    words = ["fuse", "--method", "heuristic", "--option", "stuff_area=1", "--out", tmp_path / "fused"]
    words += ["--instances", write(tmp_path / "i.json", []), "--semantic", write(tmp_path / "s.json", regions)]
    image = {"id": 1, "file_name": "1.jpg", "height": 20, "width": 30}
    words += ["--images", write(tmp_path / "images.json", {"images": [image]})]
    assert run(*words, "--categories", write(tmp_path / "c.json", categories({1: False, 2: False, 3: False})))[0] == 0
    expected = np.zeros((20, 30), int)
    for category, mask in zip((3, 1, 2), drawn, strict=True):
        expected[mask & (expected == 0)] = category
    ids, segments = maps_of(tmp_path / "fused")["1.png"]
    assert (np.vectorize({0: 0, **dict(segments)}.get)(ids) == expected).all()


def test_images_that_are_not_listed_are_left_aside_and_told(tmp_path: Path, run: Callable[..., Answer]) -> None:
    files = two_models(tmp_path)
    listed = json.loads(files["truth"].read_text())["images"][:1]
    images = write(tmp_path / "images.json", {"images": listed})
    words = ["fuse", "--method", "heuristic", "--images", images, "--categories", files["categories"]]
    code, out, err = run(*words, "--instances", files["a"], "--semantic", files["sa"], "--out", tmp_path / "fused")
    entries = json.loads(files["a"].read_text())
    count = sum(row["image_id"] != listed[0]["id"] for row in entries)
    assert code == 0 and len(maps_of(tmp_path / "fused")) == 1
    assert err.splitlines() == [
        f"warning: {files[name]}: {left} entries are of images that {images} does not list; they are left aside"
        for name, left in (("a", count), ("sa", 10))
    ]
    assert " in 1 images, by heuristic" in out


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    files = two_models(tmp_path)
    words = ["fuse", "--method", "heuristic", "--images", files["truth"], "--categories", files["categories"]]
    words += ["--instances", files["a"], "--semantic", files["sa"], "--out", tmp_path / "fused"]
    assert heavy_after(*words) == set()
