"""A run's stages on a split in folds: who is trained on what and predicts what. No Ray: the work is pretended."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prepared_toys import split_of
from pretended_runs import Bench

from fineseg import FinesegError
from fineseg.profile.tables import rows_of
from fineseg.stages.ablate import run_rows
from fineseg.stages.folds import evaluate_folds, folds_record, merge_answers
from fineseg.stages.held_out import RECORD, record_training, refuse_seen, trained_on
from fineseg.stages.predict import predict
from fineseg.stages.prepare import read_data
from fineseg.stages.sweep import Sweep
from fineseg.store import WEIGHTS, write_text
from fineseg.sweep import _one_fold

FOLDS = "data.validation={ folds = 3 }"
TEST = ("data.test=test", 'data.validation={ folds = 3, merge = "pool" }')


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_each_model_is_trained_on_all_folds_but_one_and_predicts_that_one(bench: Bench) -> None:
    made = bench.run(FOLDS)
    names = [f"{model} fold {fold}" for model in "ab" for fold in range(3)]
    assert list(made.trained) == names and list(made.final) == names
    assert [order.topic for order in made.work.orders] == names
    assert len({entry.key for entry in made.trained.values()}) == 6
    folds = json.loads(Path(made.work.orders[0].folds_file).read_text())["images"]
    for model in "ab":
        answer = made.predicted[model, "validation"]
        assert sorted(answer.read()) == list(range(1, 10))
        assert answer.read().keys() == made.predicted[model, "test"].read().keys()
        assert [part.model for part in answer.parts] == names[:3] if model == "a" else names[3:]
        for fold, part in enumerate(answer.parts):
            assert part.weights is not None
            seen = trained_on(part.weights)
            images = {image.id: image for image in made.prepared.splits.train.images}
            assert seen == {made.prepared.hashes[str(images[i].file)] for i in images if folds[str(i)] != fold}
            assert sorted(part.read()) == [i for i in images if folds[str(i)] == fold]
    shown = Counter(order.model for order in made.work.predicted for _ in order.image_ids)
    assert shown == {"a": 9, "b": 9}
    record = folds_record(made.prepared)
    assert record is not None and (record["folds"], record["seed"], record["images"]) == (3, 0, [3, 3, 3])

    again = bench.run(FOLDS)
    assert not again.work.orders and not again.work.predicted and again.predicted == made.predicted


def test_workers_cut_as_the_file_says(bench: Bench) -> None:
    from fineseg.data.folds import read_folds
    from fineseg.runs import read_splits

    made = bench.run(FOLDS)
    order = made.work.orders[1]
    splits = read_splits(made.context.profile, bench.catalog, Path(order.data_root))
    assert splits.validation == splits.train == splits.everything()
    own = splits.of_fold(read_folds(Path(order.folds_file), splits.train), order.fold)
    assert own == made.prepared.folds[1].splits
    assert not {i.id for i in own.train.images} & {i.id for i in own.validation.images}


def test_the_answers_for_the_test_split_are_merged(bench: Bench) -> None:
    made = bench.run(*TEST)
    raw = made.predicted["a", "test"]
    assert not raw.files and [sorted(part.read()) for part in raw.parts] == [[21, 22]] * 3
    with pytest.raises(ValueError, match="the 3 answers of model a are to be merged first"):
        raw.read()
    results = evaluate_folds(made.context, made.prepared, made.predicted)
    assert {model: [part.summary["AP"] for part in parts] for model, parts in results.items()} == {
        "a": [pytest.approx(100.0)] * 3,
        "b": [pytest.approx(100.0)] * 3,
    }
    merged = merge_answers(made.context, made.prepared, made.predicted, results)
    assert {number: len(found) for number, found in merged["a", "test"].read().items()} == {21: 3, 22: 3}
    assert merged["a", "validation"] is made.predicted["a", "validation"]
    assert set(merged["a", "test"].folders) == {"a", "a fold 0", "a fold 1", "a fold 2"}


def test_one_more_training_on_all_images_predicts_the_test_split(bench: Bench) -> None:
    settings = (FOLDS, "data.test=test", "train.final=all")
    made = bench.run(*settings)
    assert list(made.final) == ["a", "b"] and made.final["a"].fold is None
    assert [order.whole for order in made.work.orders] == [False] * 6 + [True] * 2
    assert trained_on(made.final["a"].weights) == set(made.prepared.hashes.values()) - {
        made.prepared.hashes[str(image.file)] for image in made.prepared.splits.test.images
    }
    assert sorted(made.predicted["a", "test"].read()) == [21, 22] and not made.predicted["a", "test"].parts
    seen = predict(made.context, made.prepared, {"validation": {"a": made.final["a"]}})["a", "validation"]
    with pytest.raises(FinesegError, match=r"^model a: was trained on 9 of the 9 images that it is to be tuned on"):
        refuse_seen(made.prepared, [made.predicted["b", "validation"], seen], ["a"])
    refuse_seen(made.prepared, [made.predicted["b", "validation"]], [])


def test_given_weights_are_believed_as_far_as_their_record_goes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fineseg.mm.given.take_weights", lambda *a, **_: [write_text(a[4], "given")][1:])
    made = bench.run(FOLDS)
    given = bench.folder / "weights.pth"
    given.write_text("given")
    own = bench.run(FOLDS, weights={"a": given})
    assert list(own.trained) == ["a", "b fold 0", "b fold 1", "b fold 2"]
    answer = own.predicted["a", "validation"]
    assert sorted(answer.read()) == list(range(1, 10)) and not answer.parts
    with pytest.raises(FinesegError) as caught:
        refuse_seen(own.prepared, [answer], ["b"])
    assert str(caught.value) == (
        f"model a: {own.trained['a'].folder} has no {RECORD}, so nobody can know whether its weights have seen the "
        'validation images, and nothing is tuned on them; if they have not, say so: [combine] held_out = ["a"]'
    )
    refuse_seen(own.prepared, [answer], ["a"])

    record_training(given, ["something else"])
    refuse_seen(own.prepared, [bench.run(FOLDS, weights={"a": given}).predicted["a", "validation"]], [])
    held = made.prepared.hashes[str(made.prepared.splits.train.images[4].file)]
    record_training(given, [held])
    for trusted in ([], ["a"]):
        with pytest.raises(
            FinesegError, match=r"^model a: was trained on 1 of the 9 images .* such as .*5.jpg; tune on"
        ):
            refuse_seen(own.prepared, [bench.run(FOLDS, weights={"a": given}).predicted["a", "validation"]], trusted)
    given.write_text("other weights than the record is of")
    assert trained_on(given) is None


def test_what_the_start_was_trained_on_counts(bench: Bench) -> None:
    start = bench.folder / "start.pth"
    start.write_text("start")
    record_training(start, ["an image of before"])
    made = bench.run(FOLDS, f'models.a.weights="{start}"')
    for name, entry in made.trained.items():
        seen = trained_on(entry.weights)
        assert seen is not None and ("an image of before" in seen) == name.startswith("a")


def test_a_training_of_an_older_store_gets_its_record(bench: Bench) -> None:
    made = bench.run(FOLDS)
    entry = made.trained["a fold 0"]
    before = (entry.folder / RECORD).read_text()
    (entry.folder / RECORD).unlink()
    assert trained_on(entry.weights) is None
    bench.run(FOLDS)
    assert (entry.folder / RECORD).read_text() == before


def test_somebodys_own_folds(bench: Bench) -> None:
    drawn = bench.run(FOLDS)
    file = Path(drawn.work.orders[0].folds_file)
    own = bench.folder / "mine.json"
    own.write_text(json.dumps({"images": json.loads(file.read_text())["images"]}))
    given = bench.run(f'data.validation={{ folds = "{own}" }}')
    assert not given.work.orders and not given.work.predicted  # the same folds, the same trainings
    assert json.loads(given.prepared.folds_file.read_text())["seed"] is None  # type: ignore[union-attr]
    folds = json.loads(file.read_text())["images"]
    bench.train = split_of("train", range(1, 10), ["s"] * 9)
    with pytest.raises(FinesegError) as caught:
        bench.run(f'data.validation={{ folds = "{own}" }}')
    other = next(number for number in range(2, 10) if folds[str(number)] != folds["1"])
    assert str(caught.value) == (
        f"{own}: images 1 and {other} belong together (one group or one picture), yet are in folds "
        f"{folds['1']} and {folds[str(other)]}; put them into one"
    )


def test_groups_and_pictures_that_occur_twice_are_in_one_fold(bench: Bench) -> None:
    bench.train = split_of("train", range(1, 10), ["s", "", "s", "", "t", "", "t", "", ""])
    read_data(bench.context(FOLDS))  # the files are there now
    (bench.folder / "data/train/9.jpg").write_text((bench.folder / "data/train/5.jpg").read_text())
    (bench.folder / "data/train/4.jpg").write_text((bench.folder / "data/train/2.jpg").read_text())
    prepared = read_data(bench.context(FOLDS))
    found = {i.id: own.fold for own in prepared.folds for i in own.splits.validation.images}
    assert found[1] == found[3] and found[5] == found[7] == found[9] and found[2] == found[4]
    assert sorted(found) == list(range(1, 10))
    with pytest.raises(FinesegError) as caught:
        read_data(bench.context("data.validation={ folds = 6 }"))
    assert str(caught.value) == (
        "data.validation.folds: split 'train': 6 folds cannot be cut from 5 groups of the 9 images; give a smaller "
        "number"
    )


def test_a_trial_of_a_sweep_is_the_training_without_the_first_fold(bench: Bench) -> None:
    settings = (
        FOLDS,
        "train.validate_every=1",
        'sweep={ search = "grid", space = { "train.lr" = { choice = [0.1, 0.3] } } }',
    )
    made = bench.run(*settings[:2])
    context = bench.context(*settings)
    sweep = Sweep(context, _one_fold(context, read_data(context)), context.profile.sweep, None)  # type: ignore[arg-type]
    assert sweep.trials[0].key == made.trained["a fold 0"].key and sweep.trials[0].status == "finished"
    order = sweep.next()
    assert order is not None and (order.training.fold, order.training.folds_file) == (0, made.work.orders[0].folds_file)
    write_text(Path(order.training.folder) / WEIGHTS, "trial")
    sweep.trained(order.number)
    seen = trained_on(Path(order.training.folder) / WEIGHTS)
    assert seen == trained_on(made.trained["a fold 0"].weights) and seen is not None and len(seen) == 6


def test_a_row_of_an_ablation_table_scores_its_out_of_fold_predictions(bench: Bench) -> None:
    with open(bench.folder / "toy.toml", "a") as file:
        file.write('\n[tables.t.rows.one]\nscores = "a"\n[tables.t.rows.two]\nset = { "train.lr" = 0.3 }\n')
    context = bench.context(FOLDS)
    rows = rows_of(context.tables, context.profile, "t", bench.catalog, context.file)
    outcomes = run_rows(context, read_data(context), rows, ["one", "two"])
    assert [(outcome.status, outcome.results["segm"].summary["AP"]) for outcome in outcomes] == [
        ("scored", pytest.approx(100.0))
    ] * 2
    work: Any = context.scheduler
    assert [order.topic for order in work.orders] == [f"{row} a fold {k}" for row in ("one", "two") for k in range(3)]
    assert sum(len(order.image_ids) for order in work.predicted) == 18
    again = bench.context(FOLDS)
    assert [o.status for o in run_rows(again, read_data(again), rows, [])] == ["scored"] * 2
    assert not again.scheduler.orders and not again.scheduler.predicted  # type: ignore[attr-defined]
