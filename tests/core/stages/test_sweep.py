"""The trials of a sweep against a store: what is taken up, what is tried again; no Ray, trainings are pretended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg import Category, ImageInfo, Split, TrueObject
from fineseg.console import Console
from fineseg.errors import FinesegError, ProfileError
from fineseg.profile import load_profile
from fineseg.runs import Splits, training_key
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.stages.sweep import Sweep, run_sweep
from fineseg.store import WEIGHTS, Store, append_row, write_text
from fineseg.sweep import run_of_best

SPACE = '[sweep.space]\n"train.lr" = { log_uniform = [1e-3, 1e-1] }\n"models.a.neck" = { choice = ["plain", "wide"] }\n'
Make = Callable[..., Sweep]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that opens the sweep of a profile on one store, as one more command would."""

    def open_sweep(
        table: str = "samples = 4\n", space: str = SPACE, samples: int | None = None, settings: tuple[str, ...] = ()
    ) -> Sweep:
        file = tmp_path / "toy.toml"
        file.write_text(f"{PROFILE}\n[sweep]\n{table}{space}")
        catalog = toy_catalog()
        loaded = load_profile(file, catalog, settings=settings)
        image = ImageInfo(1, tmp_path / "x.jpg", 8, 8)
        objects = {1: (TrueObject(1, 0, (0, 0, 4, 4), [[0, 0, 4, 0, 4, 4]], 8.0),)}
        split = Split("train", (Category(1, "chair"),), (image,), objects)
        prepared = Prepared(tmp_path, Splits(split, split, split), {"train": "abc"}, {str(image.file): "hash"})
        console = Console()
        context = Context(
            loaded.profile, loaded.tables, file, catalog, Store(tmp_path / "store"), console, Scheduler(console)
        )
        return Sweep(context, prepared, loaded.profile.sweep, samples)  # type: ignore[arg-type]

    return open_sweep


def validate(sweep: Sweep, number: int, values: list[float], metric: str = "AP") -> None:
    """Pretend that a trial's training has validated."""
    folder = sweep.folder_of(sweep.trials[number - 1])
    write_text(folder / WEIGHTS, "trained")
    for epoch, value in enumerate(values, start=1):
        append_row(folder / "curve.jsonl", {"epoch": epoch, "step": 5 * epoch, "loss": 1.0})
        append_row(folder / "curve.jsonl", {"epoch": epoch, "step": 5 * epoch, "AP": 10 - epoch, metric: value})
        append_row(folder / "ledger.jsonl", {"steps": 5, "seconds": 1.5})


def run_all(sweep: Sweep, score: Callable[[Any], float]) -> list[int]:
    """Run every trial that is left to its end; return their numbers."""
    numbers = []
    while (order := sweep.next()) is not None:
        validate(sweep, order.number, [0.0, score(sweep.trials[order.number - 1].point)])
        sweep.trained(order.number)
        numbers.append(order.number)
    return numbers


def test_every_trial_runs_once_and_is_a_run_s_training(make: Make) -> None:
    sweep = make()
    assert run_all(sweep, lambda point: 100 * point["train.lr"]) == [1, 2, 3, 4]
    assert [trial.status for trial in sweep.trials] == ["finished"] * 4 and sweep.complete
    best = max(sweep.trials, key=lambda trial: trial.point["train.lr"])
    assert sweep.best() is best and sweep.score(best) == 100 * best.point["train.lr"]
    assert sweep.work(best) == {"steps": 10, "seconds": 3.0}
    for trial in sweep.trials:
        key = training_key(trial.profile, toy_catalog(), "a", sweep.prepared.digests, sweep.prepared.splits)
        assert trial.key == key and trial.profile.sweep is None
        assert trial.profile.train_of("a").lr == trial.point["train.lr"]
        assert trial.profile.train_of("a").validate_every == 1
        assert sweep.context.store.finished("train", key) == {"model": "a"}
    assert not list(sweep.context.store.root.rglob("lock.json"))

    again = make()
    assert again.complete and again.next() is None
    assert [(t.status, t.key, t.history) for t in again.trials] == [(t.status, t.key, t.history) for t in sweep.trials]
    more = make(samples=6)
    assert run_all(more, lambda _: 1.0) == [5, 6]


def test_orders_report_every_validation_and_go_on_where_they_were(make: Make) -> None:
    sweep = make()
    order = sweep.next()
    assert order is not None and order.training.topic == "trial 1" and order.epochs == 2 and order.history == ()
    assert order.training.tables["models"]["a"]["train"]["checkpoint_every"] == 1
    validate(sweep, 1, [7.0])
    sweep.broke_off(1, None, "")
    assert sweep.trials[0].status == "unfinished" and sweep.left() == 4

    again = make()
    order = again.next()
    assert order is not None and order.number == 1
    assert order.history == ({"epoch": 1, "step": 5, "AP": 7.0},)
    again.let_go(None, None, None)
    assert not list(again.context.store.root.rglob("lock.json"))


