"""A run's stages with a model of two ends: one training, two predictions, one pass. No Ray: the work is pretended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prepared_toys import CORNER
from pretended_runs import Bench, Outcome, Pretender
from profile_toys import PROFILE

from fineseg import FinesegError
from fineseg.predictions import make_instances, write_instances
from fineseg.profile import load_profile
from fineseg.profile.tables import rows_of
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
from fineseg.stages.combine import combine_role
from fineseg.stages.evaluate import evaluate_models
from fineseg.stages.facts import chief_settings
from fineseg.stages.folds import merge_answers
from fineseg.stages.predict import predict

ENDS = """
[models.m]
backbone = "small"
neck = "plain"
ends = { x = "boxes", y = "boxes" }
"""
ONE = ('competition.models=["m"]', "predict.shard=4", "data.validation={ random = 5, seed = 0 }")


class EndsPretender(Pretender):
    """Finds the same object in each image; the first end is surer of it."""

    def predict(self, orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Any) -> None:
        for order in orders:
            self.predicted.append(order)
            for number, file in enumerate(order.files.values()):
                found = [[0], [0.5 - number / 4], [[0, 0, 2, 2]], [CORNER]]
                write_instances(Path(file), [make_instances(i, (6, 8), *found) for i in order.image_ids])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("pretended_runs.Pretender", EndsPretender)
    made = Bench(tmp_path)
    (tmp_path / "toy.toml").write_text(PROFILE + ENDS)
    return made


def again(made: Outcome, bench: Bench, *settings: str) -> tuple[list[PredictionOrder], Any]:
    """Return what another command orders, and its predictions."""
    context = bench.context(*settings)
    return context.scheduler.predicted, predict(context, made.prepared, {"validation": made.trained})  # type: ignore[attr-defined]


def test_one_training_makes_two_predictions_in_one_pass(bench: Bench) -> None:
    made = bench.run(*ONE)
    assert list(made.trained) == ["m"]
    assert list(made.predicted) == [(f"m/{end}", role) for role in ("validation", "test") for end in "xy"]
    x, y = (made.predicted[f"m/{end}", "validation"] for end in "xy")
    assert x.model == "m/x" and x.key != y.key and x.weights == y.weights
    orders = [order for order in made.work.predicted if order.role == "validation"]
    assert [len(order.image_ids) for order in orders] == [4, 1]
    assert [dict(order.files) for order in orders] == [
        {"x": str(a), "y": str(b)} for a, b in zip(x.files, y.files, strict=True)
    ]
    assert all(order.file == order.files["x"] and order.topic == "m validation" for order in orders)
    assert [float(found.scores[0]) for found in x.read().values()] == [0.5] * 5


def test_only_what_is_missing_is_predicted(bench: Bench) -> None:
    made = bench.run(*ONE)
    assert again(made, bench, *ONE)[0] == []
    orders, found = again(made, bench, *ONE, "models.m.ends.y.inner.points=9")
    assert [list(order.files) for order in orders] == [["y"], ["y"]]
    assert found["m/x", "validation"].key == made.predicted["m/x", "validation"].key
    made.predicted["m/y", "validation"].files[1].unlink()
    (made.predicted["m/y", "validation"].files[1].parent / "done.json").unlink()
    orders, _ = again(made, bench, *ONE)
    assert [(list(order.files), len(order.image_ids)) for order in orders] == [(["y"], 1)]


def test_phases_count_in_the_orders_epochs(bench: Bench) -> None:
    joint = bench.run(*ONE)
    frozen = bench.run(*ONE, "models.m.ends_training=frozen-first")
    assert [order.epochs for order in joint.work.orders + frozen.work.orders] == [2, 4]
    assert joint.trained["m"].key != frozen.trained["m"].key


def test_ends_are_scored_and_combined_as_models_are(bench: Bench) -> None:
    made = bench.run(*ONE, "combine.ensembler=pool")
    results = evaluate_models(made.context, made.prepared, made.predicted)
    assert list(results) == ["m/x", "m/y"]
    combined = combine_role(made.context, made.prepared, made.predicted, results, "validation")
    assert {len(found) for found in combined.read().values()} == {2}
    settings = chief_settings(made.context.profile)["models"]["m"]
    assert settings["head"] == "x: boxes, y: boxes (one backbone and neck for all, joint training)"


def test_folds_of_ends(bench: Bench) -> None:
    made = bench.run('competition.models=["m"]', "data.validation={ folds = 3 }")
    assert list(made.trained) == ["m fold 0", "m fold 1", "m fold 2"]
    answer = made.predicted["m/y", "validation"]
    assert [part.model for part in answer.parts] == ["m/y fold 0", "m/y fold 1", "m/y fold 2"]
    assert sorted(answer.read()) == list(range(1, 10))
    merged = merge_answers(made.context, made.prepared, made.predicted, {})
    assert next(iter(merged))[0] == "m/x" and len(made.work.predicted) == 3


def test_rows_score_ends(bench: Bench) -> None:
    def rows(text: str) -> Any:
        (bench.folder / "toy.toml").write_text(PROFILE + ENDS + text)
        loaded = load_profile(bench.folder / "toy.toml", bench.catalog)
        return rows_of(loaded.tables, loaded.profile, "t", bench.catalog, Path("t.toml"))

    one, two = rows(
        '[tables.t]\nmodel = "m/x"\n[tables.t.rows.a]\n[tables.t.rows.b]\nset = { "models.m.ends.y.inner.width" = 9 }\n'
    )
    assert (one.models, two.models, two.scores) == (("m",), ("m",), "m/x")
    with pytest.raises(FinesegError, match=r"model: model m has ends; name m/x or m/y"):
        rows('[tables.t]\nmodel = "m"\n[tables.t.rows.a]\n')
    with pytest.raises(FinesegError, match=r"no table \[models.m/z\]; did you mean m/y or m/x\?"):
        rows('[tables.t]\nmodel = "m/z"\n[tables.t.rows.a]\n')
