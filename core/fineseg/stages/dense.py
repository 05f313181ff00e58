"""dense: models that look at each image together, as `[combine] dense` has it; shards as of single models."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fineseg.data.split import Split
from fineseg.parts import Output
from fineseg.profile.combine_schema import COMBINED, DENSE
from fineseg.runs import prediction_key
from fineseg.scheduling.orders import PredictionOrder
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted, join_folds, run_orders, shards_of
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained
from fineseg.store import content_key

EVERYTHING: tuple[Output, ...] = ("instances", "semantic", "panoptic")
RECIPE = 1
"""Raise it when the same models say something else together."""


def predict_dense(
    context: Context, prepared: Prepared, wanted: Mapping[str, Mapping[str, Trained]]
) -> dict[str, Predicted]:
    """Predict each role's split with all models together; return predictions by role, none without `[combine] dense`.

    One model together with nobody has nothing to say that it did not say alone: none for it either. With folds, those
    trainings that left a fold out predict it together, and with them weights that were given.
    """
    table = context.profile.combine
    if table is None or table.dense is None:
        return {}
    profile = context.profile
    names = table.dense_of(profile.predictions)
    if not names:
        return {}
    found: dict[str, list[Predicted]] = {}
    keys: dict[str, str] = {}
    orders: list[PredictionOrder] = []
    for role, trained in wanted.items():
        for fold, members in _members(context, names, trained):
            part = prepared if fold is None else prepared.folds[fold]
            split: Split = getattr(part.splits, role)
            key = _key(context, members, part.digests[split.name])
            files = shards_of(split, profile.predict.shard, context.store.folder("predict", key))
            shards = tuple(files.values())
            each = tuple(Predicted(name, role, key, shards, entry.weights) for name, entry in members.items())
            found.setdefault(role, []).append(Predicted(DENSE, role, key, shards, members=each, gives=EVERYTHING))
            if context.store.finished("predict", key) is None and key not in keys:
                keys[key] = DENSE
                topic = f"{DENSE} {role}" if fold is None else f"{DENSE} fold {fold} {role}"
                orders += _orders(topic, members, role, files)
    if keys:
        run_orders(context, prepared, keys, orders)
    return {role: join_folds(prepared, DENSE, role, parts) for role, parts in found.items()}


def dense_finished(context: Context, prepared: Prepared, trained: Mapping[str, Trained]) -> bool:
    """Say whether the store holds all that these trainings say together of the validation split."""
    table = context.profile.combine
    names = () if table is None else table.dense_of(context.profile.predictions)
    for fold, members in _members(context, names, trained):
        part = prepared if fold is None else prepared.folds[fold]
        key = _key(context, members, part.digests[part.splits.validation.name])
        if context.store.finished("predict", key) is None:
            return False
    return True


def _members(
    context: Context, names: Sequence[str], trained: Mapping[str, Trained]
) -> Iterator[tuple[int | None, dict[str, Trained]]]:
    """Yield the trainings that look together, by the names of their predictions: those of each fold, or all."""
    folds = dict.fromkeys(entry.fold for entry in trained.values() if entry.fold is not None)
    for fold in folds or (None,):
        own = {entry.model: entry for entry in trained.values() if entry.fold in (fold, None)}
        yield fold, {name: own[context.profile.model_of(name)] for name in names}


def together(
    context: Context, dense: Mapping[str, Predicted], combined: Mapping[str, Predicted]
) -> dict[tuple[str, str], Predicted]:
    """Return what several models say of the validation split: the combination, and before a fuser's an ensemble."""
    table, role = context.profile.combine, "validation"
    ensemble = {(DENSE, role): dense[role]} if dense and table is not None and table.fuser is not None else {}
    return {**ensemble, (COMBINED, role): combined[role]}


def _key(context: Context, members: Mapping[str, Trained], digest: str) -> str:
    profile, table = context.profile, context.profile.combine
    if table is None or table.dense is None:
        raise ValueError("no dense ensemble is asked for")
    weights = [table.dense.weights.get(name, 1.0) for name in members]
    content = {
        "dense": {**table.dense.model_dump(mode="json", exclude={"weights"}), "recipe": RECIPE},
        "weights": [weight / sum(weights) for weight in weights],
        "members": [
            prediction_key(profile, context.catalog, name, entry.key, digest) for name, entry in members.items()
        ],
        "predict": profile.predict.model_dump(mode="json", exclude={"cpus", "tta", "merge_views"}),
    }
    return content_key(content)


def _orders(
    topic: str, members: Mapping[str, Trained], role: str, files: Mapping[tuple[int, ...], Path]
) -> list[PredictionOrder]:
    weights = {name: str(entry.weights) for name, entry in members.items()}
    return [
        PredictionOrder(topic, "", "", role, ids, str(file), members=weights)
        for ids, file in files.items()
        if not file.exists()
    ]
