"""Whether the search that `[combine]` asks for can go on: checked before anything runs."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fineseg.catalog import Catalog
from fineseg.metrics.figures import figure_names
from fineseg.profile.base import PartChoice
from fineseg.profile.combine_schema import CombineTable, SpaceTable
from fineseg.profile.faults import faults_of, suggest
from fineseg.profile.layers import at
from fineseg.profile.space import corners

PATH = ("combine", "search", "space")


def combine_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Return what is wrong with `[combine] search`: options that the ensembler lacks or refuses, unknown names.

    What is wrong with the table itself the schema's own check says.
    """
    try:
        table = CombineTable.model_validate(at(tables, "combine"))
    except ValidationError:
        return []
    if table.search is None:
        return []
    models, ranges = at(tables, "models"), at(tables, "metric.area_ranges")
    faults = [
        f"combine.search.held_out: no table [models.{name}]; {suggest(name, models)}"
        for name in table.search.held_out
        if isinstance(models, Mapping) and name not in models
    ]
    names = list(ranges) if isinstance(ranges, Mapping) else ["small", "medium", "large"]
    figures = figure_names(names)
    if table.search.metric not in figures:
        faults.append(
            f'combine.search.metric: no figure "{table.search.metric}"; {suggest(table.search.metric, figures)}'
        )
    return faults + _space_faults(table.ensembler, table.search.space, catalog)


def _space_faults(choice: PartChoice, space: Mapping[str, SpaceTable], catalog: Catalog) -> list[str]:
    if choice.name not in catalog.names("ensembler"):
        return []
    part = catalog.find("ensembler", choice.name).part
    known = list(part.options.model_fields)
    faults = [
        f"{'.'.join(PATH)}.{name}: the ensembler '{choice.name}' has no such option; {suggest(name, known)}"
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
