"""A sweep, from a checked profile to the best settings as an overlay, and a report.

prepare -> trials (each a training that `run` would make, under the same key) -> sweep.json, best.toml, report.html.
"""

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.console import Console, duration, here
from fineseg.cost import Meter, cost_table, rows_before
from fineseg.errors import FinesegError
from fineseg.profile.budget import Budget, budget_of
from fineseg.profile.load import Loaded
from fineseg.profile.overlay import overlay_text
from fineseg.profile.schema import SweepTable
from fineseg.profile.space import in_words, short_names
from fineseg.report.records import ReportData
from fineseg.report.sweep import write_sweep_report
from fineseg.run import Watch, work_done
from fineseg.runs import environment, git_state
from fineseg.scheduling.scheduler import Scheduler
from fineseg.scheduling.session import RaySettings
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared, prepare
from fineseg.stages.sweep import Sweep, Trial, run_sweep
from fineseg.store import RUN_LOG, Store, only_run_in, write_json, write_text

BEST = "best.toml"


def sweep(
    loaded: Loaded,
    catalog: Catalog,
    console: Console,
    store: Store,
    out: Path,
    ray: RaySettings,
    *,
    samples: int | None,
    budget: Budget | None,
    next_run: str,
) -> Path:
    """Run a profile's `[sweep]`; return the folder with sweep.json, report.html and, if a trial finished, best.toml.

    `samples` and `budget` stand for the profile's where they are given; `next_run` is the profile and its layers as
    `fineseg run` takes them. Raises `FinesegError` when no trial works.
    """
    table = _table(loaded, samples)
    started, watch = datetime.now().astimezone(), Watch()
    limit = budget_of(table.budget) if budget is None and table.budget is not None else budget
    meter = Meter(limit) if limit is not None else None
    console.keep(out / RUN_LOG)
    with only_run_in(out), Scheduler(console, ray, store.root) as scheduler:
        context = Context(loaded.profile, loaded.tables, loaded.file, catalog, store, console, scheduler)
        with watch.stage("prepare"):
            prepared = _one_fold(context, prepare(context))
        before, rows = work_done(store), rows_before(store.root)
        with watch.stage("trials"):
            trials = Sweep(context, prepared, table, samples)
            run_sweep(trials, meter)
    record = {
        "command": shlex.join(["fineseg", *sys.argv[1:]]),
        "started": started.isoformat(timespec="seconds"),
        "seconds": dict(watch.seconds),
        "work": {name: count - before[name] for name, count in work_done(store).items()},
        "competition": loaded.profile.competition.name,
        **sweep_record(trials),
        "cost": cost_table([("train", f"trial {t.number}", trials.folder_of(t)) for t in trials.trials], rows),
    }
    write_json(out / "sweep.json", record)
    best = trials.best()
    if best is not None:
        write_text(out / BEST, overlay_text({**trials.fixed, **best.point}, _comments(loaded, trials, best)))
    with console.task("write report"):
        _write_report(loaded, context, record, out)
    _say_result(console, trials, best, out, sum(watch.seconds.values()), next_run)
    return out


def _one_fold(context: Context, prepared: Prepared) -> Prepared:
    """Return the data that trials are trained and scored on: of a split in folds those that leave out the first."""
    if not prepared.folds:
        return prepared
    context.console.say(f"trials train on all folds but the first of {len(prepared.folds)}, and are scored on that one")
    return prepared.folds[0]


def _table(loaded: Loaded, samples: int | None) -> SweepTable:
    if loaded.profile.sweep is None:
        raise FinesegError(
            f'{loaded.file}: sweep: missing; say what varies: [sweep.space] "train.lr" = {{ log_uniform = [FROM, TO] }}'
        )
    if samples is not None and loaded.profile.sweep.search == "grid":
        raise FinesegError("--samples: a grid has as many trials as combinations; leave it out")
    return loaded.profile.sweep


def sweep_record(trials: Sweep) -> dict[str, Any]:
    """Return what sweep.json tells of the trials, as plain data."""
    best = trials.best()
    return {
        "model": trials.model,
        "metric": trials.table.metric,
        "sweep": trials.table.model_dump(mode="json", exclude_none=True),
        "names": dict(zip(trials.table.space, short_names(list(trials.table.space)), strict=True)),
        "fixed": trials.fixed,
        "best": best.number if best is not None else None,
        "trials": [_trial_record(trials, trial) for trial in trials.trials],
    }


def _trial_record(trials: Sweep, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "settings": trial.point,
        "status": trial.status,
        "score": trials.score(trial),
        "epochs": trials.epochs(trial),
        **trials.work(trial),
        "note": trial.note,
        "key": trial.key,
        "folder": str(trials.folder_of(trial)),
        "history": list(trial.history),
    }


def _comments(loaded: Loaded, trials: Sweep, best: Trial) -> list[str]:
    finished = sum(trial.status == "finished" for trial in trials.trials)
    return [
        f"The best of a sweep over {loaded.file.name}: trial {best.number} of {len(trials.trials)}, {finished} of them "
        f"trained to the end; model {trials.model} reaches {trials.table.metric} {trials.score(best):.2f} on the "
        "held-out split.",
        "A run with this overlay takes the training from the sweep's store.",
    ]


def _write_report(loaded: Loaded, context: Context, record: dict[str, Any], out: Path) -> None:
    manifest = {
        **{name: record[name] for name in ("command", "started", "seconds", "work", "cost")},
        "profile": loaded.profile.model_dump(mode="json"),
        "environment": environment(context.catalog),
        "git": git_state(loaded.file.absolute().parent),
    }
    title = loaded.profile.competition.title or loaded.profile.competition.name
    data = ReportData(
        title=f"{title}: sweep of {record['model']}",
        profile=str(loaded.file),
        manifest=manifest,
    )
    write_sweep_report(out / "report.html", data, record)


def _say_result(console: Console, trials: Sweep, best: Trial | None, out: Path, seconds: float, next_run: str) -> None:
    if left := trials.left():
        are = "is" if left == 1 else "are"
        console.say(f"{left} of {trials.samples} trials {are} left; the same command goes on with what is missing")
    next_step = "no trial is through yet, give the command again"
    if best is not None:
        score = f"{trials.table.metric} {trials.score(best):.2f}"
        console.say(f"best: trial {best.number}, {score}, {in_words(best.point)}")
        next_step = f"next: {run_of_best(trials, next_run, out / BEST)}"
    console.say(f"wrote sweep.json and report.html in {here(out)}")
    console.say(f"done in {duration(seconds)}; {next_step}")


def run_of_best(trials: Sweep, next_run: str, best: Path) -> str:
    """Return the command that takes over the best trial; a model that the profile's runs do not choose is chosen."""
    setting = f'competition.models=["{trials.model}"]'
    choice = "" if trials.model in trials.context.profile.chosen else f" --set {shlex.quote(setting)}"
    return f"fineseg run {next_run} --with {shlex.quote(here(best))}{choice}"
