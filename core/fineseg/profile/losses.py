"""Whether the losses that models choose stand where their heads have one, and serve there."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fineseg.catalog import Catalog
from fineseg.parts import Head, Loss, LossSlot, Part
from fineseg.profile.model_schema import without_none


def losses_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Return a line for each loss in a slot that no head of its model has, or that it does not serve.

    Parts that are not known the other checks tell.
    """
    faults: list[str] = []
    for name, model in _table(tables.get("models")).items():
        losses = _table(without_none(_table(model).get("losses")))
        heads = _heads(_table(model), catalog)
        for slot, choice in losses.items():
            where = f"models.{name}.losses.{slot}"
            faults += [f"{where}: {fault}" for fault in _slot_faults(slot, heads)]
            faults += [f"{where}: {fault}" for fault in _part_faults(slot, choice, catalog)]
    return faults


def _slot_faults(slot: str, heads: Sequence[Head]) -> list[str]:
    offered = sorted({each for head in heads for each in head.losses})
    if not heads or slot in offered:
        return []
    names = " and ".join(f"'{head.name}'" for head in heads)
    several = len(heads) > 1
    there = f"{'they have' if several else 'it has'} {', '.join(offered)}" if offered else "leave losses out"
    return [f"{'heads' if several else 'head'} {names} {'have' if several else 'has'} no such loss to change; {there}"]


def _part_faults(slot: str, choice: Any, catalog: Catalog) -> list[str]:
    if slot not in get_args(LossSlot):
        return []
    fitting = [e.part.name for e in catalog.of_kind("loss") if isinstance(e.part, Loss) and slot in e.part.serves]
    return [
        f"loss '{part.name}' serves {', '.join(part.serves)}; for {slot} there is {', '.join(fitting) or 'none'}"
        for part in _chosen(choice, "loss", catalog)
        if isinstance(part, Loss) and slot not in part.serves
    ]


def _heads(model: Mapping[str, Any], catalog: Catalog) -> list[Head]:
    """Return a model's heads, each once; none where one is not known."""
    choices = list(_table(model.get("ends")).values()) or [model.get("head")]
    found = [_chosen(choice, "head", catalog) for choice in choices]
    heads = {part.name: part for parts in found for part in parts if isinstance(part, Head)}
    return list(heads.values()) if all(found) else []


def _chosen(choice: Any, kind: str, catalog: Catalog) -> list[Part]:
    name = choice.get("name") if isinstance(choice, Mapping) else choice
    return [entry.part for entry in catalog.of_kind(kind) if entry.part.name == name]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
