"""`fineseg run` on a split in folds as a user calls it: whole, again, and with one more training on all images."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fineseg import FinesegError
from fineseg.catalog import load_catalog
from fineseg.console import Console
from fineseg.predictions import read_instances
from fineseg.profile import load_profile
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.held_out import refuse_seen, trained_on
from fineseg.stages.predict import predict
from fineseg.stages.prepare import read_data
from fineseg.stages.train import train, train_final
from fineseg.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PROFILE = Path(__file__).parent / "micro.toml"
SETTINGS = ('competition.models=["plain"]', "train.epochs=1", 'data.validation={ folds = 2, merge = "soft-nms" }')
STEPS = 2 * 3  # folds x steps an epoch
IMAGES = 12 + 2 * 4  # every training image once, the test images by each training


def run(folder: Path, out: str, *settings: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Run the profile; return metrics, manifest and what was said."""
    command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", out]
    command += [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    read = [json.loads((folder / out / name).read_text()) for name in ("metrics.json", "manifest.json")]
    return read[0], read[1], done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("folds")
    metrics, manifest, _ = run(folder, "out")
    return folder, metrics, manifest


def test_every_image_is_predicted_once_by_a_training_that_has_not_seen_it(made: Any) -> None:
    folder, metrics, manifest = made
    folds = json.loads((folder / "out" / "folds.json").read_text())
    assert folds["folds"] == 2 and Counter(folds["images"].values()) == {0: 6, 1: 6}
    assert manifest["work"] == {"optimizer_steps": STEPS, "forward_passes": IMAGES}
    (pictures,) = (folder / "store" / "data").glob("*/images/train")
    hashes = {int(file.stem): hashlib.sha256(file.read_bytes()).hexdigest() for file in pictures.iterdir()}
    found: Counter[int] = Counter()
    for fold in (0, 1):
        seen = trained_on(folder / "out" / "models" / f"plain fold {fold}" / "weights.pth")
        assert seen is not None and len(seen) == 6
        answers = folder / "out" / "predictions" / f"plain fold {fold}" / "validation"
        for number in read_instances(sorted(answers.glob("*.parquet"))):
            found[number] += 1
            assert folds["images"][str(number)] == fold and hashes[number] not in seen
    assert found == dict.fromkeys(range(1, 13), 1)
    assert len(metrics["models"]["plain"]["folds"]) == 2 and "segm" in metrics["models"]["plain"]
    assert manifest["folds"]["images"] == [6, 6] and manifest["folds"]["seed"] == 0
    assert {(row["stage"], *row["models"]) for row in manifest["cost"]["rows"]} == {
        ("train", "plain (folds)"),
        ("predict", "plain (folds)"),
    }
    assert "Folds" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_the_answers_for_the_test_split_are_merged(made: Any) -> None:
    folder, _, manifest = made
    parts = [folder / "out" / "predictions" / f"plain fold {fold}" / "test" for fold in (0, 1)]
    read = [read_instances(sorted(part.glob("*.parquet"))) for part in parts]
    merged = read_instances((folder / "store" / "combine" / manifest["predictions"]["plain test"]).glob("*.parquet"))
    assert merged.keys() == read[0].keys() == read[1].keys() and len(merged) == 4
    for number, found in merged.items():
        assert set(found.masks) <= {mask for part in read for mask in part[number].masks}
    assert sum(map(len, merged.values())) > 0


def test_the_same_again_does_no_work(made: Any) -> None:
    folder, metrics, _ = made
    again, manifest, text = run(folder, "again")
    assert again == metrics and manifest["work"] == {"optimizer_steps": 0, "forward_passes": 0}
    assert "starting Ray" not in text


def test_one_more_training_on_all_images_predicts_the_test_split_and_tunes_nothing(made: Any) -> None:
    folder, metrics, _ = made
    final, manifest, _ = run(folder, "final", "train.final=all")
    assert final["models"] == metrics["models"]
    assert manifest["work"] == {"optimizer_steps": 6, "forward_passes": 4}  # all 12 images two at a time; the test
    seen = trained_on(folder / "final" / "models" / "plain (all images)" / "weights.pth")
    assert seen is not None and len(seen) == 12

    catalog, console = load_catalog(warn=print), Console()
    loaded = load_profile(PROFILE, catalog, settings=[*SETTINGS, "train.final=all"])
    store, scheduler = Store(folder / "store"), Scheduler(console)
    context = Context(loaded.profile, loaded.tables, loaded.file, catalog, store, console, scheduler)
    prepared = read_data(context)
    trained = train(context, prepared)
    answer = predict(context, prepared, {"validation": trained})["plain", "validation"]
    refuse_seen(prepared, [answer], [])
    whole = train_final(context, prepared, trained)["plain"]
    with pytest.raises(
        FinesegError, match=r"^model plain: was trained on 12 of the 12 images that it is to be tuned on"
    ):
        refuse_seen(prepared, [replace(answer, parts=(), weights=whole.weights)], ["plain"])
