"""The names of figures; light, for profiles name them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def figure_names(area_ranges: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of a summary of average precision with these area ranges."""
    return ("AP", "AP50", "AP75", *area_keys(area_ranges))


PANOPTIC_FIGURES = ("PQ", "SQ", "RQ", "PQth", "PQst", "mIoU")
"""The names of panoptic models' figures: PQ of all classes, of things and of stuff; the last is of semantic scores."""
HEADLINES = ("PQ", "AP", "mIoU")
"""The first of these that there is stands for the rest."""


def panoptic_figures(tables: Mapping[str, Any]) -> dict[str, float | None]:
    """Return `PANOPTIC_FIGURES` of a model's tables in metrics.json, those of maps and of scores where it has them."""
    found = {}
    if "panoptic" in tables:
        groups = tables["panoptic"]
        values = [groups["All"][key] for key in ("pq", "sq", "rq")]
        values += [groups[name]["pq"] for name in ("Things", "Stuff")]
        found = dict(zip(PANOPTIC_FIGURES, values, strict=False))
    if "semantic" in tables:
        found[PANOPTIC_FIGURES[-1]] = tables["semantic"]["mIoU"]
    return found


def area_keys(names: Sequence[str]) -> tuple[str, ...]:
    """Return the summary's keys of area ranges: "small" -> "APs", or "AP_small" where another starts with "s" too."""
    initials = Counter(name[:1] for name in names)
    return tuple(f"AP{name[:1]}" if initials[name[:1]] == 1 else f"AP_{name}" for name in names)
