"""What models say of an image, and the figures that validations measure of it while a model trains."""

from fineseg.catalog import Catalog
from fineseg.metrics.figures import HEADLINES, PANOPTIC_FIGURES, figure_names
from fineseg.parts import Head, Output
from fineseg.profile.schema import ModelTable, Profile


def outputs_of(catalog: Catalog, model: ModelTable, end: str = "") -> tuple[Output, ...]:
    """Return what a model, or one of its ends, says of an image."""
    choice = model.heads[end]
    part, _ = catalog.choose("head", choice.name, choice.options)
    return part.gives if isinstance(part, Head) else ()


def validated_outputs(profile: Profile, catalog: Catalog, model: str) -> dict[str, tuple[Output, ...]]:
    """Return what of a model's ends is scored while it trains, "" for its only head: no more than the task asks for."""
    table = profile.models[model]
    if profile.competition.task != "panoptic":
        return {end: ("instances",) for end in table.heads}
    return {end: outputs_of(catalog, table, end) for end in table.heads}


def validation_figures(profile: Profile, catalog: Catalog, model: str) -> tuple[str, ...]:
    """Return the figures that validations of a model have; of ends their means."""
    found = _by_end(profile, catalog, model)
    return tuple(dict.fromkeys(name for names in found for name in names))


def best_figure(profile: Profile, catalog: Catalog, model: str) -> str:
    """Return by which figure a model's best checkpoint is chosen: PQ, else AP, else mIoU, the first that all ends have.

    Where there is none that all have, it is the first that one of them has.
    """
    found = _by_end(profile, catalog, model)
    common = [name for name in HEADLINES if all(name in names for names in found)]
    return [*common, *(name for name in HEADLINES if any(name in names for names in found))][0]


def _by_end(profile: Profile, catalog: Catalog, model: str) -> list[tuple[str, ...]]:
    *quality, miou = PANOPTIC_FIGURES
    named: dict[Output, tuple[str, ...]] = {
        "panoptic": tuple(quality),
        "instances": figure_names(list(profile.metric.area_ranges)),
        "semantic": (miou,),
    }
    return [
        tuple(name for output, names in named.items() if output in gives for name in names)
        for gives in validated_outputs(profile, catalog, model).values()
    ]
