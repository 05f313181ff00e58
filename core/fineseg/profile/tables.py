"""The rows of `[tables.T]`: what each one's profile is, and whether it can have one. Checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError, ProfileError
from fineseg.metrics.figures import PANOPTIC_FIGURES, figure_names
from fineseg.profile.check import check_tables, complete
from fineseg.profile.combine_schema import COMBINED, DENSE
from fineseg.profile.faults import suggest
from fineseg.profile.layers import MISSING, at, merge
from fineseg.profile.row_schema import AblationTable, RowTable
from fineseg.profile.schema import NOT_IN_KEYS, OF_THE_RUN, Profile, folder_name
from fineseg.profile.space import as_tables, in_words

OF_SEVERAL = (COMBINED, DENSE)
"""What a row may score that is no single model: what `[combine]` makes of all, or its dense ensemble alone."""
ROOTS = ("train.", "models.", "predict.", "combine.", "competition.models")
"""What a row may change: the data and the score stay, or rows could not be compared."""


@dataclass(frozen=True)
class Row:
    """One row: `on` is the row that its table names (None: the profile), `base` the one that it is compared with.

    They differ where `on` is left out at this size. `profile` and `tables` are the row's own, whole.
    """

    name: str
    table: RowTable
    on: str | None
    base: str | None
    scores: str
    profile: Profile
    tables: Mapping[str, Any]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that must be trained for the row."""
        return _models_of(self.profile, self.scores)

    @property
    def words(self) -> str:
        """What the row changes, in words."""
        return self.table.title or in_words(self.table.set) or _words(self.scores)


def _models_of(profile: Profile, scores: str) -> tuple[str, ...]:
    """Return the models whose trainings a score goes by."""
    if scores == DENSE and profile.combine is not None:
        together = profile.combine.dense_of(profile.predictions)
        return tuple(dict.fromkeys(profile.model_of(prediction) for prediction in together))
    return tuple(profile.chosen) if scores == COMBINED else (profile.model_of(scores),)


def _words(scores: str) -> str:
    return {COMBINED: "the models combined", DENSE: "the dense ensemble"}.get(scores, f"model {scores}")


def rows_of(tables: Mapping[str, Any], profile: Profile, name: str, catalog: Catalog, file: Path) -> list[Row]:
    """Return the rows of one table, each with its own profile.

    Raises `ProfileError`: for each fault of each row the file, the row, the path in it, and what would be right.
    """
    resolved = _Rows(tables, profile, name, catalog)
    if resolved.faults:
        raise ProfileError([f"{file}: tables.{name}: {fault}" for fault in resolved.faults])
    return resolved.rows


def start_of(
    tables: Mapping[str, Any], profile: Profile, name: str, catalog: Catalog, file: Path
) -> tuple[Profile, dict[str, Any]]:
    """Return what all rows of a sound table start from: its profile and its tables."""
    start = _start(tables, profile.tables[name])
    return check_tables(start, catalog, file), start


def _start(tables: Mapping[str, Any], table: AblationTable) -> dict[str, Any]:
    return with_settings({key: value for key, value in tables.items() if key not in ("sweep", "tables")}, table.set)


def check_ablations(tables: Mapping[str, Any], profile: Profile, catalog: Catalog, file: Path) -> None:
    """Check all rows of all tables of a sound profile; raises `ProfileError` with every fault.

    `run` does not ask: settings laid over a profile may well do what a row does, which then changes nothing.
    """
    faults: list[str] = []
    for name in profile.tables:
        try:
            rows_of(tables, profile, name, catalog, file)
        except ProfileError as error:
            faults += error.faults
    if faults:
        raise ProfileError(faults)


def table_named(profile: Profile, name: str, file: Path) -> AblationTable:
    """Return a table; raises `FinesegError` with those that there are."""
    if name not in profile.tables:
        raise FinesegError(f"{file}: no table [tables.{name}]; {suggest(name, profile.tables)}")
    return profile.tables[name]


