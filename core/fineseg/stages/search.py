"""An adaptive search: optuna's TPE, told of every trial that ended, whichever command ran it."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from fineseg.profile.space import Point, Space, ends, rounded

REPEATS = 50
"""Suggestions in a row that were tried already, after which a space counts as used up."""


class AdaptiveSearch:
    """Suggests points; one that goes on from earlier trials starts at another seed, or it would repeat them."""

    def __init__(self, space: Space, seed: int, earlier: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar is called experimental
            sampler = optuna.samplers.TPESampler(seed=seed + earlier, constant_liar=True)
        self.space = space
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.distributions = {key: _distribution(entry) for key, entry in space.items()}
        self.asked: dict[int, Any] = {}

    def ask(self, number: int, known: Sequence[Point]) -> Point | None:
        """Return a point for a trial that is not among `known`, or None when none turns up."""
        for _ in range(REPEATS):
            trial = self.study.ask(self.distributions)
            point = {key: self._value(key, value) for key, value in trial.params.items()}
            if point not in known:
                self.asked[number] = trial
                return point
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def tell(
        self, number: int, point: Point, values: Mapping[int, float], score: float | None, *, stopped: bool
    ) -> None:
        """Say how a trial ended: its values over epochs, and its score, or None where it failed."""
        state = optuna.trial.TrialState.PRUNED if stopped else optuna.trial.TrialState.COMPLETE
        state = optuna.trial.TrialState.FAIL if score is None else state
        value = score if state == optuna.trial.TrialState.COMPLETE else None
        trial = self.asked.pop(number, None)
        if trial is None:
            params = {key: self._parameter(key, value) for key, value in point.items()}
            told = optuna.trial.create_trial(
                state=state,
                value=value,
                params=params,
                distributions=self.distributions,
                intermediate_values=dict(values),
            )
            self.study.add_trial(told)
            return
        for epoch, figure in values.items():
            trial.report(figure, epoch)
        self.study.tell(trial, value, state=state)

    def _value(self, key: str, parameter: Any) -> Any:
        """Return what the profile holds for optuna's parameter: a choice is an index there."""
        entry = self.space[key]
        if entry.choice is not None:
            return entry.choice[parameter]
        return int(parameter) if entry.integer is not None else rounded(parameter, entry)

    def _parameter(self, key: str, value: Any) -> Any:
        entry = self.space[key]
        return entry.choice.index(value) if entry.choice is not None else value


def _distribution(entry: Any) -> Any:
    if entry.choice is not None:
        return optuna.distributions.CategoricalDistribution(list(range(len(entry.choice))))
    low, high = ends(entry)
    if entry.integer is not None:
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=entry.log_uniform is not None)
