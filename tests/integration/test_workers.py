"""`train.workers = 2` through Ray Train, down to the weights, against one process that takes the workers' turns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import small_model
from worker_pair import WORLD, train_by_turns, weights_of

from fineseg.catalog import load_catalog
from fineseg.mm.training import TrainingJob
from fineseg.profile.check import check_tables
from fineseg.runs import read_splits
from fineseg.scheduling.orders import TrainingOrder
from fineseg.scheduling.session import ray_session
from fineseg.scheduling.training import train_all
from fineseg.store import read_rows
from fineseg_datasets.showroom import write_split

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
TRAIN: dict[str, Any] = {
    "epochs": 3,
    "lr": 0.01,
    "batch": 4,
    "workers": WORLD,
    "long_side": 96,
    "short_side": [64, 80],
    "schedule": {"warmup": 3},
    "clip_norm": 10.0,
    "validate_every": 3,
    "seed": 7,
}


def test_two_workers_train_what_one_process_does_by_turns(tmp_path: Path) -> None:
    """Seven images do not divide by two workers, nor four a worker by two a step twice over; both are to be met."""
    for split, images in (("train", 7), ("val", 3)):
        write_split(tmp_path, split, images, (80, 96), seed=1)
    tables = {
        "competition": {"name": "pair"},
        "data": {
            "dataset": {"name": "coco-instance", "annotations": "annotations/{split}.json", "images": "images"},
            "root": str(tmp_path),
        },
        "train": TRAIN,
        "models": {"a": small_model().model_dump(mode="json")},
        "predict": {"long_side": 96, "short_side": 80},
    }
    folder = tmp_path / "training"
    folder.mkdir()
    order = TrainingOrder(
        model="a",
        tables=tables,
        file="pair.toml",
        data_root=str(tmp_path),
        folder=str(folder),
        weights_cache=str(tmp_path),
        workers=WORLD,
        cpus=1,
        keep=1,
        best_by=None,
        epochs=TRAIN["epochs"],
    )
    with ray_session():
        failures = train_all([order], lambda topic, state: None, lambda order: None, print)
    assert failures == [None]

    catalog = load_catalog(warn=lambda line: pytest.fail(line))
    profile = check_tables(tables, catalog, Path("pair.toml"))
    splits = read_splits(profile, catalog, tmp_path)
    job = TrainingJob(
        profile.models["a"], profile.train, profile.predict, profile.metric, splits.train, splits.validation,
        tmp_path, tmp_path,
    )  # fmt: skip
    torch.set_num_threads(1)
    expected = train_by_turns(job, catalog, WORLD)
    found = weights_of(folder / "weights.pth")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    alone = train_by_turns(job, catalog, 1)
    assert any(not torch.allclose(alone[name], value, rtol=1e-2, atol=1e-3) for name, value in expected.items())
    ledger = read_rows(folder / "ledger.jsonl")
    assert [row["steps"] for row in ledger] == [2, 2, 2] and {row["workers"] for row in ledger} == {WORLD}
