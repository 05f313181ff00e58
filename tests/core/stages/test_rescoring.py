"""What a run says of its combination is what its submission reaches when anyone scores the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fineseg import Instances, make_instances
from fineseg.catalog import load_catalog
from fineseg.console import Console
from fineseg.data import masks
from fineseg.metrics.mask_ap import COCO_AREA_RANGES
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.run import metrics_table
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.evaluate import evaluate
from fineseg.stages.files import score_file
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared, read_data
from fineseg.stages.submit import submit
from fineseg.store import Store
from fineseg_datasets.threedfuture_fixture import write_fixture

KEYS = ["AP", "AP50", "AP75"]
PROFILE = """
[competition]
name = "fixture"

[data]
dataset = "3dfuture"
root = "data"
train = "train_new"
validation = "val_new"

[train]
epochs = 1
lr = 0.01
batch = 2

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fixture")
    write_fixture(folder / "data", {"train": 24})
    return folder


def context_of(folder: Path, submission: str, store: Path) -> Context:
    profile = folder / "fixture.toml"
    profile.write_text(PROFILE + submission)
    catalog = load_catalog(warn=pytest.fail)
    loaded = load_profile(profile, catalog)
    console = Console()
    return Context(loaded.profile, loaded.tables, profile, catalog, Store(store), console, Scheduler(console))


def predictions_of(prepared: Prepared) -> list[Instances]:
    """Return shifted true masks, many an image, with scores that are equal to three decimals often, to more never."""
    rng = np.random.default_rng(0)
    made = []
    for image in prepared.splits.validation.images:
        objects = prepared.splits.validation.objects_of(image.id)
        chosen = [objects[n] for n in rng.integers(0, len(objects), 130)]
        found = []
        for each in chosen:
            rle = masks.to_rle(each.segmentation, image.height, image.width)
            mask = masks.decode(rle["counts"], image.height, image.width)
            found.append(masks.encode(np.roll(mask, rng.integers(-4, 5, 2), (0, 1))))
        scores = rng.integers(100, 115, len(found)) / 200 + rng.uniform(-4e-4, 4e-4, len(found))
        boxes = masks.boxes(found, image.height, image.width)
        labels = [each.label for each in chosen]
        made.append(make_instances(image.id, (image.height, image.width), labels, scores, boxes, found))
    return made


def truth_of_validation(folder: Path, prepared: Prepared) -> Path:
    """Write the challenge's own training file, cut down to the images that are held out."""
    whole = json.loads((folder / "data" / "annotations" / "train_set.json").read_text())
    held = {image.id for image in prepared.splits.validation.images}
    whole["images"] = [row for row in whole["images"] if row["id"] in held]
    whole["annotations"] = [row for row in whole["annotations"] if row["image_id"] in held]
    (folder / "truth.json").write_text(json.dumps(whole))
    return folder / "truth.json"


def plain(results: Any) -> dict[str, Any]:
    return {kind: result.plain()["summary"] for kind, result in results.items()}


@pytest.mark.parametrize("submission", ['format = "3dfuture"', 'format = { name = "coco-json", score_decimals = 2 }'])
def test_a_submission_scores_as_the_run_says(folder: Path, tmp_path: Path, submission: str) -> None:
    context = context_of(folder, f"\n[submission]\n{submission}\n", tmp_path / "store")
    prepared = read_data(context)
    write_instances(tmp_path / "p.parquet", predictions_of(prepared))
    combined = Predicted("combined", "validation", "0" * 16, (tmp_path / "p.parquet",))
    said = plain(evaluate(context, prepared, combined, submitted=True))
    written = submit(context, prepared, combined, tmp_path, {})
    assert written is not None
    truth = truth_of_validation(folder, prepared)
    scores = score_file(written, truth, COCO_AREA_RANGES, (1, 10, 100), context.console)
    assert {kind: scores.plain()[kind] for kind in said} == said
    raw = plain(evaluate(context, prepared, combined))
    assert raw["segm"]["AP"] != said["segm"]["AP"]  # so the file's rounding and its limit count
    assert 1 < said["segm"]["AP"] < 99


def test_without_a_format_predictions_count_as_they_are(folder: Path, tmp_path: Path) -> None:
    context = context_of(folder, "", tmp_path / "store")
    prepared = read_data(context)
    write_instances(tmp_path / "p.parquet", predictions_of(prepared))
    combined = Predicted("combined", "validation", "0" * 16, (tmp_path / "p.parquet",))
    first, second = (evaluate(context, prepared, combined, submitted=s) for s in (True, False))
    assert plain(first) == plain(second)
    table = metrics_table({"a": first, "combined": second}, {}, {})
    assert table == {"models": {"a": plain(first)}, "combined": plain(second)}
    assert list(table["combined"]) == ["segm", "boundary", "holes"] and list(table["combined"]["boundary"]) == KEYS
    assert list(table["combined"]["segm"]) == [*KEYS, "APs", "APm", "APl"]
    assert submit(context, prepared, combined, tmp_path, {}) is None
