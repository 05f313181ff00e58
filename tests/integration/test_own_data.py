"""`fineseg new`, then `run`, then `board` and `diff`: somebody's own data, with nothing but what the commands say."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fineseg_datasets.showroom import write_panoptic_split

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
SIDE = 96


def fineseg(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "fineseg", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_squares(folder: Path, images: int) -> None:
    """Write noisy images with a bright and a dark square each, and their annotations."""
    rng = np.random.default_rng(0)
    rows, objects = [], []
    (folder / "pictures").mkdir()
    for number in range(1, images + 1):
        pixels = rng.integers(90, 150, (SIDE, SIDE, 3), dtype=np.uint8)
        for label, left in ((1, 4), (2, 52)):
            x, y, side = left + int(rng.integers(0, 8)), int(rng.integers(0, 50)), int(rng.integers(20, 32))
            pixels[y : y + side, x : x + side] = 255 if label == 1 else 0
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            row = {"id": len(objects) + 1, "image_id": number, "category_id": label, "area": side * side}
            objects.append(row | {"segmentation": [outline], "bbox": [x, y, side, side]})
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        rows.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
    classes = [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]
    (folder / "mine.json").write_text(json.dumps({"images": rows, "annotations": objects, "categories": classes}))


def test_from_annotations_to_the_board(tmp_path: Path) -> None:
    write_squares(tmp_path, 12)
    given = ("--coco", "mine.json", "--images", "pictures", "--weights", "none", "--val-fraction", "0.25")
    assert "next: fineseg run p.toml" in fineseg(tmp_path, "new", "p.toml", *given)
    fineseg(tmp_path, "check", "p.toml", "--data")
    fineseg(tmp_path, "run", "p.toml", "--set", "train.epochs=1", "--out", "runs/first")
    again = ("--set", "train.epochs=1", "--set", "predict.score_threshold=0.2", "--out", "runs/again")
    fineseg(tmp_path, "run", "p.toml", *again)
    classes = json.loads((tmp_path / "runs" / "first" / "classes.json").read_text())
    assert classes.keys() == {"first", "combined"}
    assert [row["class"] for row in classes["combined"]] == ["bright", "dark"]
    (rows,) = json.loads(fineseg(tmp_path, "board", "--json"))["competitions"].values()
    assert sorted((row["folder"], *row["differs"].items()) for row in rows) == [
        ("runs/again", ("predict.score_threshold", 0.2)),
        ("runs/first",),
    ]
    assert all(row["cost"]["cpu_hours"] > 0 and row["models"].keys() == {"first"} for row in rows)
    found = json.loads(fineseg(tmp_path, "diff", "runs/first", "runs/again", "--json"))
    assert found["settings"] == {"predict.score_threshold": [0.05, 0.2]} and found["data"] == []


def test_from_panoptic_files_to_maps(tmp_path: Path) -> None:
    write_panoptic_split(tmp_path, "train", 8, (96, 64), seed=1)
    given = ("--coco", "annotations/panoptic_train.json", "--images", "images", "--weights", "none")
    assert "next: fineseg run p.toml" in fineseg(tmp_path, "new", "p.toml", *given, "--val-fraction", "0.25")
    fineseg(tmp_path, "run", "p.toml", "--set", "train.epochs=1", "--out", "first")
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert list(metrics["combined"]["panoptic"]) == ["All", "Things", "Stuff"]
    assert metrics["combined"]["panoptic"]["Stuff"]["n"] > 3
    with zipfile.ZipFile(tmp_path / "first" / "submission.zip") as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 2
