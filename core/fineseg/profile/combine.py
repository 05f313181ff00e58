"""Whether the models that `[combine]` names are there, and its search can go on: checked before anything runs."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fineseg.catalog import Catalog
from fineseg.metrics.figures import figure_names
from fineseg.profile.base import PartChoice
from fineseg.profile.combine_schema import DENSE, CombineTable, SpaceTable
from fineseg.profile.faults import faults_of, suggest
from fineseg.profile.layers import at
from fineseg.profile.space import corners

PATH = ("combine", "search", "space")


def combine_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Return what is wrong with `[combine]`: options to search that the ensembler lacks or refuses, unknown names.

    What is wrong with the table itself the schema's own check says.
    """
    try:
        table = CombineTable.model_validate(at(tables, "combine"))
    except ValidationError:
        return []
    every, chosen, ranges = _predictions(tables), _chosen(tables), at(tables, "metric.area_ranges")
    weights = {} if table.dense is None else table.dense.weights
    faults = [
        f"combine.{key}: no model {name}; {suggest(name, every)}"
        for key, named in (("held_out", table.held_out), ("dense.weights", weights))
        for name in named
        if every and name not in every
    ]
    known = chosen if table.dense is None else [DENSE, *chosen]
    faults += [
        f"combine.models: no chosen model {name}; {suggest(name, known)}"
        for name in table.models or ()
        if chosen and name not in known
    ]
    if weights and chosen and not faults and not set(weights) & set(chosen):
        faults.append("combine.dense.weights: names no model that competition.models chooses")
    elif chosen and not faults and DENSE in (table.models or ()) and not table.dense_of(chosen):
        faults.append(
            "combine.models: dense is of two chosen models or more; name the one that is left itself, or choose more"
        )
    if table.search is None:
        return faults
    names = list(ranges) if isinstance(ranges, Mapping) else ["small", "medium", "large"]
    figures = figure_names(names) if table.fuser is None else ("PQ", "PQth", "PQst")
    if table.search.metric is not None and table.search.metric not in figures:
        faults.append(
            f'combine.search.metric: no figure "{table.search.metric}"; {suggest(table.search.metric, figures)}'
        )
    if table.fuser is not None:
        return faults + _space_faults("panoptic-fuser", table.fuser, table.search.space, catalog)
    return faults + _space_faults("ensembler", table.merging, table.search.space, catalog)


def _predictions(tables: Mapping[str, Any]) -> list[str]:
    """Return the names of what all models predict: MODEL, or MODEL/END."""
    models = at(tables, "models")
    found = []
    for name, model in models.items() if isinstance(models, Mapping) else ():
        ends = model.get("ends") if isinstance(model, Mapping) else None
        found += [f"{name}/{end}" for end in ends] if isinstance(ends, Mapping) and ends else [name]
    return found


def _chosen(tables: Mapping[str, Any]) -> list[str]:
    """Return those of the chosen models."""
    chosen = at(tables, "competition.models")
    every = _predictions(tables)
    return [name for name in every if name.partition("/")[0] in chosen] if isinstance(chosen, list | tuple) else every


def _space_faults(kind: str, choice: PartChoice, space: Mapping[str, SpaceTable], catalog: Catalog) -> list[str]:
    if choice.name not in catalog.names(kind):
        return []
    part = catalog.find(kind, choice.name).part
    known = list(part.options.model_fields)
    faults = [
        f"{'.'.join(PATH)}.{name}: the {kind} '{choice.name}' has no such option; {suggest(name, known)}"
        for name in space
        if name not in known
    ]
    for name in (name for name in space if name in known):
        for point in corners({name: space[name]}):
            try:
                part.options.model_validate({**choice.options, **point})
            except ValidationError as error:
                faults += faults_of(error, PATH, part.options, {**choice.options, **point})
                break
    return faults
