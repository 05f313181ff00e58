"""The search itself: a pattern search, one coordinate at a time in steps that shrink; deterministic.

On three seeds of the demo its nested gain is that of optuna's TPE after as many merges (+0.49 and +0.50 AP). It needs
no model of the hill, and searches on nearly the same images walk nearly the same way: what one of them has merged the
others need not (see `objective`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fineseg.profile.combine_schema import SearchTable, SpaceTable
from fineseg.profile.space import ends, rounded
from fineseg.tuning.matching import mean_over_classes
from fineseg.tuning.setting import Setting, relative

Measure = Callable[[Setting], np.ndarray]
"""The figure of each class [C] that a setting reaches."""
Move = Callable[[Setting, int], list[Setting]]
"""Neighbours of a setting along one coordinate, at a level of fineness."""

LEVELS = 3
"""Times that steps are made, each half as long as before."""
LEAST_SCORES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Thresholds that are tried in every class at once."""
HIGHEST_THRESHOLD = SpaceTable(uniform=(0.0, 0.5))
SOME = 1e-9
"""A gain that is more than rounding [percent]."""


def search(measure: Measure, start: Setting, table: SearchTable, own: Mapping[str, Any]) -> Setting:
    """Return the best setting found in at most `table.trials` measurements, `start` if none is better.

    `own` are the options as the profile sets them, where searched options begin.
    """
    return _Walk(measure, start, table.trials).run(table, own)


class _Walk:
    """Where a search stands: it goes on to a neighbour as soon as that is better."""

    def __init__(self, measure: Measure, start: Setting, trials: int) -> None:
        self.measure = measure
        self.trials = trials
        self.tried: dict[str, np.ndarray] = {}
        self.best = start
        self.height = self._height(start)

    def run(self, table: SearchTable, own: Mapping[str, Any]) -> Setting:
        moves = _moves(table, self.best, own)
        order = np.random.default_rng(table.seed).permutation(len(moves))
        for level in range(LEVELS):
            for _ in range(2):
                before = self.best
                if table.thresholds == "per-class":
                    self._by_class()
                for axis in order:
                    self._along(moves[axis], level)
                if self.best == before:
                    break
        return self.best

    def _along(self, move: Move, level: int) -> None:
        for neighbour in move(self.best, level):
            if self._try(neighbour):
                break

    def _try(self, setting: Setting) -> bool:
        """Go to a setting if it is better, as long as there are trials left."""
        if repr(setting) not in self.tried and len(self.tried) >= self.trials:
            return False
        height = self._height(setting)
        if not height > self.height + SOME:
            return False
        self.best, self.height = setting, height
        return True

    def _height(self, setting: Setting) -> float:
        key = repr(setting)
        if key not in self.tried:
            self.tried[key] = self.measure(setting)
        return float(np.nan_to_num(mean_over_classes(self.tried[key][None])[0], nan=-1.0))

    def _by_class(self) -> None:
        """Try each threshold in all classes at once, and go to what is best in each of them."""
        classes = len(self.tried[repr(self.best)])
        now = np.array(self.best.thresholds or (0.0,) * classes)
        best, highest = now.copy(), np.nan_to_num(self.tried[repr(self.best)])
        for least in (0.0, *LEAST_SCORES):
            level = replace(self.best, thresholds=(least,) * classes)
            if repr(level) not in self.tried and len(self.tried) >= self.trials:
                return
            self._height(level)
            figures = np.nan_to_num(self.tried[repr(level)])
            better = figures > highest + SOME
            best[better], highest[better] = least, figures[better]
        self._try(replace(self.best, thresholds=tuple(best.tolist())))


def _moves(table: SearchTable, start: Setting, own: Mapping[str, Any]) -> list[Move]:
    moves: list[Move] = []
    if table.weights and len(start.weights) > 1:
        moves += [_weight_move(model) for model in range(len(start.weights))]
    moves += [_option_move(name, entry, own[name]) for name, entry in table.space.items()]
    if table.thresholds == "overall":
        moves.append(_threshold_move)
    return moves


def _weight_move(model: int) -> Move:
    """Multiply a model's weight by 2, 2^(1/2), 2^(1/4), or divide it; at first also leave the model out."""

    def move(setting: Setting, level: int) -> list[Setting]:
        weight, factor = setting.weights[model], 2.0 ** (0.5**level)
        values = [weight * factor, weight / factor] if weight > 0 else [0.5]
        values += [0.0] if level == 0 and weight > 0 else []
        found = []
        for value in values:
            weights = [value if n == model else other for n, other in enumerate(setting.weights)]
            if max(weights) > 0:
                found.append(replace(setting, weights=relative(weights)))
        return found

    return move


def _option_move(name: str, entry: SpaceTable, own: Any) -> Move:
    """Try an option's other choices, or a quarter of its range to either side, an eighth, a sixteenth."""

    def move(setting: Setting, level: int) -> list[Setting]:
        value = setting.options.get(name, own)
        return [
            replace(setting, options={**setting.options, name: other})
            for other in _neighbours(entry, value, level)
            if other != value
        ]

    return move


def _threshold_move(setting: Setting, level: int) -> list[Setting]:
    value = setting.thresholds[0] if setting.thresholds else 0.0
    found = _neighbours(HIGHEST_THRESHOLD, value, level)
    return [replace(setting, thresholds=(least,)) for least in found if least != value]


def _neighbours(entry: SpaceTable, value: Any, level: int) -> Iterator[Any]:
    if entry.choice is not None:
        yield from entry.choice
        return
    low, high = ends(entry)
    step = 0.25 * 0.5**level
    logarithmic = entry.log_uniform is not None
    span = np.log(high / low) if logarithmic else high - low
    inside = min(max(value, low), high)
    for sign in (1, -1):
        moved = inside * np.exp(sign * step * span) if logarithmic else inside + sign * step * span
        moved = min(max(moved, low), high)
        if entry.integer is None:
            yield rounded(moved, entry)
        else:
            # a step of a small range may round to none; one to the side is the least that is a step
            whole = round(moved)
            yield min(max(whole if whole != inside else inside + sign, low), high)
