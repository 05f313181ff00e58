"""A run, from a checked profile to a submission and a report: read this page first.

prepare -> train -> predict -> evaluate each model -> combine -> evaluate -> submit -> analyse -> report. Every stage
leaves its results in the store under content keys and does only what is missing there.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.console import Console, duration, here
from fineseg.cost import Meter, rows_before
from fineseg.metrics.figures import panoptic_figures
from fineseg.metrics.mask_ap import APResult
from fineseg.profile.budget import Budget
from fineseg.profile.combine_schema import COMBINED
from fineseg.profile.load import Loaded
from fineseg.scheduling.scheduler import Scheduler
from fineseg.scheduling.session import RaySettings
from fineseg.stages.analyse import analyse_all
from fineseg.stages.combine import combine_roles
from fineseg.stages.context import Context
from fineseg.stages.dense import predict_dense, together
from fineseg.stages.evaluate import evaluate_models
from fineseg.stages.evaluate_panoptic import PanopticScores, evaluate_maps
from fineseg.stages.facts import Made, run_facts, submission_record
from fineseg.stages.folds import evaluate_folds, merge_answers
from fineseg.stages.predict import Predicted, predict
from fineseg.stages.prepare import Prepared, prepare
from fineseg.stages.report import Outcome, write_run
from fineseg.stages.submit import submit
from fineseg.stages.train import train, train_final
from fineseg.stages.tune import search_record
from fineseg.store import RUN_LOG, Store, only_run_in, read_rows, write_json

Scores = Mapping[str, APResult]
"""Of one model, by kind: AP of "segm" and "boundary", IoU of "holes"."""


@dataclass
class Watch:
    """Seconds that each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a stage that is entered again adds up."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)


def run(
    loaded: Loaded,
    catalog: Catalog,
    console: Console,
    store: Store,
    out: Path,
    ray: RaySettings,
    weights: Mapping[str, Path],
    budget: Budget | None = None,
) -> Path:
    """Run a profile; return the run folder, which holds metrics.json, the submission and report.html.

    `weights` are files that stand for trainings. Raises `FinesegError` when these have spent `budget` before their end.
    """
    started, watch = datetime.now().astimezone(), Watch()
    console.keep(out / RUN_LOG)
    with only_run_in(out), Scheduler(console, ray, store.root) as scheduler:
        profile = loaded.profile, loaded.tables, loaded.file
        context = Context(*profile, catalog, store, console, scheduler, weights, Meter(budget) if budget else None)
        with watch.stage("prepare"):
            prepared = prepare(context)
        before, rows = work_done(store), rows_before(store.root)
        with watch.stage("train"):
            trained = train(context, prepared)
        scored_only = {n: e for n, e in trained.items() if loaded.profile.train_of(e.model).final == "scored"}
        with watch.stage("predict"):
            predicted = predict(context, prepared, {"validation": trained, "test": scored_only})
        with watch.stage("evaluate"):
            results, maps = score(context, prepared, predicted)
            folds = evaluate_folds(context, prepared, predicted)
        with watch.stage("train"):
            final = train_final(context, prepared, trained)
        with watch.stage("predict"):
            predicted |= predict(context, prepared, {"test": final})
            dense = predict_dense(context, prepared, {"validation": trained, "test": final})
    with watch.stage("combine"):
        predicted = merge_answers(context, prepared, predicted, folds)
        combined = combine_roles(context, prepared, predicted, results, maps, dense)
    with watch.stage("evaluate"):
        whole = score(context, prepared, together(context, dense, combined), submitted=True)
        results, maps = results | whole[0], maps | whole[1]
    metrics = metrics_table(results, folds, maps) | search_record(context, combined["validation"])
    write_json(out / "metrics.json", metrics)
    made = Made(
        command=shlex.join(["fineseg", *sys.argv[1:]]),
        started=started.isoformat(timespec="seconds"),
        work={name: count - before[name] for name, count in work_done(store).items()},
        rows_before=rows,
        trained={**trained, **{f"{n} (all images)": e for n, e in final.items() if e is not trained.get(n)}},
        predicted=predicted,
        combined=combined["validation"],
    )
    facts = run_facts(context, prepared, made)
    with watch.stage("submit"):
        submission = submit(context, prepared, combined["test"], out, submission_record(facts, metrics))
    with watch.stage("analyse"):
        analysed = analyse_all(context, prepared, predicted, combined["validation"])
    told = Outcome(facts, watch.seconds, metrics, results, analysed, made, submission, maps)
    _say_result(console, metrics, submission, write_run(context, prepared, told, out), sum(watch.seconds.values()))
    return out


def score(
    context: Context, prepared: Prepared, predicted: Mapping[tuple[str, str], Predicted], *, submitted: bool = False
) -> tuple[dict[str, dict[str, APResult]], dict[str, PanopticScores]]:
    """Score what is said of the validation split, by model: instances by kind, and panoptic maps where there are."""
    results = evaluate_models(context, prepared, predicted, submitted=submitted)
    return results, evaluate_maps(context, prepared, predicted)


def metrics_table(
    results: Mapping[str, Scores],
    folds: Mapping[str, Sequence[APResult]],
    maps: Mapping[str, PanopticScores],
) -> dict[str, Any]:
    """Return what metrics.json holds, in percent; `folds` are what a model's trainings scored on their own folds.

    `maps` are scores of panoptic maps; "fused alone" are models whose maps are the fuser's.
    """
    tables: dict[str, dict[str, Any]] = {name: scores.tables() for name, scores in maps.items()}
    for name, kinds in results.items():
        tables.setdefault(name, {}).update({kind: ap.plain()["summary"] for kind, ap in kinds.items()})
    for model, parts in folds.items():
        tables[model]["folds"] = [part.plain()["summary"] for part in parts]
    combined = tables.pop(COMBINED)
    alone = [name for name, scores in maps.items() if scores.alone]
    return {"models": tables, COMBINED: combined, **({"fused alone": alone} if alone else {})}


def work_done(store: Store) -> dict[str, int]:
    """Return what the store's ledgers count: optimiser steps and forward passes (images) ever made for it."""
    counts = {"optimizer_steps": 0, "forward_passes": 0}
    for kind, unit, name in (("train", "steps", "optimizer_steps"), ("predict", "images", "forward_passes")):
        for ledger in (store.root / kind).glob("*/ledger.jsonl"):
            counts[name] += sum(row[unit] for row in read_rows(ledger))
    return counts


def _say_result(
    console: Console, metrics: Mapping[str, Any], submission: Path | None, report: Path, seconds: float
) -> None:
    for name, tables in {**metrics["models"], COMBINED: metrics[COMBINED]}.items():
        figures = panoptic_figures(tables) or tables["segm"]
        scores = "  ".join(f"{key} {'    -' if value is None else f'{value:5.1f}'}" for key, value in figures.items())
        console.say(f"{name:>12}  {scores}")
    if submission is not None:
        console.say(f"wrote {here(submission)}")
    console.say(f"done in {duration(seconds)}: open {here(report)} in a browser")