def test_stopped_trials_stay_stopped_and_failed_ones_fail_where_others_worked(make: Make) -> None:
    sweep = make()
    for number in (1, 2, 3, 4):
        assert sweep.next() is not None
        validate(sweep, number, [float(number)])
    sweep.stopped(1)
    sweep.broke_off(2, "the loss is nan", "")
    sweep.broke_off(3, None, "Traceback ...")
    sweep.trained(4)
    assert [trial.status for trial in sweep.trials] == ["stopped", "failed", "broken", "finished"]
    assert (sweep.folder_of(sweep.trials[2]) / "error.txt").read_text() == "Traceback ..."

    again = make()
    assert [trial.status for trial in again.trials] == ["stopped", "failed", "waiting", "finished"]
    assert again.trials[1].note == "the loss is nan"
    assert [history[-1]["AP"] for history in again.histories()] == [1.0, 2.0, 4.0]
    assert again.best() is again.trials[3]
    # another rule is another sweep: what the first stopped goes on, what it trained stands
    other = make('samples = 4\nscheduler = "median"\n')
    assert [trial.status for trial in other.trials] == ["waiting", "waiting", "waiting", "finished"]


def test_where_none_worked_all_are_tried_again(make: Make) -> None:
    sweep = make("samples = 2\n")
    for number in (1, 2):
        sweep.next()
        sweep.broke_off(number, "precision fp16 needs a GPU", "")
    with pytest.raises(FinesegError, match="trial 1: precision fp16 needs a GPU") as raised:
        run_sweep(sweep, None)
    assert str(raised.value).splitlines()[-1] == "no trial has worked; the same command tries them again"
    assert [trial.status for trial in make("samples = 2\n").trials] == ["waiting", "waiting"]


def test_the_run_that_comes_next_chooses_the_model(make: Make, tmp_path: Path) -> None:
    best = tmp_path / "best.toml"
    assert run_of_best(make(), "toy.toml", best) == f"fineseg run toy.toml --with {best}"
    other = make("samples = 1\nmodel = 'a'\n", settings=('competition.models=["b"]',))
    wanted = f"fineseg run toy.toml --with {best} --set 'competition.models=[\"a\"]'"
    assert run_of_best(other, "toy.toml", best) == wanted


def test_another_process_that_trains_the_same_is_waited_for(make: Make) -> None:
    first, second = make(), make()
    assert first.next() is not None
    with pytest.raises(FinesegError, match="is writing this entry"):
        second.next()
    first.let_go(None, None, None)


def test_scores_are_of_the_checkpoint_that_predicts(make: Make) -> None:
    for checkpoint, score in (("last", 4.0), ("best", 9.0)):
        table = 'samples = 1\nmetric = "AP50"\n'
        space = f'{SPACE}"models.a.train.checkpoint" = {{ choice = ["{checkpoint}"] }}\n'
        sweep = make(table, space)
        sweep.next()
        validate(sweep, 1, [9.0, 4.0], metric="AP50")  # AP itself falls
        sweep.trained(1)
        assert sweep.score(sweep.trials[0]) == score


def test_combinations_that_cannot_be_are_refused_before_any_runs(make: Make) -> None:
    space = (
        '[sweep.space]\n"train.long_side" = { choice = [1333, 900] }\n'
        '"train.short_side" = { choice = [[800, 800], [1000, 1000]] }\n'
    )
    with pytest.raises(ProfileError) as raised:
        make('search = "grid"\n', space)
    assert len(raised.value.faults) == 1
    assert raised.value.faults[0].startswith("sweep: the trial long_side 900, short_side [1000, 1000]: ")


def test_a_grid_is_all_of_it(make: Make) -> None:
    space = '[sweep.space]\n"train.seed" = { integer = [0, 2] }\n"models.a.neck" = { choice = ["plain", "wide"] }\n'
    sweep = make('search = "grid"\n', space)
    assert [(t.point["train.seed"], t.point["models.a.neck"]) for t in sweep.trials] == [
        (seed, neck) for seed in (0, 1, 2) for neck in ("plain", "wide")
    ]


def test_an_adaptive_search_finds_more_than_chance_and_is_continued(make: Make) -> None:
    def score(point: Any) -> float:
        return 50 - 1000 * abs(point["train.lr"] - 0.03) + 10 * (point["models.a.neck"] == "wide")

    table = 'search = "optuna"\nsamples = 30\n'
    sweep = make(table)
    assert run_all(sweep, score) == list(range(1, 31))
    random = make("samples = 30\n")
    adaptive = sorted(score(trial.point) for trial in sweep.trials)
    assert sum(adaptive[15:]) > sum(sorted(score(trial.point) for trial in random.trials)[15:])

    again = make(table)
    assert again.complete and [t.key for t in again.trials] == [t.key for t in sweep.trials]
    more = make(table, samples=33)
    assert run_all(more, score) == [31, 32, 33]
    assert len({trial.key for trial in more.trials}) == 33


def test_an_adaptive_search_ends_with_its_space(make: Make) -> None:
    space = '[sweep.space]\n"train.seed" = { integer = [0, 2] }\n"models.a.neck" = { choice = ["plain", "wide"] }\n'
    table = 'search = "optuna"\nsamples = 9\n'
    sweep = make(table, space)
    first = sweep.next()
    assert first is not None
    sweep.broke_off(first.number, "the loss is nan", "")
    assert len(run_all(sweep, lambda point: point["train.seed"])) == 5
    assert sorted((t.point["train.seed"], t.point["models.a.neck"]) for t in sweep.trials) == [
        (seed, neck) for seed in (0, 1, 2) for neck in ("plain", "wide")
    ]
