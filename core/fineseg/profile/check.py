"""Checking merged tables against the schema and every chosen part's own options: all faults at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError, ProfileError
from fineseg.parts import Head
from fineseg.profile.base import Table
from fineseg.profile.combine import combine_faults
from fineseg.profile.combine_schema import COMBINED, DENSE
from fineseg.profile.ends import ends_faults
from fineseg.profile.faults import faults_of, suggest
from fineseg.profile.layers import at, merge
from fineseg.profile.losses import losses_faults
from fineseg.profile.model_schema import without_none
from fineseg.profile.schema import (
    OF_THE_RUN,
    SHARED_PROPOSALS,
    UNBALANCED,
    PartChoice,
    PredictTable,
    Profile,
    TrainTable,
)
from fineseg.profile.task import task_faults

NO_PARTS = (("merge_views", SHARED_PROPOSALS), ("balancer", UNBALANCED))
"""Words that stand where a part may, and name none."""
RESERVED = {DENSE: "what models say together, [combine] dense", COMBINED: "what [combine] makes of all models"}
"""Names that no model may have, as scores of something else stand under them."""


def check_tables(tables: Mapping[str, Any], catalog: Catalog, file: Path) -> Profile:
    """Return the profile that the tables make.

    Raises `ProfileError`: for each fault the file, the path in it, what is wrong and what would be right.
    """
    faults: list[str] = []
    profile: Profile | None = None
    try:
        profile = Profile.model_validate(tables)
    except ValidationError as error:
        faults += faults_of(error, (), Profile, tables)
    faults += _part_faults(tables, catalog)
    faults += _model_faults(tables)
    faults += ends_faults(tables)
    faults += losses_faults(tables, catalog)
    faults += _final_faults(tables)
    faults += _fold_faults(tables, catalog)
    faults += _view_faults(tables, catalog)
    faults += task_faults(tables, catalog)
    faults += combine_faults(tables, catalog)
    if faults or profile is None:
        raise ProfileError([f"{file}: {fault}" for fault in dict.fromkeys(faults)])
    return profile


def complete(profile: Profile, catalog: Catalog) -> dict[str, Any]:
    """Return a profile's tables with every default: the schema's, the parts' own, and `[train]` in each model."""
    tables = profile.model_dump(mode="json")
    for name, model in tables["models"].items():
        model["train"] = profile.train_of(name).model_dump(mode="json")
        model["predict"] = profile.predict_of(name).model_dump(mode="json")
    for _, kind, value in choices(tables):
        choice = PartChoice.model_validate(value)
        _, options = catalog.choose(kind, choice.name, choice.options)
        value.update(options.model_dump(mode="json"))
    return tables


