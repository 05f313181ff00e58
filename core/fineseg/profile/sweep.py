"""What a trial's profile is, and whether every trial of `[sweep]` can have one: checked before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.errors import ProfileError
from fineseg.profile.check import check_tables, complete
from fineseg.profile.faults import suggest
from fineseg.profile.layers import MISSING, at, merge
from fineseg.profile.outputs import validation_figures
from fineseg.profile.schema import NOT_IN_KEYS, Profile, SweepTable
from fineseg.profile.space import Point, as_tables, corners

ROOTS = ("train", "models", "predict")
"""Tables that a trial may vary: the data and the score stay, or trials could not be compared."""
NOT_IN_VALIDATION = ("cpus", "shard", "tta", "merge_views")
"""Keys of `[predict]` that validations do not read."""


def model_of(profile: Profile, sweep: SweepTable) -> str:
    """Return the model that trials train."""
    return sweep.model or next(iter(profile.chosen))


def fixed_settings(profile: Profile, sweep: SweepTable) -> Point:
    """Return what every trial sets: validations, where the model has none or others."""
    model = model_of(profile, sweep)
    own = profile.train_of(model).validate_every
    wanted = sweep.validate_every or own or 1
    return {} if wanted == own else {f"models.{model}.train.validate_every": wanted}


def trial_tables(tables: Mapping[str, Any], profile: Profile, sweep: SweepTable, point: Point) -> dict[str, Any]:
    """Return the tables of one trial: the profile without `[sweep]`, and the trial's settings over it."""
    below = {name: table for name, table in tables.items() if name != "sweep"}
    return merge(merge(below, as_tables(fixed_settings(profile, sweep))), as_tables(point))


def check_sweep(tables: Mapping[str, Any], profile: Profile, catalog: Catalog, file: Path) -> None:
    """Check `[sweep]` of a sound profile: put every choice and both ends of every range where they belong.

    Raises `ProfileError`: for each fault the file, the path in it, what is wrong and what would be right.
    """
    sweep = profile.sweep
    if sweep is None:
        return
    faults = _name_faults(profile, sweep, catalog)
    if not faults:
        for key in sweep.space:
            faults += [f'sweep.space."{key}": {fault}' for fault in _key_faults(tables, profile, catalog, key)]
    if faults:
        raise ProfileError([f"{file}: {fault}" for fault in dict.fromkeys(faults)])


def _name_faults(profile: Profile, sweep: SweepTable, catalog: Catalog) -> list[str]:
    if sweep.model is not None and sweep.model not in profile.models:
        return [f"sweep.model: no table [models.{sweep.model}]; {suggest(sweep.model, profile.models)}"]
    model = model_of(profile, sweep)
    figures = validation_figures(profile, catalog, model)
    if sweep.metric not in figures:
        said = f'no figure "{sweep.metric}" in validations of model {model}'
        return [f"sweep.metric: {said}; {suggest(sweep.metric, figures)}"]
    return []


def _key_faults(tables: Mapping[str, Any], profile: Profile, catalog: Catalog, key: str) -> list[str]:
    sweep = profile.sweep
    if sweep is None or key.split(".")[0] not in ROOTS:
        return [f"trials differ in how a model is trained; sweep keys of {', '.join(f'[{root}]' for root in ROOTS)}"]
    model = model_of(profile, sweep)
    file = Path()
    base = complete(check_tables(trial_tables(tables, profile, sweep, {}), catalog, file), catalog)
    faults, idle = [], False
    for point in corners({key: sweep.space[key]}):
        try:
            found = complete(check_tables(trial_tables(tables, profile, sweep, point), catalog, file), catalog)
        except ProfileError as error:
            faults += [_without(fault, f"{file}: ", f"{key}: ") for fault in error.faults]
        else:
            same = _read_by_training(found, model) == _read_by_training(base, model)
            idle |= same and at(found, key) != at(base, key)
    if faults or not idle:
        return faults
    own = f"models.{model}.{key}"
    if key.startswith("train.") and at(tables, own) is not MISSING:
        return [f'changes nothing for model {model}, which has a value of its own; sweep "{own}"']
    return [f"changes nothing in the training of model {model}"]


def _read_by_training(tables: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return what of complete tables the training of one model goes by."""
    train = {key: value for key, value in tables["models"][model]["train"].items() if key not in NOT_IN_KEYS}
    predict = {key: value for key, value in tables["models"][model]["predict"].items() if key not in NOT_IN_VALIDATION}
    return {**tables["models"][model], "train": train, "predict": predict}


def _without(text: str, *starts: str) -> str:
    for start in starts:
        text = text.removeprefix(start)
    return text
