"""Rows over a dense ensemble and a fuser: what is trained and predicted for each, all of it pretended."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panoptic_cases import draw_scores
from profile_toys import PROFILE, toy_catalog

from fineseg import (
    Dataset,
    FuserInput,
    Head,
    NoOptions,
    Options,
    PanopticEnd,
    PanopticFuser,
    PanopticMap,
    Segment,
    SemanticScores,
    Split,
    make_instances,
)
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.data.panoptic import load_map
from fineseg.data.panoptic_json import read_panoptic
from fineseg.errors import ProfileError
from fineseg.panoptic_predictions import PanopticAnswer, panoptic_file, write_panoptic
from fineseg.parts import Output
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.profile.check import check_tables
from fineseg.profile.tables import rows_of, start_of
from fineseg.runs import Splits
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting, TrainingOrder
from fineseg.semantic_store import label_map
from fineseg.stages.ablate import Outcome, run_rows
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.store import WEIGHTS, Store, write_text
from fineseg_datasets.showroom import write_panoptic_split

TOY = PROFILE.replace('name = "toy"\n', 'name = "toy"\ntask = "panoptic"\n').replace("photos", "grounds")
TOY = TOY.replace('"boxes"', '"steps"').replace(", inner = { width = 8 }", "")
ALL = """
[models.c]
backbone = "small"
neck = "plain"
head = "ends"

[combine]
fuser = "toy-rule"
held_out = ["a"]
dense = { weights = { a = 0.5, b = 1.5 } }
models = ["dense", "c"]

