"""`fineseg new`: what it writes passes `fineseg check --data`, for data of many kinds, with GPUs and without."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fineseg.proposal.measure import Machine

Answer = tuple[int, str, str]
LAPTOP = Machine(cores=2, memory=20.0)
STATION = Machine(cores=16, memory=100.0, gpus=(24.0, 24.0))


def write_set(
    folder: Path, name: str, size: tuple[int, int], sides: list[list[int]], classes: int = 3, first: int = 1
) -> None:
    """Write images of a size (width, height) with squares of these sides, a list an image, and their annotations."""
    (folder / "pictures").mkdir(exist_ok=True)
    rng = np.random.default_rng([first, *name.encode()])
    images, objects = [], []
    for number, squares in enumerate(sides, first):
        file = f"{name} {number}.png"
        small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.NEAREST).save(folder / "pictures" / file, compress_level=1)
        images.append({"id": number, "file_name": file, "width": size[0], "height": size[1]})
        for side in squares:
            x, y = (int(rng.integers(0, edge - side + 1)) for edge in size)
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            row = {"id": len(objects) + 1, "image_id": number, "category_id": 1 + len(objects) % classes}
            objects.append(row | {"segmentation": [outline], "bbox": [x, y, side, side], "area": side * side})
    names = [{"id": n, "name": f'cläss "{n}"'} for n in range(1, classes + 1)]
    document = {"images": images, "annotations": objects, "categories": names}
    (folder / f"{name}.json").write_text(json.dumps(document))


def draw_sides(low: int, high: int, images: int, each: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(low, high + 1, (images, each)).tolist()


SETS: dict[str, tuple[tuple[int, int], list[list[int]], int]] = {
    "tiny objects": ((320, 240), draw_sides(4, 12, 12, 6), 3),
    "one class": ((200, 300), draw_sides(30, 150, 12, 1), 1),
    "huge images": ((3000, 2000), draw_sides(40, 900, 4, 3), 3),
    "crowded": ((640, 480), draw_sides(8, 40, 6, 170), 2),
    "one size": ((64, 64), draw_sides(20, 20, 8, 1), 2),
    "a frieze": ((1200, 60), draw_sides(20, 50, 6, 4), 2),
    "some images empty": ((100, 80), [[], [20, 30], [], [25, 15], [], [40, 38]], 2),
}


@pytest.mark.parametrize("machine", [LAPTOP, STATION], ids=["cpu", "gpu"])
@pytest.mark.parametrize("name", SETS)
def test_what_it_writes_passes_the_check(
    name: str, machine: Machine, tmp_path: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fineseg.proposal.surroundings.this_machine", lambda: machine)
    monkeypatch.setattr("fineseg.proposal.surroundings.answers", lambda address: machine is STATION)
    size, sides, classes = SETS[name]
    write_set(tmp_path, "mine", size, sides, classes)
    code, out, _ = call("new", "p.toml", "--coco", "mine.json", "--images", "pictures")
    assert code == 0 and out.startswith("wrote p.toml: about ") and out.endswith("next: fineseg run p.toml\n")
    assert call("check", "p.toml", "--data")[:2] == (0, "p.toml: ok; models first; next: fineseg run p.toml\n")
    text = (tmp_path / "p.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    assert tables["data"]["root"] == "." and tables["data"]["validation"] == {"random": 1, "seed": 0}
    assert max(map(len, (line for line in text.splitlines() if line.startswith("#")))) <= 118
    fullest = max(map(len, sides))
    assert tables["predict"]["max_per_image"] >= fullest <= tables["models"]["first"]["head"]["rpn"]["test_proposals"]
    assert (tables["train"].get("precision") == "fp16") == (machine is STATION)
    if name == "crowded":
        assert tables["metric"]["max_detections"] == [1, 10, 100] and "the fullest image has 170 objects, 85" in text
    if name == "tiny objects":
        assert "small objects will be missed" in text and tables["models"]["first"]["head"]["name"] == "mask-rcnn"


def test_validation_of_its_own_and_a_folder_apart(tmp_path: Path, call: Callable[..., Answer]) -> None:
    for place, name, first in (("a", "train", 1), ("b", "val", 1)):
        (tmp_path / "sets" / place).mkdir(parents=True)
        write_set(tmp_path / "sets" / place, name, (64, 64), draw_sides(10, 40, 5, 2), first=first)
    (tmp_path / "profiles").mkdir()
    given = ["--coco", "sets/a/train.json", "--images", "sets/a/pictures", "--val", "sets/b/val.json"]
    code, _, err = call("new", "profiles/my set!.toml", *given, "--val-images", "sets/b/pictures")
    assert (code, err) == (0, "")
    tables = tomllib.loads((tmp_path / "profiles" / "my set!.toml").read_text(encoding="utf-8"))
    assert tables["competition"]["name"] == "my-set"
    assert tables["data"] == {
        "dataset": {
            "name": "coco-instance",
            "annotations": {"train": "a/train.json", "val": "b/val.json"},
            "images": {"train": "a/pictures", "val": "b/pictures"},
        },
        "root": "../sets",
        "train": "train",
        "validation": "val",
    }
    assert call("check", "profiles/my set!.toml", "--data")[0] == 0


def test_a_folder_without_the_images(tmp_path: Path, call: Callable[..., Answer]) -> None:
    write_set(tmp_path, "mine", (64, 64), draw_sides(10, 40, 8, 2))
    (tmp_path / "other").mkdir()
    wanted = "holds none of the 8 images, such as mine 1.png; give the folder that file names are relative to"
    told = call("new", "p.toml", "--coco", "mine.json", "--images", "other")
    assert told == (1, "", f"error: --images other: {wanted}\n")
    given = ["--coco", "mine.json", "--images", "pictures", "--val", "mine.json", "--val-images", "other"]
    assert call("new", "p.toml", *given)[2] == f"error: --val-images other: {wanted}\n"


def test_a_name_with_a_space_is_quoted(tmp_path: Path, call: Callable[..., Answer]) -> None:
    write_set(tmp_path, "mine", (64, 64), draw_sides(10, 40, 8, 2))
    code, out, _ = call("new", "my set.toml", "--coco", "mine.json", "--images", "pictures")
    assert code == 0 and "from random weights" in out and out.endswith("next: fineseg run 'my set.toml'\n")
    assert "# Run       fineseg run 'my set.toml'\n" in (tmp_path / "my set.toml").read_text(encoding="utf-8")


def test_part_that_is_held_out(tmp_path: Path, call: Callable[..., Answer]) -> None:
    write_set(tmp_path, "mine", (64, 64), draw_sides(10, 40, 8, 2))
    assert call("new", "p.toml", "--coco", "mine.json", "--images", "pictures", "--val-fraction", "0.99")[0] == 0
    text = (tmp_path / "p.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["data"]["validation"]["random"] == 7 and "# 1 images are trained on, 7 scored" in text


def test_weights(tmp_path: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path, "mine", (64, 64), draw_sides(10, 40, 8, 2))
    (tmp_path / "w.npz").touch()
    (tmp_path / "deep").mkdir()

    def backbone(profile: str, *more: str) -> dict[str, Any]:
        assert call("new", profile, "--coco", "mine.json", "--images", "pictures", *more)[0] == 0
        found: dict[str, Any] = tomllib.loads((tmp_path / profile).read_text(encoding="utf-8"))
        return dict(found["models"]["first"]["backbone"])

    assert backbone("deep/p.toml", "--weights", "w.npz")["weights"] == "../w.npz"
    assert "weights" not in backbone("none.toml", "--weights", "none")
    assert "weights" not in backbone("silent.toml")
    monkeypatch.setattr("fineseg.proposal.surroundings.answers", lambda address: True)
    assert backbone("web.toml")["weights"].startswith("https://download.pytorch.org/models/mobilenet_v2")


def test_data_that_would_waste_a_training_leave_no_profile(tmp_path: Path, call: Callable[..., Answer]) -> None:
    write_set(tmp_path, "mine", (64, 64), draw_sides(10, 40, 8, 2))
    (tmp_path / "pictures" / "mine 3.png").write_bytes(b"no picture")
    code, out, err = call("new", "p.toml", "--coco", "mine.json", "--images", "pictures")
    assert (code, out) == (1, "") and "mine 3.png" in err
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        [".fineseg", "mine.json", "pictures"],
        ["mine.json", "pictures"],
    )


def test_two_ways_to_score_are_refused(call: Callable[..., Answer]) -> None:
    given = ("--coco", "a.json", "--images", ".", "--val", "b.json", "--val-fraction", "0.2")
    code, _, err = call("new", "p.toml", *given)
    assert (code, err) == (
        1,
        "error: --val names the images to score on: leave out --val-fraction; see 'fineseg new --help'\n",
    )


@pytest.mark.realdata
def test_real_photographs(tmp_path: Path, shared_data: Path, call: Callable[..., Answer]) -> None:
    files = [f"--{key}={shared_data / 'furniture' / name}" for key, name in FURNITURE.items()]
    code, out, err = call("new", "furniture.toml", *files)
    assert (code, err) == (0, "") and "about 10 minutes" in out
    tables = tomllib.loads((tmp_path / "furniture.toml").read_text(encoding="utf-8"))
    assert tables["train"]["long_side"] == 256 and tables["models"]["first"]["head"]["name"] == "pointrend"


FURNITURE = {"coco": "instances_train.json", "val": "instances_val.json", "images": "images"}
