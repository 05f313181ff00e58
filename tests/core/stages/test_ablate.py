"""The rows of an ablation table against a store: what is trained and predicted, what is shared, what a failure costs.

No Ray: trainings and predictions are pretended.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg import Category, Ensembler, ImageInfo, NoOptions, Split, TrueObject
from fineseg.ablate import ablation_record
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.data import masks
from fineseg.errors import FinesegError
from fineseg.predictions import make_instances, write_instances
from fineseg.profile import load_profile
from fineseg.profile.tables import rows_of, start_of
from fineseg.runs import Splits
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting, TrainingOrder
from fineseg.stages.ablate import Outcome, run_rows
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.store import WEIGHTS, Store, append_row, write_text

SQUARE = [[0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0]]
COUNTS = masks.encode(np.pad(np.ones((4, 4), bool), (0, 4)))
ROWS = """
[tables.t.rows.start]
published = { AP = 60.0 }
[tables.t.rows.threshold]
set = { "predict.mask_threshold" = 0.25 }
[tables.t.rows.deeper]
set = { "models.a.backbone.depth" = 9 }
published = { AP = 64.5 }
[tables.t.rows.back]
on = "start"
set = { "predict.mask_threshold" = 0.75 }
[tables.t.rows.gpu]
on = "deeper"
left_out = "needs a GPU"
published = { AP = 66.0 }
[tables.t.rows.slow]
set = { "train.lr" = 0.01 }
published = { AP = 65.0 }
"""


class Pretender:
    """Stands for the scheduler: counts orders, and predicts the truth with every model but those of `blind` depth."""

    def __init__(self, blind: int = 0, failing: float | None = None) -> None:
        self.blind, self.failing = blind, failing
        self.trained: list[str] = []
        self.predicted: list[str] = []
        self.predictions = 0

    def train(
        self, orders: Sequence[TrainingOrder], show: Any, ended: Callable[[TrainingOrder], None]
    ) -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for order in orders:
            self.trained.append(order.topic)
            if order.tables["train"]["lr"] == self.failing:
                outcomes.append(FinesegError("the loss is nan"))
                continue
            Path(order.folder).mkdir(parents=True, exist_ok=True)
            work = {"steps": 7, "seconds": 90.0, "device": "cpu", "memory_gib": 1.5}
            append_row(Path(order.folder) / "ledger.jsonl", work)
            write_text(Path(order.folder) / WEIGHTS, "trained")
            ended(order)
            outcomes.append(None)
        return outcomes

    def predict(self, orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Any) -> None:
        self.predictions += 1
        for order in orders:
            backbone = setting.tables["models"][order.model]["backbone"]
            blind = isinstance(backbone, dict) and backbone.get("depth") == self.blind
            self.predicted.append(order.topic)
            found = ([], [], [], []) if blind else ([0], [0.9], [[0, 0, 4, 4]], [COUNTS])
            instances = [make_instances(image, (8, 8), *found) for image in order.image_ids]
            write_instances(Path(order.file), instances)


class Bench:
    """A profile with a table, one store, and as many commands on them as one likes."""

    def __init__(self, folder: Path, table: str) -> None:
        self.folder, self.catalog = folder, toy_catalog()
        (folder / "toy.toml").write_text(PROFILE + table)
        image = ImageInfo(1, folder / "x.jpg", 8, 8)
        objects = {1: (TrueObject(1, 0, (0, 0, 4, 4), SQUARE, 16.0),)}
        split = Split("train", (Category(1, "chair"),), (image,), objects)
        self.prepared = Prepared(folder, Splits(split, split, split), {"train": "abc"}, {str(image.file): "hash"})

    def command(self, scheduler: Pretender, *only: str, settings: Sequence[str] = ()) -> dict[str, Outcome]:
        """Run rows, all where none is named."""
        file, catalog = self.folder / "toy.toml", self.catalog
        loaded = load_profile(file, catalog, settings=settings)
        rows = rows_of(loaded.tables, loaded.profile, "t", catalog, file)
        profile, tables = start_of(loaded.tables, loaded.profile, "t", catalog, file)
        context = Context(profile, tables, file, catalog, Store(self.folder / "store"), Console(), scheduler)  # type: ignore[arg-type]
        outcomes = run_rows(context, self.prepared, rows, only or [row.name for row in rows])
        self.record = ablation_record("t", loaded.profile.tables["t"], outcomes)
        return {outcome.row.name: outcome for outcome in outcomes}

    def rows(self, key: str) -> dict[str, Any]:
        """Return one thing of each row of the last command's record."""
        return {row["name"]: row[key] for row in self.record["rows"]}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, ROWS)


