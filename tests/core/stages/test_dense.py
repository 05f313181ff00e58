"""Models that look together: what is ordered, under which key it stands, and what stands there already."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg import Dataset, Head, ImageInfo, NoOptions, Split, make_instances
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.metrics.panoptic_quality import PanopticCounts, panoptic_result
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.runs import Splits
from fineseg.scheduling.orders import PredictionOrder
from fineseg.stages.combine import combine_role, combine_roles
from fineseg.stages.context import Context
from fineseg.stages.dense import predict_dense
from fineseg.stages.evaluate_panoptic import PanopticScores
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained
from fineseg.store import Store

TEXT = PROFILE.replace('name = "toy"\n', 'name = "toy"\ntask = "panoptic"\n').replace("photos", "grounds")
TEXT = TEXT.replace('"boxes"', '"steps"').replace(", inner = { width = 8 }", "") + "\n[predict]\nshard = 4\n"
EVERYTHING = ("instances", "semantic", "panoptic")


def catalog() -> Catalog:
    parts = [
        Head("steps", "", NoOptions, build=print, gives=EVERYTHING, dense=True),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
    ]
    return Catalog((*toy_catalog().entries, *(Entry(part, "toy", "toy-parts", "1.0") for part in parts)))


class Writer:
    """Stands for the processes that predict: notes what they are asked, and writes empty answers."""

    def __init__(self) -> None:
        self.orders: list[PredictionOrder] = []

    def predict(self, orders: Sequence[PredictionOrder], setting: Any, show: Callable[..., None]) -> None:
        for order in orders:
            self.orders.append(order)
            write_instances(Path(order.file), [make_instances(n, (4, 4), [], [], [], []) for n in order.image_ids])


class Bench:
    """A run of two models whose trainings stand."""

    def __init__(self, folder: Path, combine: str = "[combine]\ndense = {}\n") -> None:
        (folder / "toy.toml").write_text(TEXT + combine)
        loaded = load_profile(folder / "toy.toml", catalog())
        self.writer = Writer()
        store = Store(folder / "store")
        self.context = Context(loaded.profile, loaded.tables, loaded.file, catalog(), store, Console(), self.writer)  # type: ignore[arg-type]
        images = tuple(ImageInfo(n, folder / f"{n}.jpg", 4, 4) for n in range(1, 7))
        whole = Split("val", (), images, {})
        test = replace(whole, name="test", images=images[:3])
        self.prepared = Prepared(folder, Splits(whole, whole, test), {"val": "abc", "test": "def"})
        self.trained = {m: Trained(m, f"key of {m}", folder / m) for m in ("a", "b")}

    def predict(self, trained: Mapping[str, Trained] | None = None) -> dict[str, Predicted]:
        found = self.trained if trained is None else trained
        return predict_dense(self.context, self.prepared, {"validation": found, "test": found})


def test_each_shard_is_one_order_for_all_models(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    found = bench.predict()
    assert [order.image_ids for order in bench.writer.orders] == [(1, 2, 3, 4), (5, 6), (1, 2, 3)]
    assert [order.role for order in bench.writer.orders] == ["validation", "validation", "test"]
    weights = {name: str(entry.weights) for name, entry in bench.trained.items()}
    assert all(order.members == weights for order in bench.writer.orders)
    assert set(found) == {"validation", "test"} and found["validation"].gives == EVERYTHING
    assert [Path(order.file) for order in bench.writer.orders[:2]] == list(found["validation"].files)
    assert bench.predict() == found and len(bench.writer.orders) == 3  # from the store
    members = {member.model: member.weights for member in found["validation"].entries}
    assert members == {name: entry.weights for name, entry in bench.trained.items()}
    combined = combine_roles(bench.context, bench.prepared, {}, {}, {}, found)
    assert combined == {role: replace(answer, model="combined") for role, answer in found.items()}


def test_the_key_is_of_models_shares_and_spaces(tmp_path: Path) -> None:
    ways = (
        "{}",
        "{ weights = { a = 1.0, b = 3.0 } }",
        "{ weights = { a = 8.0, b = 24.0 } }",
        '{ semantic = "probability" }',
        "{ weights = { a = 3.0, b = 1.0 } }",
    )
    keys = []
    for number, way in enumerate(ways):
        (tmp_path / str(number)).mkdir()
        keys.append(Bench(tmp_path / str(number), f"[combine]\ndense = {way}\n").predict()["validation"].key)
    assert keys[1] == keys[2] and len(set(keys)) == 4
    (tmp_path / "other").mkdir()
    bench = Bench(tmp_path / "other")
    bench.trained["b"] = replace(bench.trained["b"], key="another training")
    assert bench.predict()["validation"].key not in keys


def test_folds_are_predicted_by_those_that_left_them_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    whole = bench.prepared.splits.validation
    parts = []
    for fold, ids in enumerate(((1, 4), (2, 3, 5, 6))):
        own = whole.select(ids, f"val-fold-{fold}")
        parts.append(Prepared(tmp_path, Splits(own, own, own), {own.name: f"fold {fold}"}, fold=fold))
    bench.prepared = replace(bench.prepared, folds=tuple(parts))
    given = bench.trained["b"]
    trained = {f"a fold {n}": Trained("a", f"key of a {n}", tmp_path / f"a{n}", n) for n in (0, 1)} | {"b": given}
    found = predict_dense(bench.context, bench.prepared, {"validation": trained})["validation"]
    assert [order.image_ids for order in bench.writer.orders] == [(1, 4), (2, 3, 5, 6)]
    assert [order.topic for order in bench.writer.orders] == ["dense fold 0 validation", "dense fold 1 validation"]
    for fold, order in enumerate(bench.writer.orders):
        assert order.members == {"a": str(trained[f"a fold {fold}"].weights), "b": str(given.weights)}
    assert len(found.files) == 2 and sorted(found.read()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("combine", ["", "[combine]\ndense = { weights = { b = 1.0 } }\n"])
def test_one_model_is_no_ensemble(tmp_path: Path, combine: str) -> None:
    bench = Bench(tmp_path, combine)
    assert bench.predict() == {} and not bench.writer.orders
    predicted = {(m, "test"): Predicted(m, "test", m, (), gives=EVERYTHING) for m in ("a", "b")}
    counts = {m: np.array([n]) for m, n in (("a", 9), ("b", 5))}
    maps = {
        m: PanopticScores(panoptic_result(PanopticCounts(n * 1.0, n, 10 - n, 10 - n), 1), None)
        for m, n in counts.items()
    }
    chosen = combine_role(bench.context, bench.prepared, predicted, {}, "test", maps)
    assert chosen.model == ("b" if combine else "a")  # the one that is named, or the best