def choices(tables: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return (path, kind, value) of every place where tables choose a part."""
    places: list[tuple[tuple[str, ...], str]] = [
        (("data", "dataset"), "dataset"),
        (("data", "validation", "merge"), "ensembler"),
        (("combine", "ensembler"), "ensembler"),
        (("combine", "fuser"), "panoptic-fuser"),
        (("submission", "format"), "submission"),
    ]
    models = tables.get("models")
    names = list(models) if isinstance(models, Mapping) else []
    looks: list[tuple[str, ...]] = [("predict",), *(("models", name, "predict") for name in names)]
    for name in names:
        places += [(("models", name, kind), kind) for kind in ("backbone", "neck", "head")]
        ends = _at(tables, ("models", name, "ends"))
        places += [(("models", name, "ends", end), "head") for end in (ends if isinstance(ends, Mapping) else ())]
        places.append((("models", name, "balancer"), "task-balancer"))
        losses = without_none(_at(tables, ("models", name, "losses")))
        slots = losses if isinstance(losses, Mapping) else ()
        places += [(("models", name, "losses", slot), "loss") for slot in slots]
    places += [((*look, "merge_views"), "ensembler") for look in looks]
    found = [(path, kind, _at(tables, path)) for path, kind in places]
    found = [row for row in found if (row[0][-1], row[2]) not in NO_PARTS]
    for look in looks:
        views = _at(tables, (*look, "tta"))
        views = views if isinstance(views, list | tuple) else ()
        found += [((*look, "tta", str(number)), "tta", value) for number, value in enumerate(views)]
    return [(".".join(path), kind, value) for path, kind, value in found if value is not None]


def _at(tables: Any, path: Sequence[str]) -> Any:
    for name in path:
        tables = tables.get(name) if isinstance(tables, Mapping) else None
    return tables


def _part_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    faults: list[str] = []
    for path, kind, value in choices(tables):
        try:
            choice = PartChoice.model_validate(value)
        except ValidationError:
            continue  # the schema's own check has said so
        try:
            entry = catalog.find(kind, choice.name)
        except FinesegError as error:
            faults.append(f"{path}: {error}")
            continue
        try:
            entry.part.options.model_validate(choice.options)
        except ValidationError as error:
            faults += faults_of(error, (path,), entry.part.options, choice.options)
    return faults


def _model_faults(tables: Mapping[str, Any]) -> list[str]:
    """Check what one table says of another: the chosen models, what they change of `[train]` and `[predict]`."""
    models = tables.get("models")
    if not isinstance(models, Mapping):
        return []
    faults: list[str] = []
    chosen = at(tables, "competition.models")
    for name in chosen if isinstance(chosen, list) else ():
        if isinstance(name, str) and name not in models:
            faults.append(f"competition.models: no table [models.{name}]; {suggest(name, models)}")
    faults += [
        f"models.{name}: the name is that of {what}; call the model otherwise"
        for name, what in RESERVED.items()
        if name in models
    ]
    for name, model in models.items():
        for key, table in (("train", TrainTable), ("predict", PredictTable)):
            own = model.get(key) if isinstance(model, Mapping) else None
            if isinstance(own, Mapping) and own:
                faults += _own_faults(table, tables.get(key, {}), own, ("models", name, key))
        faults += [
            f"models.{name}.predict.{key}: is the same for all models; set predict.{key}"
            for key in sorted(OF_THE_RUN)
            if _at(model, ("predict", key)) is not None
        ]
    return faults


def _view_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Refuse views that would share proposals of a head that has none to share."""
    heads = {path: value for path, kind, value in choices(tables) if kind == "head"}
    chosen = at(tables, "competition.models")
    faults = []
    for path, value in heads.items():
        name = value.get("name") if isinstance(value, Mapping) else value
        model = path.removeprefix("models.").removesuffix(".head").partition(".ends.")[0]
        looks = (_at(tables, ("predict",)), _at(tables, ("models", model, "predict")))
        look = {key: value for table in looks if isinstance(table, Mapping) for key, value in table.items()}
        shared = look.get("tta") and look.get("merge_views") in (None, SHARED_PROPOSALS)
        used = shared and (not isinstance(chosen, list) or model in chosen)
        parts = [entry.part for entry in catalog.of_kind("head") if entry.part.name == name]
        if used and any(isinstance(part, Head) and not part.shares_proposals for part in parts):
            faults.append(
                f"{path}: the views of predict.tta cannot share proposals of the head '{name}'; pool its instances, "
                f"models.{model}.predict.merge_views = ENSEMBLER "
                f"({', '.join(catalog.names('ensembler')) or 'none is installed'}), or leave out views of this model"
            )
    return faults


def _final_faults(tables: Mapping[str, Any]) -> list[str]:
    """Refuse to predict with a training on all labelled images where there are no other images to predict."""
    if _at(tables, ("data", "test")) is not None:
        return []
    models = tables.get("models")
    paths = ["train.final", *(f"models.{name}.train.final" for name in (models if isinstance(models, Mapping) else ()))]
    return [
        f'{path}: "all" also trains on the validation images, so other images must be predicted: set data.test'
        for path in paths
        if at(tables, path) == "all"
    ]


def _fold_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Refuse folds whose trainings all answer for the test split where nobody says how their answers become one."""
    held_out, test, models = at(tables, "data.validation"), at(tables, "data.test"), at(tables, "models")
    if not isinstance(held_out, Mapping) or "folds" not in held_out or "merge" in held_out:
        return []
    if not isinstance(test, str) or not isinstance(models, Mapping):
        return []
    chosen = at(tables, "competition.models")
    finals = {name: _at(tables, ("models", name, "train", "final")) for name in models}
    several = [
        name
        for name, final in finals.items()
        if (final or _at(tables, ("train", "final")) or "scored") == "scored"
        and (not isinstance(chosen, list) or name in chosen)
    ]
    known = ", ".join(catalog.names("ensembler")) or "none is installed"
    return [
        f"data.validation: with folds, model {name} gives several answers for the split '{test}': add merge = "
        f'ENSEMBLER ({known}), or set train.final = "all"'
        for name in several[:1]
    ]


def _own_faults(table: type[Table], base: Any, own: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the faults of a model's own settings; where the common ones have some too, only those of single ones."""
    try:
        below, sound = table.model_validate(base).model_dump(), True
    except ValidationError:
        below, sound = dict(base) if isinstance(base, Mapping) else {}, False
    merged = merge(below, own)
    try:
        table.model_validate(merged)
    except ValidationError as error:
        lines = faults_of(error, path, table, merged)
        start = ".".join(path)
        places = tuple(f"{start}.{key}{end}" for key in own for end in ".:")
        return [line for line in lines if sound or line.startswith(places)]
    return []
