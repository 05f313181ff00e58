"""report: what the run folder says of itself: manifest, resolved profile, logs, links into the store, report.html."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.cost import cost_table
from fineseg.data.split import ImageInfo
from fineseg.report.page import Example, ReportData, write_report
from fineseg.runs import environment, git_state
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained
from fineseg.store import LEDGER, read_rows, write_json

EXAMPLES = 10


@dataclass(frozen=True)
class Outcome:
    """All that a run has to tell."""

    command: str
    started: str
    seconds: Mapping[str, float]
    work: Mapping[str, int]
    rows_before: Mapping[Path, int]
    metrics: Mapping[str, Any]
    per_class: Mapping[str, tuple[float, ...]]
    trained: Mapping[str, Trained]
    predicted: Mapping[tuple[str, str], Predicted]
    combined: Predicted
    submission: Path | None


def write_run(context: Context, prepared: Prepared, outcome: Outcome, out: Path) -> Path:
    """Write manifest.json, profile.json, links and report.html into the run folder; return the report's path."""
    manifest = _manifest(context, prepared, outcome)
    write_json(out / "profile.json", context.profile.model_dump(mode="json"))
    write_json(out / "manifest.json", manifest)
    for model, entry in outcome.trained.items():
        _link(out / "models" / model, entry.folder)
    for (model, role), predicted in outcome.predicted.items():
        _link(out / "predictions" / model / role, context.store.folder("predict", predicted.key))
    with context.console.task("write report"):
        data = ReportData(
            title=context.profile.competition.title or context.profile.competition.name,
            profile=str(context.file),
            manifest=manifest,
            metrics=outcome.metrics,
            per_class=outcome.per_class,
            categories=prepared.splits.validation.categories,
            curves={model: read_rows(entry.folder / "curve.jsonl") for model, entry in outcome.trained.items()},
            examples=_examples(prepared, outcome),
            submission=outcome.submission,
        )
        return write_report(out / "report.html", data)


def _manifest(context: Context, prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    splits = {
        name: {
            "images": len(split.images),
            "objects": sum(len(split.objects_of(image.id)) for image in split.images),
            "digest": prepared.digests[name],
        }
        for name, split in prepared.splits.named().items()
    }
    return {
        "command": outcome.command,
        "started": outcome.started,
        "profile": context.profile.model_dump(mode="json"),
        "environment": environment(context.catalog),
        "hardware": _hardware(),
        "git": git_state(context.file.absolute().parent),
        "data": {"root": str(prepared.root), "splits": splits},
        "trainings": {model: _training_record(entry) for model, entry in outcome.trained.items()},
        "predictions": {f"{model} {role}": entry.key for (model, role), entry in outcome.predicted.items()},
        "combined": outcome.combined.key,
        "work": dict(outcome.work),
        "cost": cost_table(_used(context, outcome), outcome.rows_before),
        "seconds": dict(outcome.seconds),
    }


def _used(context: Context, outcome: Outcome) -> list[tuple[str, str, Path]]:
    """Return (stage, model, entry's folder) of all results that cost work."""
    trained = [("train", model, entry.folder) for model, entry in outcome.trained.items()]
    predicted = [
        ("predict", model, context.store.folder("predict", entry.key))
        for (model, _), entry in outcome.predicted.items()
    ]
    return trained + predicted


def _training_record(entry: Trained) -> dict[str, Any]:
    rows = read_rows(entry.folder / LEDGER)
    return {
        "key": entry.key,
        "folder": str(entry.folder),
        "steps": sum(row["steps"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "devices": sorted({row["device"] for row in rows}),
    }


def _hardware() -> dict[str, Any]:
    import psutil

    return {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}


def _link(link: Path, target: Path) -> None:
    """Point from the run folder into the store."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(os.path.relpath(target, link.parent))


def _examples(prepared: Prepared, outcome: Outcome) -> list[Example]:
    """Return validation images for the pictures, evenly spread over the split."""
    split = prepared.splits.validation
    images = _spread(split.images, EXAMPLES)
    combined = outcome.combined.read()
    models = {m: entry.read() for (m, role), entry in outcome.predicted.items() if role == "validation"}
    return [
        Example(
            image=image,
            truth=split.objects_of(image.id),
            models={model: found[image.id] for model, found in models.items() if image.id in found},
            combined=combined.get(image.id),
        )
        for image in images
    ]


def _spread(images: Sequence[ImageInfo], count: int) -> list[ImageInfo]:
    if len(images) <= count:
        return list(images)
    return [images[i * len(images) // count] for i in range(count)]
