"""`fineseg check --data`: findings by harm on stderr, or all of them as JSON on stdout and nothing else there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fineseg.cli.main import main

PROFILE = """
[competition]
name = "blobs"

[data]
dataset = { name = "coco-instance", annotations = "{split}.json", images = "." }
root = "data"
train = "train"
validation = "val"

[train]
epochs = 1
lr = 0.01
batch = 2

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"
"""
SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]
Answer = tuple[int, str, str]


def write_split(folder: Path, split: str, areas: list[int]) -> None:
    """Write a split of one object an image, whose areas are given so."""
    for number in range(1, len(areas) + 1):
        noise = np.random.default_rng([number, *split.encode()]).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{split}{number}.png")
    row: dict[str, Any] = {"category_id": 1, "segmentation": SQUARE, "bbox": [5, 5, 20, 20]}
    document = {
        "images": [
            {"id": n, "file_name": f"{split}{n}.png", "width": 50, "height": 40} for n in range(1, len(areas) + 1)
        ],
        "annotations": [{"id": n, "image_id": n, "area": area, **row} for n, area in enumerate(areas, 1)],
        "categories": [{"id": 1, "name": "blob"}],
    }
    (folder / f"{split}.json").write_text(json.dumps(document))


@pytest.fixture
def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_progress: None
) -> Callable[..., Answer]:
    """Return a function that runs the command in a folder with a profile: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blobs.toml").write_text(PROFILE)
    (tmp_path / "data").mkdir()

    def run(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["check", "blobs.toml", *arguments])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def test_sound_data(tmp_path: Path, check: Callable[..., Answer]) -> None:
    write_split(tmp_path / "data", "train", [400, 400])
    write_split(tmp_path / "data", "val", [400])
    assert check("--data") == (0, "blobs.toml: ok; models a; next: fineseg run blobs.toml\n", "")
    assert check("--data", "--json") == (0, "[]\n", "")


def test_warnings_leave_the_profile_ok(tmp_path: Path, check: Callable[..., Answer]) -> None:
    write_split(tmp_path / "data", "train", [4, 5, 6, 7])
    write_split(tmp_path / "data", "val", [400])
    code, out, err = check("--data")
    assert (code, out) == (0, "blobs.toml: ok; models a; next: fineseg run blobs.toml\n")
    assert err == (
        "warning: 4 stated areas are far from the mask's: "
        "train: image 1 (train1.png): object 1: its area is given as 4; its mask has 400 pixels; "
        "train: image 2 (train2.png): object 2: its area is given as 5; its mask has 400 pixels; "
        "train: image 3 (train3.png): object 3: its area is given as 6; its mask has 400 pixels; and 1 more\n"
    )
    code, out, err = check("--data", "--json")
    assert (code, err, len(json.loads(out))) == (0, "", 4)


def test_errors_first_and_exit_code_1(tmp_path: Path, check: Callable[..., Answer]) -> None:
    write_split(tmp_path / "data", "train", [4, 400])
    write_split(tmp_path / "data", "val", [400, 400])
    (tmp_path / "data" / "val1.png").write_bytes((tmp_path / "data" / "train2.png").read_bytes())
    (tmp_path / "data" / "val2.png").unlink()
    code, out, err = check("--data")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error: val: image 1 (val1.png): is the same file as train: image 2 (train2.png)",
        f"error: val: image 2 (val2.png): {tmp_path / 'data' / 'val2.png'}: no such file",
        "warning: train: image 1 (train1.png): object 1: its area is given as 4; its mask has 400 pixels",
    ]
    code, out, err = check("--data", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == [
        {
            "severity": "error",
            "kind": "file-in-two-splits",
            "where": "val: image 1 (val1.png)",
            "what": "is the same file as train: image 2 (train2.png)",
        },
        {
            "severity": "error",
            "kind": "image-missing",
            "where": "val: image 2 (val2.png)",
            "what": f"{tmp_path / 'data' / 'val2.png'}: no such file",
        },
        {
            "severity": "warning",
            "kind": "area-off",
            "where": "train: image 1 (train1.png): object 1",
            "what": "its area is given as 4; its mask has 400 pixels",
        },
    ]


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "--data", "--explain", "train.lr"]])
def test_json_goes_with_data(check: Callable[..., Answer], arguments: list[str]) -> None:
    assert check(*arguments) == (
        1,
        "",
        "error: --json prints what --data finds: give --data, and no --explain; see 'fineseg check --help'\n",
    )
