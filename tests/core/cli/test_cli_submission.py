"""`fineseg submission check`: what a sound file holds, every planted fault by its line, and no torch."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imported import heavy_after

from fineseg import make_instances
from fineseg.cli.main import main
from fineseg.data import masks
from fineseg_datasets import threedfuture, threedfuture_submission
from fineseg_datasets.options import ThreeDFutureOptions, ThreeDFutureSubmissionOptions
from fineseg_datasets.threedfuture_fixture import write_fixture

NAME = "segmentation_results.json"
PROFILE = """
[competition]
name = "fixture"

[data]
dataset = "3dfuture"
root = "data"
train = "train_new"
validation = "val_new"
test = "test"

[train]
epochs = 1
lr = 0.01
batch = 2

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"

[submission]
format = "3dfuture"
"""
Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a profile, its data and a sound submission."""
    folder = tmp_path_factory.mktemp("competition")
    write_fixture(folder / "data", {"train": 4, "test": 3})
    (folder / "fixture.toml").write_text(PROFILE)
    split = threedfuture.read(ThreeDFutureOptions(), folder / "data", "test")
    rng = np.random.default_rng(0)
    predictions = {}
    for image in split.images:
        mask = np.zeros((4, image.height, image.width), bool)
        for n in range(4):
            x, y = rng.integers(0, 60, 2)
            mask[n, y : y + 30, x : x + 20] = True
        boxes = [[0, 0, 9, 9]] * 4
        coded = [masks.encode(each) for each in mask]
        predictions[image.id] = make_instances(image.id, (96, 96), [4, 12, 4, 33], rng.random(4), boxes, coded)
    threedfuture_submission.write(ThreeDFutureSubmissionOptions(), split, predictions, folder / "sound.zip")
    return folder


@pytest.fixture
def check(
    site: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    no_progress: None,
) -> Callable[..., Answer]:
    """Return a function that runs the command on a file with the site's profile: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(file: Path, *more: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["submission", "check", str(file), "--profile", str(site / "fixture.toml"), *more])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def rewritten(site: Path, target: Path, change: Callable[[Any], object]) -> Path:
    with zipfile.ZipFile(site / "sound.zip") as archive:
        document = json.loads(archive.read(NAME))
    change(document)
    return zipped(target, {NAME: json.dumps(document)})


def zipped(target: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return target


def put(key: str, value: Any) -> Callable[[Any], object]:
    return lambda document: document["annotations"][1].__setitem__(key, value)


def test_a_sound_file_is_one_line(site: Path, check: Callable[..., Answer]) -> None:
    file = site / "sound.zip"
    line = (
        f"{file}: ok; format '3dfuture' for the 3 images of 'test'; "
        "12 detections in 3 images (at most 4 in one), of 3 of 34 classes\n"
    )
    assert check(file) == (0, line, "")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (put("image_id", 9), "annotations[1]: image_id 9 is in no image; known ids 1..3"),
        (put("category_id", 35), "annotations[1]: category_id 35 is in no category; known ids 1..34"),
        (
            put("segmentation", {"size": [96, 95], "counts": "PT2"}),
            "annotations[1]: segmentation: size is [96, 95]; image 1 is [96, 96] (height, width)",
        ),
        (
            put("segmentation", {"size": [96, 96], "counts": "4P"}),
            "annotations[1]: segmentation: counts stops inside a number",
        ),
        (
            put("segmentation", {"size": [96, 96], "counts": "`0"}),
            "annotations[1]: segmentation: the runs of counts cover 16 pixels; the image has 9216",
        ),
        (put("score", 1.01), "annotations[1]: score is 1.01; it must be from 0 to 1"),
        (put("score", "0.5"), "annotations[1]: score is '0.5'; it must be a number"),
        (put("score", float("nan")), "annotations[1]: score is nan; it must be from 0 to 1"),
        (
            lambda d: d["annotations"].append(d["annotations"][0]),
            "annotations[12]: repeats annotations[0]: same image, class, mask and score",
        ),
        (lambda d: d["annotations"][1].pop("category_id"), "annotations[1]: category_id is missing"),
        (lambda d: d.pop("annotations"), "annotations is missing"),
        (
            lambda d: d["annotations"].extend({**d["annotations"][0], "score": n / 200} for n in range(97)),
            "annotations: image_id 1 has 101 entries; at most 100 are allowed",
        ),
        (lambda d: d["images"].pop(), "images: lacks 1 of 3 images, first image_id 3"),
    ],
)
def test_planted_fault_in_the_json(
    change: Callable[[Any], object], line: str, site: Path, tmp_path: Path, check: Callable[..., Answer]
) -> None:
    file = rewritten(site, tmp_path / "s.zip", change)
    assert check(file) == (1, "", f"error: {file}: {NAME}: {line}\n")


def test_every_fault_is_a_line(site: Path, tmp_path: Path, check: Callable[..., Answer]) -> None:
    def change(document: Any) -> None:
        document["annotations"][0]["score"] = 2
        document["annotations"][5]["image_id"] = 0
        document["images"][2]["width"] = 9

    file = rewritten(site, tmp_path / "s.zip", change)
    code, out, err = check(file)
    assert (code, out) == (1, "")
    assert [line.removeprefix(f"error: {file}: {NAME}: ").split(":")[0] for line in err.splitlines()] == [
        "images[2]",
        "annotations[0]",
        "annotations[5]",
    ]


def test_settings_change_what_is_right(site: Path, tmp_path: Path, check: Callable[..., Answer]) -> None:
    setting = 'submission.format={ name = "3dfuture", max_per_image = 3 }'
    code, _, err = check(site / "sound.zip", "--set", setting)
    assert (code, len(err.splitlines())) == (1, 3) and "has 4 entries; at most 3 are allowed" in err
    assert check(tmp_path / "none.zip") == (1, "", f"error: {tmp_path / 'none.zip'}: no such file\n")
    code, _, err = check(site / "sound.zip", "--set", "data.root=nowhere")
    assert (code, err.count("\n")) == (1, 1) and "data.root: no folder" in err


def test_a_profile_without_submission(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text(PROFILE.partition("[submission]")[0].replace('root = "data"', f'root = "{site / "data"}"'))
    with pytest.raises(SystemExit):
        main(["submission", "check", str(site / "sound.zip"), "--profile", str(profile)])
    assert capsys.readouterr().err == (
        f"error: {profile}: submission: missing; the profile needs [submission] to say what is right\n"
    )


def test_data_that_is_drawn_is_drawn_once(tmp_path: Path, check: Callable[..., Answer]) -> None:
    settings = ['data.dataset={ name = "showroom", size = 32, train = 2, val = 1, test = 2 }', "data.train=train"]
    settings += ["data.validation=val", "submission.format=coco-json"]
    file = tmp_path / "s.json"
    row = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": {"size": [32, 32], "counts": "0PP1"}}
    file.write_text(json.dumps([row]))
    words = [word for setting in settings for word in ("--set", setting)]
    code, out, err = check(file, *words)
    assert (code, out.partition("; ")[2]) == (
        0,
        "format 'coco-json' for the 2 images of 'test'; 1 detections in 1 images (at most 1 in one), "
        "of 1 of 13 classes\n",
    ), err
    assert sorted(mark.name for mark in (tmp_path / ".fineseg").rglob("*.done.json")) == ["test.done.json"]


def test_nothing_heavy_is_imported(site: Path, tmp_path: Path) -> None:
    words = ("submission", "check", site / "sound.zip", "--profile", site / "fixture.toml")
    assert heavy_after(*words, folder=tmp_path) == set()
