"""facts: what is known of a run once its answer is scored; the manifest and the submission's record both state it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fineseg.cost import cost_table
from fineseg.data.checks import hash_files
from fineseg.profile.schema import ModelTable, Profile
from fineseg.runs import environment, git_state
from fineseg.stages.context import Context
from fineseg.stages.examine import HASHES
from fineseg.stages.folds import folds_record
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained
from fineseg.store import LEDGER, content_key, read_rows


@dataclass(frozen=True)
class Made:
    """What a run was asked, and what it has made: trainings by name, predictions by model and role."""

    command: str
    started: str
    work: Mapping[str, int]
    rows_before: Mapping[Path, int]
    trained: Mapping[str, Trained]
    predicted: Mapping[tuple[str, str], Predicted]
    combined: Predicted


def run_facts(context: Context, prepared: Prepared, made: Made) -> dict[str, Any]:
    """Return all facts as plain data; weights are hashed once."""
    profile = context.profile.model_dump(mode="json")
    splits = {
        name: {
            "images": len(split.images),
            "objects": sum(len(split.objects_of(image.id)) for image in split.images),
            "digest": prepared.digests[name],
        }
        for name, split in prepared.splits.named().items()
    }
    return {
        "command": made.command,
        "started": made.started,
        "settings": {"file": str(context.file), "digest": content_key(profile), **chief_settings(context.profile)},
        "profile": profile,
        "environment": environment(context.catalog),
        "hardware": _hardware(),
        "git": git_state(context.file.absolute().parent),
        "data": {"root": str(prepared.root), "splits": splits},
        "seeds": find_seeds(profile),
        "folds": folds_record(prepared),
        "trainings": _trainings(context, made.trained),
        "predictions": {f"{model} {role}": entry.key for (model, role), entry in made.predicted.items()},
        "combined": made.combined.key,
        "work": dict(made.work),
        "cost": cost_table(_used(context, made), made.rows_before),
    }


def submission_record(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a submission says of itself: the facts of its run, what it scored, and the time."""
    return {"written": datetime.now().astimezone().isoformat(timespec="seconds"), "scores": dict(metrics), **facts}


def chief_settings(profile: Profile) -> dict[str, Any]:
    """Return what one asks first of a profile, in few words; part options are left out."""
    models = {}
    for model in profile.chosen:
        table, train = profile.models[model], profile.train_of(model)
        chosen = ("epochs", "batch", "lr", "long_side", "precision", "final")
        models[model] = {
            "backbone": table.backbone.name,
            "neck": table.neck.name,
            "head": _heads(table),
            "train": {name: getattr(train, name) for name in chosen},
        }
    predict = profile.predict
    return {
        "competition": profile.competition.title or profile.competition.name,
        "models": models,
        "predict": {"long_side": predict.long_side, "tta": " + ".join(choice.name for choice in predict.tta)},
        "ensembler": _combination(profile),
        "format": profile.submission.format.name if profile.submission is not None else None,
    }


def _heads(table: ModelTable) -> str:
    """Say which heads a model has, and what they share, in a few words."""
    if table.head is not None:
        return table.head.name
    ends = ", ".join(f"{end}: {choice.name}" for end, choice in table.ends.items())
    return f"{ends} (one backbone and neck for all, {table.ends_training or 'joint'} training)"


def _combination(profile: Profile) -> str:
    """Say how the models are combined, in a word."""
    table = profile.combine
    if table is None:
        return "none: the best model alone"
    choice = table.ensembler or table.fuser
    words = ["dense ensemble"] if table.dense is not None else []
    return ", ".join(words + ([choice.name] if choice is not None else []))


def find_seeds(profile: Mapping[str, Any]) -> dict[str, int]:
    """Return every seed that a resolved profile states, by its dotted key."""
    found: dict[str, int] = {}
    for key, value in profile.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": seed for inner, seed in find_seeds(value).items()}
        elif key == "seed" and isinstance(value, int):
            found[key] = value
    return found


def _trainings(context: Context, trained: Mapping[str, Trained]) -> dict[str, dict[str, Any]]:
    weights = {entry.weights for entry in trained.values() if entry.weights.is_file()}
    with context.console.task("hash weights", len(weights), "files") as task:
        hashes = hash_files(sorted(weights), context.store.root / HASHES, task.update)
    return {
        name: {**_training_record(entry), "weights_sha256": hashes.get(str(entry.weights))}
        for name, entry in trained.items()
    }


def _training_record(entry: Trained) -> dict[str, Any]:
    rows = read_rows(entry.folder / LEDGER)
    return {
        "key": entry.key,
        "folder": str(entry.folder),
        "steps": sum(row["steps"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "devices": sorted({row["device"] for row in rows}),
    }


def _used(context: Context, made: Made) -> list[tuple[str, str, Path]]:
    """Return (stage, model, entry's folder) of all results that cost work; those of a model's folds go together."""
    trained = [
        ("train", name if entry.fold is None else f"{entry.model} (folds)", entry.folder)
        for name, entry in made.trained.items()
    ]
    predicted = [
        ("predict", f"{answer.model}{' (folds)' if answer.parts else ''}", context.store.folder("predict", entry.key))
        for answer in made.predicted.values()
        for entry in answer.entries
    ]
    return trained + predicted


def _hardware() -> dict[str, Any]:
    import psutil

    return {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}
