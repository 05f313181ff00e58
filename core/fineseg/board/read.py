"""Reading the folders that `run`, `sweep` and `ablate` leave, as plain data: an entry of the board for each.

An entry is {"folder", "kind", "competition", "started", "scores", "models", "cost", "settings"}: scores [percent] by
the name of the figure, of the combination, the best trial or the best row; "models" the same by model, trial or row;
"cost" {"cpu_hours", "gpu_hours"} of all results that were used, whoever made them; "settings" the resolved profile of a
run by dotted key.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fineseg.errors import FinesegError
from fineseg.metrics.figures import panoptic_figures
from fineseg.profile.layers import leaves, names_in
from fineseg.profile.schema import Profile
from fineseg.store import RUN_LOG

Entry = dict[str, Any]

FILES = {
    "run": ("manifest.json", "metrics.json", "profile.json"),
    "sweep": ("sweep.json",),
    "ablation": ("table.json",),
}
"""What is read of the folder of each kind; the first file tells the kind."""
CLASSES = "classes.json"
ELSEWHERE = ("data.root", "sweep", "tables", "plugins", "train.cpus", "train.keep", "predict.cpus", "predict.shard")
"""Settings that change nothing of what a run reaches, or that it does not read."""


@dataclass(frozen=True)
class Broken:
    """A folder that cannot be listed, and why."""

    folder: Path
    why: str


def find_runs(top: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folders below `top`, itself included, that a command wrote, and their kind, "" where none is through.

    Links are not followed: they lead into the store.
    """
    for path, folders, files in os.walk(top):
        folders.sort()
        kinds = [kind for kind, names in FILES.items() if names[0] in files]
        if kinds or RUN_LOG in files or FILES["run"][1] in files:
            yield Path(path), kinds[0] if kinds else ""
        folders[:] = [name for name in folders if not name.startswith(".")]


def read_entry(folder: Path, kind: str) -> Entry:
    """Read a folder of a kind; raises `FinesegError` that says why where it does not hold what it should."""
    if not kind:
        raise FinesegError("not through: no scores yet; the same command goes on with it")
    documents = [read_document(folder / name) for name in FILES[kind]]
    try:
        return {"folder": str(folder), "kind": kind, **READERS[kind](folder, *documents)}
    except KeyError as error:
        raise FinesegError(f"{' or '.join(FILES[kind])} lacks {error}: of another version, or damaged") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise FinesegError(f"{' or '.join(FILES[kind])}: not as fineseg writes it ({type(error).__name__})") from None


def read_document(file: Path) -> Any:
    """Read a JSON file; raises `FinesegError` with the file's name alone."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FinesegError(f"{file.name} is missing") from None
    except OSError as error:
        raise FinesegError(f"{file.name}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise FinesegError(f"{file.name}: is damaged") from None


def _read_run(folder: Path, manifest: Any, metrics: Any, profile: Any) -> Entry:
    models = {name: _figures(tables) for name, tables in metrics["models"].items()}
    return {
        "competition": str(profile["competition"]["name"]),
        "started": str(manifest["started"]),
        "scores": _figures(metrics["combined"]),
        "models": models,
        "cost": _cost(manifest),
        "settings": flat_settings(_completed(profile)),
    }


def _read_sweep(folder: Path, record: Any) -> Entry:
    trials = {f"trial {trial['number']}": {record["metric"]: trial["score"]} for trial in record["trials"]}
    best = trials.get(f"trial {record['best']}", {})
    return {
        "competition": str(record.get("competition") or folder.absolute().parent.name),
        "started": str(record["started"]),
        "scores": _numbers(best),
        "models": {name: _numbers(scores) for name, scores in trials.items()},
        "cost": _cost(record),
        "settings": {},
    }


def _read_ablation(folder: Path, record: Any) -> Entry:
    kind, figure = record["headline"]
    rows = {row["name"]: _numbers(row["metrics"].get(kind, {})) for row in record["rows"]}
    best = max(rows.values(), key=lambda scores: scores.get(figure, -1.0), default={})
    return {
        "competition": str(record.get("competition") or folder.absolute().parent.name),
        "started": str(record["started"]),
        "scores": best,
        "models": rows,
        "cost": _cost(record),
        "settings": {},
    }


READERS: dict[str, Callable[..., Entry]] = {"run": _read_run, "sweep": _read_sweep, "ablation": _read_ablation}


def _figures(tables: Mapping[str, Any]) -> dict[str, float]:
    return _numbers({**panoptic_figures(tables), **tables.get("segm", {})})


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Leave out figures that there was no truth for."""
    return {name: float(value) for name, value in scores.items() if value is not None}


def _cost(record: Mapping[str, Any]) -> dict[str, float]:
    ever = record.get("cost", {}).get("ever", {})
    return {name: float(ever.get(name, 0.0)) for name in ("cpu_hours", "gpu_hours")}


def _completed(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the defaults of what an older version did not have; one that is no profile any more stays as it is."""
    try:
        return Profile.model_validate(profile).model_dump(mode="json")
    except ValidationError:
        return profile


def flat_settings(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a resolved profile says by dotted key, less models that are not chosen and what changes no result."""
    chosen = profile["competition"].get("models") or list(profile["models"])
    models = {name: profile["models"][name] for name in chosen}
    own = {**profile, "models": models}
    own["competition"] = {"task": profile["competition"].get("task"), "models": list(chosen)}
    found = {}
    for key in leaves(own):
        if key in ELSEWHERE or key.startswith(tuple(f"{name}." for name in ELSEWHERE)):
            continue
        value: Any = own
        for name in names_in(key):
            value = value[name]
        if value not in (None, {}):  # what is not set
            found[key] = value
    return found