def test_rows_of_one_training_share_it_and_the_same_again_does_nothing(bench: Bench) -> None:
    first = Pretender(blind=9)
    outcomes = bench.command(first)
    assert first.trained == ["start", "deeper", "slow"]
    assert len(first.predicted) == 5  # the first training with three thresholds, the others with one
    assert first.predictions == 3  # one for each threshold
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "start": "scored",
        "threshold": "scored",
        "deeper": "scored",
        "back": "scored",
        "gpu": "left out",
        "slow": "scored",
    }
    again = Pretender(blind=9)
    bench.command(again)
    assert not again.trained and not again.predictions


def test_the_record_of_a_table(bench: Bench) -> None:
    bench.command(Pretender(blind=9))
    aps = {name: metrics["segm"]["AP"] for name, metrics in bench.rows("metrics").items() if metrics}
    assert aps == {"start": 100, "threshold": 100, "deeper": 0, "back": 100, "slow": 0}
    assert bench.rows("gain") == {
        "start": None,
        "threshold": 0,
        "deeper": -100,
        "back": 0,
        "gpu": None,
        "slow": 0,  # `gpu` is left out: compared with what that builds on
    }
    shared = {"start": None, "threshold": "start", "deeper": None, "back": "start", "gpu": None, "slow": None}
    assert bench.rows("shares_training_of") == shared
    gains = bench.rows("published_gain")
    assert gains["start"] is None and gains["threshold"] is None and gains["back"] is None
    assert gains["deeper"] == {"over": "start", "AP": 4.5, "measured": -100}
    assert gains["gpu"] == {"over": "deeper", "AP": 1.5, "measured": None}
    assert gains["slow"] == {"over": "gpu", "AP": -1.0, "measured": 0}
    (training,) = bench.rows("trainings")["slow"]
    assert (training["steps"], training["seconds"], training["memory_gib"]) == (7, 90.0, 1.5)


def test_a_row_that_fails_does_not_stop_others(bench: Bench) -> None:
    outcomes = bench.command(Pretender(failing=0.01))
    assert (outcomes["slow"].status, outcomes["slow"].why) == ("failed", "model a: the loss is nan")
    assert [name for name, outcome in outcomes.items() if outcome.status == "scored"] == [
        "start",
        "threshold",
        "deeper",
        "back",
    ]
    mended = Pretender()
    assert bench.command(mended)["slow"].status == "scored" and mended.trained == ["slow"]


def test_a_prediction_that_fails_fails_its_row_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Pretender()
    works = scheduler.predict

    def predict(orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Any) -> None:
        if setting.tables.get("predict", {}).get("mask_threshold") == 0.75:
            raise ZeroDivisionError("no room")
        works(orders, setting, show)

    monkeypatch.setattr(scheduler, "predict", predict)
    outcomes = bench.command(scheduler)
    assert (outcomes["back"].status, outcomes["back"].why) == ("failed", "ZeroDivisionError: no room")
    assert outcomes["slow"].status == "scored"


def test_rows_that_were_not_asked_for_show_what_the_store_has(bench: Bench) -> None:
    one = Pretender()
    outcomes = bench.command(one, "deeper")
    assert one.trained == ["deeper"] and len(one.predicted) == 1
    assert {name for name, outcome in outcomes.items() if outcome.status == "not run"} == {
        "start",
        "threshold",
        "back",
        "slow",
    }
    assert bench.rows("gain")["deeper"] is None
    two = Pretender()
    bench.command(two, "threshold")
    assert two.trained == ["threshold"] and bench.rows("gain")["deeper"] == 0
    assert bench.rows("metrics")["deeper"]["segm"]["AP"] == 100


def test_rows_of_a_combination_share_all_but_the_combining(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        '[combine]\nensembler = "mean"\n[tables.t.rows.best]\n[tables.t.rows.mean]\nscores = "combined"\n'
        '[tables.t.rows.other]\nscores = "combined"\nset = { "combine.ensembler" = "first" }\n',
    )
    built: list[str] = []
    bench.catalog = _with_mergers(bench.catalog, built)
    scheduler = Pretender()
    outcomes = bench.command(scheduler)
    assert scheduler.trained == ["best", "mean b"] and len(scheduler.predicted) == 2
    assert [outcome.status for outcome in outcomes.values()] == ["scored"] * 3
    assert built == ["mean", "first"]
    assert bench.rows("shares_training_of") == {"best": None, "mean": None, "other": "mean"}


def _with_mergers(catalog: Catalog, built: list[str]) -> Catalog:
    def merger(name: str) -> Any:
        def build(*_: Any) -> Any:
            built.append(name)
            return lambda members: members[0]

        return Entry(Ensembler(name, "", NoOptions, build=build), "toy", "toy-parts", "1.0")

    others = [entry for entry in catalog.entries if entry.part.kind != "ensembler"]
    return replace(catalog, entries=(*others, merger("mean"), merger("first")))
