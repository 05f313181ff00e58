"""The rows of an ablation table: which trainings and predictions the store lacks of them, and what each row scores.

A row's training and predictions are those that a run with its profile would make: they stand under the same keys.
"""

import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from fineseg.errors import FinesegError
from fineseg.metrics.mask_ap import APResult
from fineseg.parts import Output
from fineseg.profile.check import check_tables
from fineseg.profile.combine_schema import DENSE
from fineseg.profile.outputs import outputs_of
from fineseg.profile.tables import OF_SEVERAL, Row
from fineseg.runs import prediction_key
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.combine import combine_role
from fineseg.stages.context import Context
from fineseg.stages.dense import dense_finished, predict_dense, together
from fineseg.stages.evaluate import evaluate_models
from fineseg.stages.evaluate_panoptic import PanopticScores, evaluate_maps
from fineseg.stages.predict import predict
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained, find_trainings, run_orders, training_order
from fineseg.store import LEDGER, content_key, read_rows

HELD_OUT = "validation"


@dataclass
class Outcome:
    """What became of a row: "scored", "failed" (`why` says by what), "left out" (`why`), or "not run".

    `trained` are its trainings by model, `results` its scores by kind, `maps` those of panoptic maps.
    """

    row: Row
    trained: Mapping[str, Trained]
    status: str = "not run"
    why: str = ""
    results: Mapping[str, APResult] = field(default_factory=dict)
    maps: PanopticScores | None = None

    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Return its figures [percent] by kind, the headline's first; None where there is no truth."""
        maps = {} if self.maps is None else {"panoptic": self.maps.figures()}
        return {**maps, **{kind: result.plain()["summary"] for kind, result in self.results.items()}}

    def fail(self, why: str) -> None:
        """Note that the row has no score."""
        self.status, self.why = "failed", why


def run_rows(context: Context, prepared: Prepared, rows: Sequence[Row], wanted: Collection[str]) -> list[Outcome]:
    """Train, predict and score the `wanted` rows, and score those others of which the store holds all.

    A row that fails does not stop the others.
    """
    contexts = {row.name: replace(context, profile=row.profile, tables=row.tables) for row in rows}
    outcomes = [
        Outcome(row, _trainings(contexts[row.name], prepared, row.models)) for row in rows if not row.table.left_out
    ]
    failures = run_orders(
        context, prepared, _missing(contexts, prepared, [o for o in outcomes if o.row.name in wanted])
    )
    trained = [o for o in outcomes if o.row.name in wanted and not any(e.key in failures for e in o.trained.values())]
    _predict_together(contexts, prepared, trained)
    for outcome in outcomes:
        own = contexts[outcome.row.name]
        said = {model: failures[entry.key] for model, entry in outcome.trained.items() if entry.key in failures}
        if said:
            outcome.fail("; ".join(f"model {model}: {line}" for model, line in said.items()))
        elif outcome.row.name in wanted or _in_store(own, prepared, outcome):
            with context.console.task(f"row {outcome.row.name}"):
                _score(own, prepared, outcome)
    left_out = {row.name: Outcome(row, {}, "left out", row.table.left_out) for row in rows if row.table.left_out}
    done = {outcome.row.name: outcome for outcome in outcomes} | left_out
    return [done[row.name] for row in rows]


def _trainings(context: Context, prepared: Prepared, models: Sequence[str]) -> dict[str, Trained]:
    return {name: entry for model in models for name, entry in find_trainings(context, prepared, model).items()}


def _missing(
    contexts: Mapping[str, Context], prepared: Prepared, outcomes: Sequence[Outcome]
) -> dict[str, TrainingOrder]:
    """Return orders for trainings that the store lacks, by key: rows of one training share it."""
    missing: dict[str, TrainingOrder] = {}
    keys = list(dict.fromkeys(entry.key for outcome in outcomes for entry in outcome.trained.values()))
    for outcome in outcomes:
        context, row = contexts[outcome.row.name], outcome.row
        for name, entry in outcome.trained.items():
            topic = row.name if len(outcome.trained) == 1 and row.scores not in OF_SEVERAL else f"{row.name} {name}"
            if entry.key not in missing and context.store.finished("train", entry.key) is None:
                order = training_order(context, prepared, entry, topic=topic)
                missing[entry.key] = replace(order, place=(keys.index(entry.key), len(keys)))
    return missing


