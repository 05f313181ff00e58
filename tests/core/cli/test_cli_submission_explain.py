"""`fineseg submission explain`: a file that a run's last stages wrote, elsewhere and later."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imported import heavy_after

from fineseg import make_instances
from fineseg.catalog import load_catalog
from fineseg.cli.main import main
from fineseg.console import Console
from fineseg.data import masks
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.facts import Made, run_facts, submission_record
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import read_data
from fineseg.stages.submit import submit
from fineseg.stages.train import Trained
from fineseg.store import Store, append_row, content_key
from fineseg_datasets.threedfuture_fixture import write_fixture

PROFILE = """
[competition]
name = "fixture"
title = "Chairs in rooms"

[data]
dataset = "3dfuture"
root = "data"
train = "train_new"
validation = "val_new"
test = "test"

[train]
epochs = 3
lr = 0.01
batch = 2
seed = 7

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"

[submission]
format = "3dfuture"
"""
METRICS = {"models": {"a": {"segm": {"AP": 31.25, "AP50": 50.5}}}, "combined": {"segm": {"AP": 31.25, "AP50": 50.5}}}
Answer = tuple[int, str, str]


def hand_in(folder: Path, out: str) -> Path:
    """Write a submission as the last stages of a run do, of a training and predictions that are made up."""
    catalog = load_catalog(warn=pytest.fail)
    loaded = load_profile(folder / "fixture.toml", catalog)
    console, store = Console(), Store(folder / "store")
    context = Context(loaded.profile, loaded.tables, loaded.file, catalog, store, console, Scheduler(console))
    prepared = read_data(context)
    entry = Trained("a", "0123456789abcdef", store.folder("train", "0123456789abcdef"))
    if not entry.weights.exists():
        entry.folder.mkdir(parents=True)
        entry.weights.write_bytes(b"weights")
        append_row(entry.folder / "ledger.jsonl", {"steps": 60, "seconds": 36.0, "cores": 2, "device": "cpu"})
    rng = np.random.default_rng(0)
    mask = rng.random((96, 96)) < 0.5
    found = [
        make_instances(i.id, (96, 96), [4], [0.5], [[0, 0, 96, 96]], [masks.encode(mask)])
        for i in prepared.splits.test.images
    ]
    write_instances(folder / "p.parquet", found)
    combined = Predicted("a", "test", "fedcba9876543210", (folder / "p.parquet",))
    made = Made("fineseg run fixture.toml", "2026-01-02T03:04:05+00:00", {}, {}, {"a": entry}, {}, combined)
    (folder / out).mkdir()
    record = submission_record(run_facts(context, prepared, made), METRICS)
    written = submit(context, prepared, combined, folder / out, record)
    assert written is not None
    return written


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a profile, its data, a store, and a submission in `out`."""
    folder = tmp_path_factory.mktemp("competition")
    write_fixture(folder / "data", {"train": 4, "test": 3})
    (folder / "fixture.toml").write_text(PROFILE)
    hand_in(folder, "out")
    return folder


@pytest.fixture
def explain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Return a function that runs the command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["submission", "explain", *arguments])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def test_the_bare_file_tells(site: Path, tmp_path: Path, explain: Callable[..., Answer]) -> None:
    shutil.copy(site / "out" / "submission.zip", tmp_path / "s.zip")
    code, out, err = explain("s.zip")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name, words in {
        "command": ["fineseg run fixture.toml"],
        "run started": ["2026-01-02T03:04:05+00:00"],
        "competition": ["Chairs in rooms"],
        "model a": ["resnet + fpn + mask-rcnn", "epochs 3", "lr 0.01"],
        "seeds": ["train.seed 7"],
        "split train_new": ["3 images", "digest"],
        "split test": ["3 images", "digest"],
        "weights a": [
            hashlib.sha256(b"weights").hexdigest()[:16],
            "60 steps in 36 s on cpu",
            "training 0123456789abcdef",
        ],
        "held-out AP": ["AP 31.25", "AP50 50.5"],
        "cost in all": ["0.02 CPU-hours"],
        "hardware": ["cores", "GiB"],
        "versions": ["python 3.", "fineseg ", "torch ", "onedl-mmdetection "],
        "plugins": ["fineseg-datasets "],
    }.items():
        (line,) = [line for line in lines if line.startswith(f"{name}  ") or line.startswith(f"{name} ")]
        assert all(word in line for word in words), line
    width = max(len(line.split("  ")[0]) for line in lines)
    assert all(line[width : width + 2] == "  " and line[width + 2] != " " for line in lines) and len(lines) < 35


def test_as_json(site: Path, explain: Callable[..., Answer]) -> None:
    code, out, err = explain(str(site / "out" / "submission.zip"), "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert set(answer) == {"file", "content", "found", "record"}
    record = answer["record"]
    assert record["profile"]["train"]["epochs"] == 3
    assert record["settings"]["digest"] == content_key(record["profile"])
    assert record["scores"] == METRICS
    assert set(record["data"]["splits"]) == {"train_new", "val_new", "test"}
    assert len(record["trainings"]["a"]["weights_sha256"]) == 64


def test_a_stripped_file_is_found_in_the_store(site: Path, tmp_path: Path, explain: Callable[..., Answer]) -> None:
    with zipfile.ZipFile(site / "out" / "submission.zip") as archive:
        (tmp_path / "results.json").write_bytes(archive.read("segmentation_results.json"))
    code, out, err = explain("results.json", "--store", str(site / "store"))
    assert (code, err) == (0, "") and f"the store {site / 'store'}, by the file's content" in out
    assert explain("results.json") == (
        1,
        "",
        "error: results.json: carries no record of where it comes from, and the store .fineseg knows no submission of "
        "this content; give --store the store of the run that wrote it\n",
    )


def test_the_same_run_again_differs_in_the_comment_alone(site: Path) -> None:
    first, second = site / "out" / "submission.zip", hand_in(site, "again")
    comments = []
    contents = []
    for file in (first, second):
        with zipfile.ZipFile(file) as archive:
            comments.append(archive.comment)
        contents.append(file.read_bytes()[: -len(comments[-1]) - 2])
    assert contents[0] == contents[1] and all(len(comment) > 1000 for comment in comments)


def test_the_checker_takes_the_file(
    site: Path, explain: Callable[..., Answer], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["submission", "check", str(site / "out" / "submission.zip"), "--profile", str(site / "fixture.toml")])
    assert not caught.value.code and ": ok; format '3dfuture'" in capsys.readouterr().out


def test_nothing_heavy_is_imported(site: Path, tmp_path: Path) -> None:
    assert heavy_after("submission", "explain", site / "out" / "submission.zip", folder=tmp_path) == set()
