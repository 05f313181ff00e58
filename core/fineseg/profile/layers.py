"""Merging tables: later layers win key by key, arrays and chosen parts are replaced whole."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Raw = Mapping[str, Any]

NAME = re.compile(r'(?:^|\.)("[^"]*"|[^.]*)')
"""A name in a dotted key."""

PART_KEYS = frozenset(
    {"backbone", "neck", "head", "balancer", "dataset", "merge_views", "merge", "ensembler", "fuser", "format"}
)
"""Keys whose value chooses a part: a bare name there stands for a table with that `name` alone."""

OF_PARTS = frozenset({"ends", "losses"})
"""Tables whose values, by any name, choose parts."""

WAYS = {"validation": frozenset({"random", "folds"}), "combine": frozenset({"ensembler", "fuser", "dense"})}
"""How images are held out, and models combined: a layer that says another way takes the one below away.

One that says the way below again, and another beside it, goes on from what is below.
"""

JOINED = ((frozenset({"dense"}), frozenset({"fuser"})),)
"""Ways of a layer and of the next that go together: a fuser over a dense ensemble takes this as one of its models."""

WHOLE = frozenset({"space", "set", "weights"})
"""Tables that a layer replaces whole: they say all that varies, that a row changes, or that counts, and no more."""


@dataclass(frozen=True)
class Layer:
    """One source of settings: `origin` is how messages name it."""

    origin: str
    tables: Raw


def merge(below: Raw, above: Raw) -> dict[str, Any]:
    """Lay one table over another.

    A choice with another `name` replaces the one below: its options belonged to another part. `[competition]` has a
    name too, which chooses nothing.
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if key in OF_PARTS and isinstance(old, Mapping) and isinstance(value, Mapping):
            old, value = ({name: as_choice(choice) for name, choice in each.items()} for each in (old, value))
        if key in PART_KEYS and isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _replaced(key, old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def as_choice(value: Any) -> Any:
    """Return the table that a bare name of a part stands for; anything else as it is."""
    return {"name": value} if isinstance(value, str) else value


def _replaced(key: str, old: Raw, new: Raw) -> bool:
    other_choice = key != "competition" and "name" in old and "name" in new and old["name"] != new["name"]
    before, after = (WAYS.get(key, frozenset()) & table.keys() for table in (old, new))
    goes_on = (before, after) in JOINED or (bool(before) and before < after)
    other_way = bool(after - before) and not goes_on
    return key in WHOLE or other_choice or other_way


def merge_layers(layers: list[Layer]) -> dict[str, Any]:
    """Merge layers, lowest first."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.tables)
    return merged


def setters(layers: list[Layer], key: str) -> list[tuple[str, Any]]:
    """Return (origin, value) of every layer that says something of a dotted key, lowest first.

    The last one is in force: a layer that takes the key away, as one that chooses another part does, leaves none.
    """
    found: list[tuple[str, Any]] = []
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.tables)
        value = at(merged, key)
        if value is MISSING:
            found = []
        elif at(layer.tables, key) is not MISSING:
            found.append((layer.origin, value))
    return found


def at(tables: Any, key: str) -> Any:
    """Return what stands at a dotted key, or `MISSING`."""
    value = tables
    names = names_in(key)
    for number, name in enumerate(names):
        if number and (names[number - 1] in PART_KEYS or OF_PARTS.intersection(names[number - 2 : number - 1])):
            value = as_choice(value)
        value = value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
    return value


def names_in(key: str) -> list[str]:
    """Return the names that a dotted key is made of; one in quotes may have dots itself."""
    return [name[1:-1] if name.startswith('"') else name for name in NAME.findall(key)]


def quoted(name: str) -> str:
    """Return a name as a dotted key holds it: in quotes where it has dots itself."""
    return f'"{name}"' if "." in name else name


def leaves(tables: Raw, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every value that is not a table."""
    for key, value in tables.items():
        path = f"{prefix}{quoted(key)}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path


MISSING = object()
"""Stands for "nothing there", which None does not: it may be a value."""
