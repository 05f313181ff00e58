"""Task balancing in a training: losses grouped by task, weighed by the part that `[models.X] balancer` names.

The balancer's module is a child of the detector while that is trained, so that checkpoints, optimiser and workers know
it; a detector that predicts has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError
from fineseg.mm.model import BuiltModel
from fineseg.mm.weights import BALANCER
from fineseg.profile.schema import ModelTable
from fineseg.store import TASK_WEIGHT

UNDECAYED = {BALANCER: {"decay_mult": 0.0}}
"""What decay draws towards zero is a network's weights, not what says how much a task counts."""

Logs = dict[str, Tensor]
Parse = Callable[[Mapping[str, Any]], tuple[Tensor, Logs]]


def add_balancer(built: BuiltModel, model: ModelTable, catalog: Catalog) -> BuiltModel:
    """Return the model with its tasks balanced as its table says: the same one where it says nothing."""
    if model.balancer is None:
        return built
    part, options = catalog.choose("task-balancer", model.balancer.name, model.balancer.options)
    balancer = part.build(options, tuple(sorted(set(built.loss_groups.values()))))
    if not isinstance(balancer, nn.Module):
        raise FinesegError(f"task-balancer '{part.name}': build returned {type(balancer).__name__}, no torch module")
    detector: Any = built.module
    detector.add_module(BALANCER, balancer)
    detector.parse_losses = partial(balanced_losses, balancer, built.loss_groups, detector.parse_losses)
    return replace(built, paramwise={**built.paramwise, **UNDECAYED})


def balanced_losses(
    balancer: nn.Module, groups: Mapping[str, str], parse: Parse, losses: Mapping[str, Any]
) -> tuple[Tensor, Logs]:
    """Return what to learn from and what to log, in place of mmengine's `parse_losses`, which `parse` is.

    Logged are the losses as the head gives them, the balanced total, and what each task weighs.
    """
    _, logs = parse(losses)
    total, weights = balancer(sum_by_task(logs, groups))
    return total, {**logs, "loss": total, **{f"{TASK_WEIGHT}{task}": weight for task, weight in weights.items()}}


def sum_by_task(logs: Mapping[str, Tensor], groups: Mapping[str, str]) -> dict[str, Tensor]:
    """Add scalar losses by task; what is not named a loss, and mmengine's total `loss`, is left out.

    `groups` go from beginnings of names to tasks, the longest one decides. Raises `ValueError` for a loss of no task.
    """
    found: dict[str, Tensor] = {}
    for name, value in logs.items():
        if "loss" not in name or name == "loss":
            continue
        beginnings = [beginning for beginning in groups if name.startswith(beginning)]
        if not beginnings:
            raise ValueError(f"the head's loss_groups name no task for its loss '{name}'")
        task = groups[max(beginnings, key=len)]
        found[task] = found[task] + value if task in found else value
    return found
