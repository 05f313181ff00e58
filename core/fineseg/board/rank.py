"""Putting entries side by side: best first, and what each run does otherwise than most."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fineseg.board.read import Entry
from fineseg.errors import FinesegError
from fineseg.metrics.figures import HEADLINES
from fineseg.profile.faults import suggest
from fineseg.profile.space import short_names

ABSENT = "-"
NOTHING = json.dumps(None)
TABLE = "set"
"""What stands for a whole table that other runs do not have, unless it holds `FEW` plain values at most."""
FEW = 3
SHOWN = 6
"""Differences that are told in a line; `diff` tells all."""


def headline(entry: Entry) -> str:
    """Return the name of the figure that an entry goes by."""
    scores = entry["scores"]
    return next((name for name in HEADLINES if name in scores), next(iter(scores), ""))


def grouped(entries: Iterable[Entry], metric: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return rows by competition, best first: an entry with "metric", "score" and "differs", what it does otherwise.

    `metric` is the figure to go by; each entry's own headline if None. Raises `FinesegError` for one that none has.
    """
    found = list(entries)
    known = sorted({name for entry in found for name in entry["scores"]})
    if metric is not None and metric not in known:
        raise FinesegError(f"--metric {metric}: no run has such a figure; {suggest(metric, known)}")
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(found, key=lambda entry: (entry["started"], entry["folder"])):
        groups.setdefault(entry["competition"], []).append(entry)
    return {name: _ranked(groups[name], metric) for name in sorted(groups)}


def _ranked(entries: Sequence[Entry], metric: str | None) -> list[dict[str, Any]]:
    runs = [entry for entry in entries if entry["kind"] == "run"]
    differing = dict(zip((id(run) for run in runs), differences([run["settings"] for run in runs]), strict=True))
    rows = []
    for entry in entries:
        name = metric or headline(entry)
        score = entry["scores"].get(name)
        rows.append({**entry, "metric": name, "score": score, "differs": differing.get(id(entry), {})})
    return sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0)))


def differences(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each run what it sets otherwise than most do, or the first, of as many; None where it has no such key.

    Settings of a model are compared among the runs that have it. A table that the others lack is one entry, by its
    part's name or `TABLE`; options of a part whose name differs are left out, as another part has others.
    """
    keys = list(dict.fromkeys(key for each in settings for key in each))
    found: list[dict[str, Any]] = [{} for _ in settings]
    usual: dict[str, Any] = {}
    models = [{model_of(key) for key in each} for each in settings]
    for key in keys:
        having = [number for number, own in enumerate(models) if model_of(key) in own | {""}]
        values = [json.dumps(settings[number].get(key), sort_keys=True) for number in having]
        most = Counter(values).most_common(1)[0][0]  # the first one that occurs, of those that occur as often
        if most != NOTHING:
            usual[key] = most
        for number, value in zip(having, values, strict=True):
            if value != most:
                found[number][key] = settings[number].get(key)
    return [_in_tables(each, own, usual) for each, own in zip(found, settings, strict=True)]


def model_of(key: str) -> str:
    """Return the model that a dotted key is of, "" for one of all."""
    return key.split(".")[1] if key.startswith("models.") else ""


def _in_tables(differing: Mapping[str, Any], own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Put keys together that differ because a whole table or part does."""
    parts = tuple(key.removesuffix("name") for key in differing if key.endswith(".name"))
    found: dict[str, Any] = {}
    for key, value in differing.items():
        there, lacking = (usual, own) if value is None else (own, usual)
        table = _lacking_table(key, lacking)
        if f"{table}.name" in there:
            found[f"{table}.name"] = own.get(f"{table}.name")
        elif table != key:
            found[table] = None if value is None else _inside(table, own)
        elif key.endswith(".name") or not (parts and key.startswith(parts)):
            found[key] = value
    return found


def _inside(table: str, settings: Mapping[str, Any]) -> Any:
    names = {key.removeprefix(f"{table}."): value for key, value in settings.items() if key.startswith(f"{table}.")}
    return names if len(names) <= FEW and not any("." in name for name in names) else TABLE


def _lacking_table(key: str, settings: Mapping[str, Any]) -> str:
    """Return the shortest beginning of a dotted key of which settings have nothing."""
    names = key.split(".")
    for length in range(1, len(names)):
        table = ".".join(names[:length])
        if not any(other == table or other.startswith(f"{table}.") for other in settings):
            return table
    return key


def in_short(differing: Mapping[str, Any]) -> str:
    """Return differences in few words; the first `SHOWN` of them."""
    names = short_names([key.removesuffix(".name") for key in differing])
    words = [f"{name}={shown(value)}" for name, value in zip(names, differing.values(), strict=True)]
    return ", ".join(words[:SHOWN]) + (f", and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def shown(value: Any) -> str:
    """Return a setting as text: as a profile has it, but for quotes."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}={shown(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return "+".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