def _predict_together(contexts: Mapping[str, Context], prepared: Prepared, outcomes: Sequence[Outcome]) -> None:
    """Predict with the models of all rows that look at images alike at once: processes take seconds to start.

    What fails here is tried again row by row, and fails there.
    """
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault(content_key(outcome.row.profile.predict.model_dump(mode="json")), []).append(outcome)
    for group in alike.values():
        context = contexts[group[0].row.name]
        entries = {f"{o.row.name} {name}": (o.row, entry) for o in group for name, entry in o.trained.items()}
        with suppress(Exception):
            tables = _aliased(context, entries)
            profile = check_tables(tables, context.catalog, context.file)
            together = replace(context, profile=profile, tables=tables)
            aliased = {alias: replace(entry, model=alias) for alias, (_, entry) in entries.items()}
            predict(together, prepared, {HELD_OUT: aliased})


def _aliased(context: Context, entries: Mapping[str, tuple[Row, Trained]]) -> dict[str, Any]:
    """Return tables of models that are called otherwise, and so without `[combine]`, which names models.

    Where none of them makes maps a check asks who does: the fuser's name says it, of one who finds objects and one who
    scores pixels.
    """
    models = {alias: _without_training(row.tables["models"][entry.model]) for alias, (row, entry) in entries.items()}
    competition = {key: value for key, value in context.tables["competition"].items() if key != "models"}
    tables = {**context.tables, "competition": competition, "models": models}
    combine = tables.pop("combine", None)
    fuser = context.profile.combine.fuser if combine and context.profile.combine else None
    gives: dict[Output, str] = {}
    for alias, (row, entry) in entries.items():
        table = row.profile.models[entry.model]
        for end in table.heads:
            for output in outputs_of(context.catalog, table, end):
                gives.setdefault(output, f"{alias}/{end}" if end else alias)
    if fuser is None or "panoptic" in gives:
        return tables
    fused = dict.fromkeys(gives[output] for output in ("instances", "semantic") if output in gives)
    return {**tables, "combine": {"fuser": fuser.name, "models": list(fused)}}


def _without_training(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "train"}


def _in_store(context: Context, prepared: Prepared, outcome: Outcome) -> bool:
    """Say whether a row can be scored without any work for a model."""
    if outcome.row.scores == DENSE and not dense_finished(context, prepared, outcome.trained):
        return False
    return all(
        context.store.finished("train", entry.key) is not None
        and context.store.finished(
            "predict",
            prediction_key(context.profile, context.catalog, prediction, entry.key, _digest(prepared, entry)),
        )
        for entry in outcome.trained.values()
        for prediction in context.profile.predictions_of(entry.model)
    )


def _digest(prepared: Prepared, entry: Trained) -> str:
    """Return the digest of the images that a training is scored on."""
    part = prepared if entry.fold is None else prepared.folds[entry.fold]
    return part.digests[part.splits.validation.name]


def _score(context: Context, prepared: Prepared, outcome: Outcome) -> None:
    """Predict the held-out split with a row's models, and score what the row scores."""
    try:
        predicted = predict(context, prepared, {HELD_OUT: outcome.trained})
        results = evaluate_models(context, prepared, predicted)
        maps = evaluate_maps(context, prepared, predicted)
        if outcome.row.scores in OF_SEVERAL:
            dense = predict_dense(context, prepared, {HELD_OUT: outcome.trained})
            if outcome.row.scores == DENSE:
                combined = {(DENSE, HELD_OUT): dense[HELD_OUT]}
            else:
                role = combine_role(context, prepared, predicted, results, HELD_OUT, maps, dense)
                combined = together(context, dense, {HELD_OUT: role})
            results |= evaluate_models(context, prepared, combined, submitted=True)
            maps |= evaluate_maps(context, prepared, combined)
        outcome.results = results.get(outcome.row.scores, {})
        outcome.maps = maps.get(outcome.row.scores)
        outcome.status = "scored"
    except FinesegError as error:
        outcome.fail(str(error))
    except Exception as error:
        context.console.say("".join(traceback.format_exception(error)))
        outcome.fail(f"{type(error).__name__}: {error}")


def training_work(entry: Trained) -> dict[str, Any]:
    """Return what a training took: steps, seconds, and the most memory of its first process [GiB] where noted."""
    rows = read_rows(entry.folder / LEDGER)
    memory = {
        name: max(row[name] for row in rows if name in row)
        for name in ("memory_gib", "gpu_memory_gib")
        if any(name in row for row in rows)
    }
    return {
        "steps": sum(row["steps"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "devices": sorted({row["device"] for row in rows}),
        **memory,
    }
