"""Panoptic models scored from the store: against loops over pixels, and what the run and its tables make of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panoptic_cases import count_by_loops, draw_scores, warp
from profile_toys import PROFILE, toy_catalog

from fineseg import Dataset, FinesegError, Head, NoOptions, PanopticMap, Segment, Split, make_instances
from fineseg.ablate import ablation_record
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.data.panoptic_json import read_panoptic
from fineseg.errors import ProfileError
from fineseg.panoptic_predictions import PanopticAnswer, panoptic_file, write_panoptic
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.profile.tables import rows_of
from fineseg.report.ablation import as_text
from fineseg.run import metrics_table
from fineseg.runs import Splits
from fineseg.semantic_store import SemanticScores, label_map
from fineseg.stages.ablate import Outcome
from fineseg.stages.combine import combine_role
from fineseg.stages.context import Context
from fineseg.stages.evaluate_panoptic import PanopticScores, evaluate_maps, evaluate_panoptic
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.store import Store
from fineseg_datasets.showroom import write_panoptic_split

PANOPTIC = PROFILE.replace('name = "toy"\n', 'name = "toy"\ntask = "panoptic"\n').replace("photos", "grounds")
TABLE = """
[tables.t.rows.start]
published = { PQ = 40.0, PQth = 50.0 }
[tables.t.rows.deeper]
set = { "models.a.backbone.depth" = 9 }
published = { PQ = 42.5 }
"""


def catalog() -> Catalog:
    toys = [entry for entry in toy_catalog().entries if entry.part.name != "boxes"]
    boxes = next(entry.part for entry in toy_catalog().entries if entry.part.name == "boxes")
    assert isinstance(boxes, Head)
    parts = [
        replace(boxes, gives=("instances", "semantic", "panoptic")),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
    ]
    return Catalog((*toys, *(Entry(part, "toy", "toy-parts", "1.0") for part in parts)))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("rooms")
    write_panoptic_split(folder, "val", 3, (48, 64), seed=4)
    maps = folder / "annotations" / "panoptic_val"
    return read_panoptic(maps.with_suffix(".json"), maps, folder / "images", "val", labelled=True)


@pytest.fixture
def bench(tmp_path: Path, rooms: Split) -> tuple[Context, Prepared]:
    (tmp_path / "toy.toml").write_text(PANOPTIC)
    loaded = load_profile(tmp_path / "toy.toml", catalog())
    store = Store(tmp_path / "store")
    context = Context(loaded.profile, loaded.tables, loaded.file, catalog(), store, Console(), None)  # type: ignore[arg-type]
    return context, Prepared(tmp_path, Splits(rooms, rooms, rooms), {"val": "abc"})


Say = Callable[[PanopticMap], PanopticMap]


def store_answers(
    context: Context, split: Split, model: str, say: Say, form: str = "full", leave_out: int = 0
) -> tuple[Predicted, list[PanopticAnswer]]:
    rng, answers = np.random.default_rng(1), []
    for image in split.images[leave_out:]:
        size = image.height, image.width
        seen = say(load_map(split.panoptic[image.id], image))
        scores = SemanticScores(draw_scores(rng, seen, len(split.panoptic_categories), size), size)
        answers.append(PanopticAnswer(make_instances(image.id, size, [], [], [], []), seen, scores))
    file = context.store.folder("predict", model) / "00000.parquet"
    write_instances(file, write_panoptic(panoptic_file(file), answers, form))
    return Predicted(model, "validation", model, (file,)), answers


def bare(found: PanopticMap) -> PanopticMap:
    return PanopticMap(found.image_id, found.ids, tuple(Segment(s.id, s.label) for s in found.segments))


def test_scores_are_those_of_loops(bench: tuple[Context, Prepared], rooms: Split) -> None:
    context, prepared = bench
    rng = np.random.default_rng(0)
    predicted, answers = store_answers(context, rooms, "m", lambda truth: warp(rng, truth, 6.0))
    found = evaluate_panoptic(context, prepared, predicted)
    truth = [load_map(rooms.panoptic[image.id], image) for image in rooms.images]
    counts = count_by_loops([(true, each.panoptic) for true, each in zip(truth, answers, strict=True)])
    things, every = len(rooms.categories), len(rooms.panoptic_categories)
    for name, labels in (("All", range(every)), ("Things", range(things)), ("Stuff", range(things, every))):
        group = found.quality.groups[name]
        np.testing.assert_allclose((group.pq, group.sq, group.rq, group.n), counts.means(labels))
    assert 5 < found.pq < 99

    true = np.concatenate([semantic_labels(each).ravel() for each in truth])
    said = np.concatenate([label_map(each.semantic).ravel() for each in answers])
    ious = [
        100 * ((true == c) & (said == c)).sum() / ((true == c) | ((said == c) & (true != 255))).sum()
        for c in range(every)
        if (true == c).any() or ((said == c) & (true != 255)).any()
    ]
    assert found.semantic is not None and found.semantic.miou == pytest.approx(np.mean(ious))
    for file in predicted.files:
        panoptic_file(file).unlink()
    again = evaluate_panoptic(context, prepared, predicted)  # from the store
    np.testing.assert_equal((again.tables(), again.figures()), (found.tables(), found.figures()))


def test_truth_is_perfect_and_the_best_model_stands_for_all(bench: tuple[Context, Prepared], rooms: Split) -> None:
    context, prepared = bench
    void = lambda truth: PanopticMap(truth.image_id, np.zeros_like(truth.ids), ())  # noqa: E731
    predicted = {
        (model, "validation"): store_answers(context, rooms, model, say, form)[0]
        for model, say, form in (("blind", void, "none"), ("perfect", bare, "compact"))
    }
    maps = evaluate_maps(context, prepared, predicted)
    assert maps["perfect"].pq == 100.0 and maps["blind"].pq == 0.0
    assert maps["blind"].semantic is None and "mIoU" not in maps["blind"].figures()
    chosen = combine_role(context, prepared, predicted, {}, "validation", maps)
    assert chosen is predicted["perfect", "validation"]
    table = metrics_table({}, {}, maps | {"combined": maps["perfect"]})
    assert table["combined"] == table["models"]["perfect"]
    assert table["models"]["perfect"]["panoptic"]["All"]["pq"] == 100.0
    assert list(table["models"]["blind"]) == ["panoptic"]
    other = replace(context, profile=load_profile_of_instances(context))
    assert evaluate_maps(other, prepared, predicted) == {}


def load_profile_of_instances(context: Context) -> Any:
    competition = context.profile.competition.model_copy(update={"task": "instance"})
    return context.profile.model_copy(update={"competition": competition})


def test_an_image_without_a_map_is_an_error(bench: tuple[Context, Prepared], rooms: Split) -> None:
    context, prepared = bench
    predicted, _ = store_answers(context, rooms, "m", bare, leave_out=1)
    with pytest.raises(FinesegError, match="model m: 2 of 3 images are predicted"):
        evaluate_panoptic(context, prepared, predicted)


def test_tables_compare_rows_by_pq(bench: tuple[Context, Prepared], rooms: Split, tmp_path: Path) -> None:
    context, prepared = bench
    loaded = written(tmp_path, PANOPTIC + TABLE)
    rows = rows_of(loaded.tables, loaded.profile, "t", catalog(), loaded.file)
    rng = np.random.default_rng(3)
    outcomes = []
    for row, pixels in zip(rows, (6.0, 1.0), strict=True):
        predicted, _ = store_answers(context, rooms, row.name, lambda truth, p=pixels: warp(rng, truth, p))
        outcomes.append(Outcome(row, {}, "scored", maps=evaluate_panoptic(context, prepared, predicted)))
    record = ablation_record("t", loaded.profile.tables["t"], outcomes, "panoptic")
    first, second = (found(outcome) for outcome in outcomes)
    assert record["headline"] == ["panoptic", "PQ"]
    assert record["rows"][1]["gain"] == second.pq - first.pq > 0
    assert record["rows"][1]["published_gain"] == {"over": "start", "PQ": 2.5, "measured": second.pq - first.pq}
    text = as_text({**record, "command": "", "started": ""})
    assert text.split()[:4] == ["Row", "Change", "PQ", "+/-"] and f"{second.pq:.1f}" in text and "42.5" in text


def found(outcome: Outcome) -> PanopticScores:
    assert outcome.maps is not None
    return outcome.maps


def written(folder: Path, text: str) -> Any:
    (folder / "toy.toml").write_text(text)
    return load_profile(folder / "toy.toml", catalog())


def test_figures_of_maps_are_for_panoptic_tasks(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(PROFILE + TABLE)
    loaded = load_profile(tmp_path / "toy.toml", toy_catalog())
    with pytest.raises(ProfileError, match='published: no figure "PQ"'):
        rows_of(loaded.tables, loaded.profile, "t", toy_catalog(), loaded.file)
