"""Search spaces as plain functions: corners, grids, random points, and what a point says as tables.

A point is a dict: dotted key of the profile -> value, with the space's keys in its own order.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fineseg.profile.schema import SpaceTable

Space = Mapping[str, SpaceTable]
Point = dict[str, Any]

DIGITS = 4
"""Significant digits of a value taken from a continuous range: more would say nothing, and could not be read."""
MISSES = 1000
"""Points drawn in a row that were there already, after which a space counts as used up."""


def grid(space: Space) -> list[Point]:
    """Return every combination of a space's choices and whole numbers, the last key varying fastest."""
    values = [_all_values(entry) for entry in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]


def random_points(space: Space, count: int, seed: int) -> list[Point]:
    """Return `count` different points of a space, or all there are; more points begin with the fewer ones."""
    generator = np.random.default_rng(seed)
    points: list[Point] = []
    misses = 0
    while len(points) < count and misses < MISSES:
        point = {key: _draw(entry, generator) for key, entry in space.items()}
        if point in points:
            misses += 1
        else:
            points.append(point)
            misses = 0
    return points


def corners(space: Space) -> list[Point]:
    """Return what must be sound for a space to be, one key at a time: every choice, both ends of every range, and of
    a continuous one a value between them that is not whole."""
    return [{key: value} for key, entry in space.items() for value in (*ends(entry), *_between(entry))]


def ends(entry: SpaceTable) -> tuple[Any, ...]:
    """Return every choice, or both ends of a range."""
    return entry.choice or entry.uniform or entry.log_uniform or entry.integer or ()


def rounded(value: float, entry: SpaceTable) -> float:
    """Return a value of a continuous range in few digits, and still inside."""
    low, high = ends(entry)
    return float(min(max(float(f"{value:.{DIGITS}g}"), low), high))


def as_tables(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point as tables to be laid over a profile."""
    tables: dict[str, Any] = {}
    for key, value in point.items():
        *names, last = key.split(".")
        inner = tables
        for name in names:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return tables


def in_words(point: Mapping[str, Any]) -> str:
    """Return a point in one line, keys by their last names where these tell them apart."""
    return ", ".join(
        f"{name} {_word(value)}" for name, value in zip(short_names(list(point)), point.values(), strict=True)
    )


def short_names(keys: Sequence[str]) -> list[str]:
    """Return each key's last names, as few as tell the keys apart."""
    for length in range(1, max((key.count(".") + 2 for key in keys), default=1)):
        names = [".".join(key.split(".")[-length:]) for key in keys]
        if len(set(names)) == len(names):
            return names
    return list(keys)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _between(entry: SpaceTable) -> tuple[float, ...]:
    if entry.choice or entry.integer:
        return ()
    low, high = ends(entry)
    return (low + 0.381966 * (high - low),)


def _all_values(entry: SpaceTable) -> Sequence[Any]:
    if entry.choice is not None:
        return entry.choice
    low, high = entry.integer or (0, -1)
    return range(low, high + 1)


def _draw(entry: SpaceTable, generator: np.random.Generator) -> Any:
    if entry.choice is not None:
        return entry.choice[int(generator.integers(len(entry.choice)))]
    if entry.integer is not None:
        return int(generator.integers(entry.integer[0], entry.integer[1] + 1))
    if entry.log_uniform is not None:
        low, high = entry.log_uniform
        return rounded(math.exp(generator.uniform(math.log(low), math.log(high))), entry)
    low, high = ends(entry)
    return rounded(generator.uniform(low, high), entry)
