"""Whether models say soundly which heads they have: one, or several ends of one backbone."""

import re
from collections.abc import Mapping
from typing import Any

from fineseg.profile.faults import written

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def ends_faults(tables: Mapping[str, Any]) -> list[str]:
    """Return a line for each model with no head, with a head beside ends, or with ends that cannot be."""
    found = tables.get("models")
    models: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    faults: list[str] = []
    for name, model in models.items():
        if isinstance(model, Mapping):
            faults += [f"models.{name}.{fault}" for fault in _faults(model, tables)]
            faults += [
                f"models.{name}.ends.{end}: predicts under the name of model {name}/{end}; rename one"
                for end in _ends(model)
                if f"{name}/{end}" in models
            ]
    return faults


def _faults(model: Mapping[str, Any], tables: Mapping[str, Any]) -> list[str]:
    ends = _ends(model)
    faults = [
        f"ends: an end's name must be letters, digits, '_' and '-', without \"loss\", not {written(end)}"
        for end in ends
        if not NAME.fullmatch(str(end)) or "loss" in end
    ]
    if not ends and model.get("head") is None:
        faults.append('head: missing; choose a part, head = "NAME"')
    if ends and model.get("head") is not None:
        faults.append("ends: stands in place of a head; leave out one of the two")
    if len(ends) == 1:
        faults.append("ends: two or more share a backbone; a single one is the model's head")
    if model.get("ends_training") is not None and not ends:
        faults.append("ends_training: says how ends learn, and the model has none; leave it out")
    if ends and model.get("ends_training") == "frozen-first" and model.get("balancer", "none") != "none":
        faults.append('balancer: weighs tasks that are learnt at once; leave it out, or say ends_training = "joint"')
    if ends and model.get("ends_training") == "frozen-first" and _checkpoint(model, tables) == "best":
        faults.append(
            "ends_training: the best checkpoint may be one of the first phase, before the other ends learn; say "
            'train.checkpoint = "last", or ends_training = "joint"'
        )
    return faults


def _checkpoint(model: Mapping[str, Any], tables: Mapping[str, Any]) -> Any:
    """Return which checkpoint predicts, as the model or else `[train]` has it."""
    own, common = model.get("train"), tables.get("train")
    found = own.get("checkpoint") if isinstance(own, Mapping) else None
    return found if found is not None or not isinstance(common, Mapping) else common.get("checkpoint")


def _ends(model: Mapping[str, Any]) -> Mapping[str, Any]:
    ends = model.get("ends")
    return ends if isinstance(ends, Mapping) else {}
