"""`fineseg run` as a user calls it: whole, again, after a change, and after kill -9 in training and in prediction."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from planted import Planted

from fineseg import Instances
from fineseg.predictions import read_instances
from fineseg.provenance.record import explained
from fineseg.store import read_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PROFILE = Path(__file__).parent / "micro.toml"
STEPS = 2 * 4 * 6  # models x epochs x steps an epoch
IMAGES = 2 * (8 + 4)  # models x (validation + test)


def start(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", out, *more]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a background job's children ignore Ctrl-C; here it is to be answered, wherever the tests run
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    return text


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Kill -9 the driver as soon as `ready`, and wait until no process of its Ray can write any more.

    Ray's own two agents notice a minute later; they write nothing of ours.
    """
    family = psutil.Process(process.pid)
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the moment to kill at did not come"
        time.sleep(0.05)
    children = [child for child in family.children(recursive=True) if "Agent" not in child.name()]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, f"left behind: {[p.cmdline() for p in alive if p.is_running()]}"


def result(folder: Path, out: str) -> tuple[dict[str, Any], dict[str, Any]]:
    run = folder / out
    return json.loads((run / "metrics.json").read_text()), json.loads((run / "manifest.json").read_text())


def predictions(folder: Path) -> dict[tuple[str, int], Instances]:
    """Return all stored predictions by (entry's key, image id): equal keys must hold equal predictions."""
    files = sorted((folder / "store" / "predict").glob("*/*.parquet"))
    return {(file.parent.name, image): found for file in files for image, found in read_instances([file]).items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, finish(start(folder, "out"))


def test_a_run_leaves_what_it_promises(undisturbed: tuple[Path, str]) -> None:
    folder, text = undisturbed
    metrics, manifest = result(folder, "out")
    assert set(metrics) == {"models", "combined"} and set(metrics["models"]) == {"rendered", "plain"}
    for table in [*metrics["models"].values(), metrics["combined"]]:
        assert list(table["segm"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
        assert all(value is None or 0 <= value <= 100 for value in table["segm"].values())
    assert manifest["work"] == {"optimizer_steps": STEPS, "forward_passes": IMAGES}
    out = folder / "out"
    assert (out / "submission.zip").stat().st_size > 100
    record, found = explained(out / "submission.zip", folder / "nowhere")
    assert found == "the file's own comment" and record["scores"] == metrics
    assert {name: record[name] for name in manifest if name != "seconds"} == {
        name: value for name, value in manifest.items() if name != "seconds"
    }
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "models" / "plain" / "weights.pth").is_file()
    assert sum(len(found) for found in predictions(folder).values()) > 100
    wrote, last = text.splitlines()[-2:]
    assert wrote == "wrote out/submission.zip"
    assert last.startswith("done in ") and last.endswith(": open out/report.html in a browser")
    assert not [line for line in text.splitlines() if "INFO" in line or "WARNING" in line or "(pid=" in line]
    assert not list((folder / "store").rglob("*.part")) and not list((folder / "store").rglob("lock.json"))


def test_the_same_again_does_no_work_and_a_new_combine_only_combines(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    before = sorted(str(p) for kind in ("train", "predict", "data") for p in (folder / "store" / kind).rglob("*"))
    text = finish(start(folder, "again"))
    first, second = result(folder, "out"), result(folder, "again")
    assert second[0] == first[0]
    assert second[1]["work"] == {"optimizer_steps": 0, "forward_passes": 0}
    assert "starting Ray" not in text

    finish(start(folder, "changed", "--set", "combine.ensembler.nms_iou=0.3"))
    changed = result(folder, "changed")
    assert changed[1]["work"] == {"optimizer_steps": 0, "forward_passes": 0}
    assert changed[1]["combined"] != first[1]["combined"]
    assert changed[0]["models"] == first[0]["models"]
    after = sorted(str(p) for kind in ("train", "predict", "data") for p in (folder / "store" / kind).rglob("*"))
    assert after == before


def test_killed_in_training_and_in_prediction_it_ends_as_undisturbed(
    undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    kill_when(start(tmp_path, "out"), lambda: bool(list(store.glob("train/*/ray/checkpoint_*/state.pth"))))
    assert not list(store.glob("train/*/done.json"))
    kill_when(start(tmp_path, "out"), lambda: bool(list(store.glob("predict/*/*.parquet"))))
    assert not (tmp_path / "out" / "metrics.json").exists()
    finish(start(tmp_path, "out"))

    assert result(tmp_path, "out")[0] == result(undisturbed[0], "out")[0]
    killed, whole = predictions(tmp_path), predictions(undisturbed[0])
    assert killed.keys() == whole.keys()
    for place, found in whole.items():
        for column in ("labels", "scores", "boxes", "masks"):
            assert np.array_equal(getattr(killed[place], column), getattr(found, column)), (place, column)


def test_two_workers_share_a_batch(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    settings = ["train.workers=2", "train.seed=5", 'competition.models=["plain"]', "train.epochs=2"]
    finish(start(folder, "two", *(word for setting in settings for word in ("--set", setting))))
    metrics, manifest = result(folder, "two")
    assert set(metrics["models"]) == {"plain"}
    assert manifest["work"] == {"optimizer_steps": 2 * 6, "forward_passes": 8 + 4}
    ledger = Path(manifest["trainings"]["plain"]["folder"]) / "ledger.jsonl"
    assert {row["workers"] for row in read_rows(ledger)} == {2}


def test_given_weights_and_a_final_training(undisturbed: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = undisturbed
    given = folder / "out" / "models" / "rendered" / "weights.pth"
    settings = ["train.final=all", "train.epochs=2"]
    finish(
        start(folder, "all", "--weights", f"rendered={given}", *(w for setting in settings for w in ("--set", setting)))
    )
    metrics, manifest = result(folder, "all")
    assert metrics["models"]["rendered"] == result(folder, "out")[0]["models"]["rendered"]
    scored, final = manifest["trainings"]["plain"], manifest["trainings"]["plain (all images)"]
    assert scored["key"] != final["key"] and set(manifest["trainings"]) == {"rendered", "plain", "plain (all images)"}
    # 12 training images, then these and the 8 of validation; both predict the 4 test images, one the 8 of validation
    assert (scored["steps"], final["steps"]) == (2 * 6, 2 * 10)
    assert manifest["work"] == {"optimizer_steps": 2 * 6 + 2 * 10, "forward_passes": 2 * 8 + 2 * 4}

    torch.save({"model": Planted(tmp_path / "written")}, tmp_path / "bad.pth")
    refused = start(folder, "bad", "--weights", f"plain={tmp_path / 'bad.pth'}")
    text, _ = refused.communicate(timeout=100)
    assert refused.returncode == 1 and "bad.pth: refused: not a file of plain tensors" in text.splitlines()[-1]
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_soon_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "out")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "store").glob("train/*/curve.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    pressed = time.monotonic()
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert text.splitlines()[-1] == "interrupted: the same command continues"
    assert time.monotonic() - pressed < 10
    assert len(children) > 3 and not psutil.wait_procs(children, timeout=20)[1]
    assert not list((tmp_path / "store").rglob("lock.json"))
