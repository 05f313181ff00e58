"""Two runs side by side: which settings and which classes changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineseg.board.rank import model_of
from fineseg.board.read import CLASSES, FILES, read_document, read_entry
from fineseg.errors import FinesegError

SMALL = 0.05
"""Points; a class that changed by less has not changed."""
FIGURES = ("PQ", "AP")
COMBINED = "combined"


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Return what differs between two run folders, as plain data.

    {"settings": {key: [a, b]}, "scores": {name: {figure: [a, b]}}, "classes": {name: [{"class", "figure", "scores":
    [a, b]}]}, "data": names of splits that differ, "comparable": whether both are scored on the same images}; names are
    those of models that both have, and "combined". Of models that one has alone nothing is told but
    "competition.models". Scores are in percent, None where there is none. Raises `FinesegError` for a folder that is
    none of a run.
    """
    entries = [_entry_of(folder) for folder in (first, second)]
    settings = [entry["settings"] for entry in entries]
    models = {model_of(key) for key in settings[0]} & {model_of(key) for key in settings[1]}
    keys = [key for key in dict.fromkeys([*settings[0], *settings[1]]) if model_of(key) in models]
    pairs = {key: [each.get(key) for each in settings] for key in keys}
    manifests = [read_document(folder / FILES["run"][0]) for folder in (first, second)]
    digests = [_digests(manifest) for manifest in manifests]
    scored = [each.get(_scored_on(own)) for each, own in zip(digests, settings, strict=True)]
    scores = [{**entry["models"], COMBINED: entry["scores"]} for entry in entries]
    return {
        "runs": [str(first), str(second)],
        "settings": {key: pair for key, pair in pairs.items() if pair[0] != pair[1]},
        "scores": {name: _paired(scores[0][name], scores[1][name]) for name in scores[0] if name in scores[1]},
        "classes": _classes(first, second),
        "data": sorted(name for name in digests[0].keys() | digests[1].keys() if _differ(name, *digests)),
        "comparable": scored[0] == scored[1],
    }


def _entry_of(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FinesegError(f"{folder}: no such folder; give one that `fineseg run` wrote")
    for kind, names in FILES.items():
        if kind != "run" and (folder / names[0]).is_file():
            raise FinesegError(f"{folder}: is the folder of a {kind}; diff compares two runs")
    try:
        return read_entry(folder, "run")
    except FinesegError as error:
        raise FinesegError(f"{folder}: no finished run: {error}; give a folder that `fineseg run` wrote") from None


def _digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(split.get("digest")) for name, split in manifest.get("data", {}).get("splits", {}).items()}


def _scored_on(settings: Mapping[str, Any]) -> str:
    """Return the name of the split that a run is scored on; what is held out of `train` is named after it."""
    train = str(settings.get("data.train", "train"))
    if "data.validation.folds" in settings:
        return train
    return str(settings.get("data.validation", f"{train}-held-out"))


def _differ(name: str, a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    return a.get(name) != b.get(name)


def _paired(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, list[float | None]]:
    return {name: [a.get(name), b.get(name)] for name in dict.fromkeys([*a, *b])}


def _classes(first: Path, second: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Return how the classes changed, the largest first; None where a run is older than what it tells of them."""
    if not all((folder / CLASSES).is_file() for folder in (first, second)):
        return None
    tables = [read_document(folder / CLASSES) for folder in (first, second)]
    found = {}
    for name in tables[0].keys() & tables[1].keys():
        a, b = (
            {(row["class"], figure): row.get(figure) for row in table[name] for figure in FIGURES} for table in tables
        )
        rows = [
            {"class": key[0], "figure": key[1], "scores": [a.get(key), b.get(key)]}
            for key in dict.fromkeys([*a, *b])
            if changed(a.get(key), b.get(key))
        ]
        found[name] = sorted(rows, key=lambda row: -_change(*row["scores"]))
    return dict(sorted(found.items(), key=lambda item: (item[0] != COMBINED, item[0])))


def changed(a: float | None, b: float | None) -> bool:
    """Say whether a score [percent] differs by `SMALL`, or is there in one run alone."""
    return (a is None) != (b is None) or _change(a, b) >= SMALL


def _change(a: float | None, b: float | None) -> float:
    return abs(b - a) if a is not None and b is not None else 0.0