[tables.t.rows.ensemble]
scores = "dense"
[tables.t.rows.c]
scores = "c"
[tables.t.rows.fused]
scores = "combined"
"""
EVERYTHING: tuple[Output, ...] = ("instances", "semantic", "panoptic")


def catalog() -> Catalog:
    parts = [
        Head("steps", "", NoOptions, build=print, gives=EVERYTHING, dense=True),
        Head("ends", "", NoOptions, build=print, gives=("instances", "semantic")),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
        PanopticFuser("toy-rule", "", RuleOptions, build=build_rule),
    ]
    return Catalog((*toy_catalog().entries, *(Entry(part, "toy", "toy-parts", "1.0") for part in parts)))


class RuleOptions(Options):
    least: float = 0.5


def build_rule(options: RuleOptions, given: FuserInput) -> Any:
    """Stuff alone, of the model that is given last."""

    def rule(ends: Sequence[PanopticEnd]) -> PanopticMap:
        labels = label_map([end.semantic for end in ends if end.semantic is not None][-1]).astype(np.int32)
        ids = np.where(labels >= given.things, labels + 1, 0).astype(np.int32)
        return PanopticMap(0, ids, tuple(Segment(int(i), int(i) - 1) for i in np.unique(ids) if i))

    return rule


class Painter:
    """Stands for the scheduler: predicts true maps, and some scores; checks tables as processes that predict do."""

    def __init__(self, rooms: Split) -> None:
        self.rooms = rooms
        self.trained: list[str] = []
        self.predicted: list[str] = []
        self.predictions = 0

    def train(
        self, orders: Sequence[TrainingOrder], show: Any, ended: Callable[[TrainingOrder], None]
    ) -> list[Exception | None]:
        for order in orders:
            self.trained.append(order.topic)
            Path(order.folder).mkdir(parents=True, exist_ok=True)
            write_text(Path(order.folder) / WEIGHTS, "trained")
            ended(order)
        return [None] * len(orders)

    def predict(self, orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Any) -> None:
        profile = check_tables(setting.tables, catalog(), Path(setting.file))
        self.predictions += 1
        for order in orders:
            self.predicted.append(order.topic)
            assert set(order.members or {order.model: ""}) <= set(profile.models)
            answers = []
            for image in (image for image in self.rooms.images if image.id in order.image_ids):
                size, truth = (image.height, image.width), load_map(self.rooms.panoptic[image.id], image)
                scores = draw_scores(np.random.default_rng(1), truth, len(self.rooms.panoptic_categories), size)
                maps = None if order.model == "c" or order.model.endswith(" c") else replace(truth, image_id=image.id)
                found = make_instances(image.id, size, [], [], [], [])
                answers.append(PanopticAnswer(found, maps, SemanticScores(scores, size)))
            write_instances(Path(order.file), write_panoptic(panoptic_file(Path(order.file)), answers, "full"))


class Bench:
    def __init__(self, folder: Path, text: str = ALL) -> None:
        self.folder = folder
        (folder / "toy.toml").write_text(TOY + text)
        write_panoptic_split(folder, "val", 6, (48, 64), seed=4)
        maps = folder / "annotations" / "panoptic_val"
        rooms = read_panoptic(maps.with_suffix(".json"), maps, folder / "images", "val", labelled=True)
        ids = [image.id for image in rooms.images]
        train, self.held = rooms.select(ids[:2], "train"), rooms.select(ids[2:], "held")
        hashes = {str(image.file): f"hash {image.id}" for image in rooms.images}
        splits = Splits(train, self.held, self.held)
        self.prepared = Prepared(folder, splits, {"train": "abc", "held": "def"}, hashes=hashes)

    def command(self, *only: str) -> tuple[Painter, dict[str, Outcome]]:
        painter, file, parts = Painter(self.held), self.folder / "toy.toml", catalog()
        loaded = load_profile(file, parts)
        rows = rows_of(loaded.tables, loaded.profile, "t", parts, file)
        profile, tables = start_of(loaded.tables, loaded.profile, "t", parts, file)
        context = Context(profile, tables, file, parts, Store(self.folder / "store"), Console(), painter)  # type: ignore[arg-type]
        outcomes = run_rows(context, self.prepared, rows, only or [row.name for row in rows])
        return painter, {outcome.row.name: outcome for outcome in outcomes}


def test_all_models_are_predicted_at_once_and_every_row_is_scored(tmp_path: Path) -> None:
    painter, outcomes = Bench(tmp_path).command()
    assert {name: (outcome.status, outcome.why) for name, outcome in outcomes.items()} == {
        name: ("scored", "") for name in ("ensemble", "c", "fused")
    }
    assert painter.trained == ["ensemble a", "ensemble b", "c"]
    assert painter.predictions == 2  # all models alone, and the ensemble
    assert len(painter.predicted) == 4 and painter.predicted[-1].startswith("dense ")
    scores = {name: outcome.maps.pq for name, outcome in outcomes.items() if outcome.maps is not None}
    assert scores["ensemble"] == pytest.approx(100) and scores["c"] < 100 and scores["fused"] < 100


def test_a_row_of_the_ensemble_takes_no_other_model_and_is_not_there_before(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        ALL
        + 'set = { "combine.fuser.least" = 0.6 }\n[tables.t.rows.a]\nscores = "a"\n[tables.t.rows.b]\nscores = "b"\n',
    )
    painter, outcomes = bench.command("a", "b")
    assert painter.trained == ["a", "b"] and outcomes["ensemble"].status == "not run"
    assert not any(topic.startswith("dense ") for topic in painter.predicted)
    painter, outcomes = bench.command("ensemble")
    assert outcomes["ensemble"].status == "scored" and not painter.trained
    assert len(painter.predicted) == 1 and outcomes["c"].status == "not run"
    painter, outcomes = bench.command("a")
    assert outcomes["ensemble"].status == "scored" and not painter.predicted  # now the store holds it


def test_models_without_maps_are_predicted_at_once_too(tmp_path: Path) -> None:
    rows = '[tables.t.rows.{0}]\nscores = "{0}"\n'
    models = "".join(
        f'\n[models.{name}]\nbackbone = "small"\nneck = "{neck}"\nhead = "ends"\n'
        for name, neck in (("c", "plain"), ("d", "wide"))
    )
    text = models + '[combine]\nfuser = "toy-rule"\nheld_out = ["c"]\n' + rows.format("c") + rows.format("d")
    painter, outcomes = Bench(tmp_path, text).command()
    assert {outcome.status for outcome in outcomes.values()} == {"scored"} and painter.predictions == 1


def test_what_makes_no_difference_to_the_ensemble_is_said(tmp_path: Path) -> None:
    idle = '[tables.t.rows.idle]\non = "ensemble"\nscores = "dense"\nset = { "combine.fuser.least" = 0.6 }\n'
    with pytest.raises(ProfileError, match="changes nothing for the dense ensemble"):
        Bench(tmp_path, ALL + idle).command()
    one = ALL.replace('models = ["dense", "c"]\n', "") + '[tables.t.set]\n"competition.models" = ["a", "c"]\n'
    (tmp_path / "one").mkdir()
    with pytest.raises(ProfileError, match="names fewer than two chosen models; name the model itself"):
        Bench(tmp_path / "one", one).command()