def with_settings(tables: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lay dotted keys over tables one by one: a later one may refine what an earlier one chose."""
    laid = dict(tables)
    for key, value in settings.items():
        laid = merge(laid, as_tables({key: value}))
    return laid


@dataclass(frozen=True)
class _State:
    """A row while rows on it are read: `profile` is None where it has faults."""

    tables: Mapping[str, Any]
    profile: Profile | None
    faults: frozenset[str]
    scores: str
    row: str | None


class _Rows:
    """Reads the rows of a table in order; a fault of one that others build on is said once."""

    def __init__(self, tables: Mapping[str, Any], profile: Profile, name: str, catalog: Catalog) -> None:
        self.catalog = catalog
        self.table = profile.tables[name]
        self.rows: list[Row] = []
        self.faults: list[str] = _name_fault(name)
        model = self.table.model or profile.predictions[0]
        start = self._state(_start(tables, self.table), model, None)
        self.states: dict[str | None, _State] = {None: start}
        self.faults += [f"set: {fault}" for fault in sorted(start.faults)]
        self.faults += [f"model: {fault}" for fault in _score_faults(profile, model) if self.table.model]
        above = None
        for row_name, row in self.table.rows.items():
            faults = [*_name_fault(row_name), *self._read(row_name, row, row.on if row.on is not None else above)]
            self.faults += [f"row '{row_name}': {fault}" for fault in faults]
            above = row_name

    def _state(self, tables: Mapping[str, Any], scores: str, row: str | None) -> _State:
        try:
            return _State(tables, check_tables(tables, self.catalog, Path()), frozenset(), scores, row)
        except ProfileError as error:
            faults = frozenset(fault.removeprefix(f"{Path()}: ") for fault in error.faults)
            return _State(tables, None, faults, scores, row)

    def _read(self, name: str, row: RowTable, on: str | None) -> list[str]:
        """Take in one row; return its faults."""
        if on not in self.states:
            above = [known for known in self.states if known is not None]
            return [f'on: no row "{on}" above; {suggest(str(on), above)}']
        below = self.states[on]
        scores = row.scores or self.table.model or self.states[None].scores
        if row.left_out:
            self.states[name] = below
        else:
            self.states[name] = self._state(with_settings(below.tables, row.set), scores, name)
        state = self.states[name]
        faults = [f'set."{key}": {_not_a_root()}' for key in row.set if not key.startswith(ROOTS)]
        faults += [] if row.left_out else sorted(state.faults - below.faults)
        if state.profile is None:
            return faults
        faults += _figure_faults(state.profile, row)
        if row.left_out:
            self.rows.append(Row(name, row, on, below.row, scores, state.profile, state.tables))
            return faults
        faults += [f"scores: {fault}" for fault in _score_faults(state.profile, scores)]
        if not faults and below.profile is not None and not _score_faults(below.profile, below.scores):
            faults += self._idle_faults(row, below, state)
            self.rows.append(Row(name, row, on, below.row, scores, state.profile, state.tables))
        return faults

    def _idle_faults(self, row: RowTable, below: _State, state: _State) -> list[str]:
        """Return what a row says that makes no difference to its score: it would not show what it is named for."""
        found = self._read_by_score(state)
        if not row.set:
            same = found == self._read_by_score(below) and below.row is not None
            return [f"changes nothing of row '{below.row}'; give it a set, or another model to score"] * same
        faults = []
        for key in row.set:
            others = {other: value for other, value in row.set.items() if other != key}
            without = self._state(with_settings(below.tables, others), state.scores, state.row)
            if without.profile is None or _score_faults(without.profile, without.scores):
                continue
            if self._read_by_score(without) == found:
                faults.append(f'set."{key}": {self._idle_words(key, state)}')
        return faults

    def _idle_words(self, key: str, state: _State) -> str:
        if state.scores in OF_SEVERAL:
            return f"changes nothing for {_words(state.scores)}"
        own = f"models.{state.scores}.{key}"
        if key.startswith("train.") and at(state.tables, own) is not MISSING:
            return f'changes nothing for model {state.scores}, which has a value of its own; set "{own}"'
        return f"changes nothing for model {state.scores}"

    def _read_by_score(self, state: _State) -> dict[str, Any]:
        """Return what a sound row's score goes by, every default included."""
        if state.profile is None:
            raise ValueError("a row with faults has no score")
        tables = complete(state.profile, self.catalog)
        models = _models_of(state.profile, state.scores)
        for model in tables["models"].values():
            model["predict"] = {key: value for key, value in model["predict"].items() if key not in OF_THE_RUN}
            model["train"] = {key: value for key, value in model["train"].items() if key not in NOT_IN_KEYS}
        read = {"models": [tables["models"][model] for model in models]}
        if state.scores == DENSE:
            common = {key: value for key, value in tables["predict"].items() if key not in OF_THE_RUN}
            return {**read, "dense": tables["combine"]["dense"], "predict": common}
        return {**read, "combine": tables["combine"]} if state.scores == COMBINED else read


def _name_fault(name: str) -> list[str]:
    try:
        folder_name(name)
    except ValueError as error:
        return [f"the name {error}"]
    return []


def _not_a_root() -> str:
    return (
        "rows are scored on the same images; set keys of [train], [models], [predict], [combine], or competition.models"
    )


def _score_faults(profile: Profile, scores: str) -> list[str]:
    if scores == COMBINED:
        return [] if profile.combine is not None else ["the profile has no [combine]: add one, or name a model"]
    if scores == DENSE and profile.combine is not None and profile.combine.dense and profile.combine.fuser:
        several = profile.combine.dense_of(profile.predictions)
        return [] if several else ["combine.dense.weights names fewer than two chosen models; name the model itself"]
    known = [prediction for model in profile.models for prediction in profile.predictions_of(model)]
    if scores in known:
        return []
    if scores in profile.models:
        return [f"model {scores} has ends; name {' or '.join(profile.predictions_of(scores))}"]
    return [f"no table [models.{scores}]; {suggest(scores, [*known, COMBINED])}"]


def _figure_faults(profile: Profile, row: RowTable) -> list[str]:
    figures = figure_names(list(profile.metric.area_ranges))
    if profile.competition.task == "panoptic":
        figures = (*PANOPTIC_FIGURES, *figures)
    return [f'published: no figure "{name}"; {suggest(name, figures)}' for name in row.published if name not in figures]
