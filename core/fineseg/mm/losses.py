"""Losses that a profile puts into the slots of heads: modules of parts behind the calls of mmdet's heads.

A detector has them while it is trained; one that predicts is built with its heads' own.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError
from fineseg.parts import Config, LossSlot
from fineseg.profile.schema import ModelTable


class SlotLoss(nn.Module):
    """A part's module in a slot, times what the head's own loss weighs there."""

    def __init__(self, module: nn.Module, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.module, self.loss_weight = module, loss_weight

    def weighed(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of logits, which are in single precision at least, and their truth."""
        found: Tensor = self.module(logits.to(torch.promote_types(logits.dtype, torch.float32)), truth)
        return found * self.loss_weight


class MaskLoss(SlotLoss):
    """In the place of a mask head's loss."""

    def forward(self, masks: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of mask logits [N, C, ...] and targets [N, ...] in 0..1 of the classes labels [N]."""
        return self.weighed(masks[torch.arange(len(labels), device=labels.device), labels], targets)


class ClassLoss(SlotLoss):
    """In the place of a box head's loss of classes."""

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss of logits [N, C + 1] and labels [N]; a row of weight 0 is left out, all others count alike.

        It averages itself: `avg_factor`, the number of rows that count, is not needed.
        """
        if reduction_override is not None:
            raise NotImplementedError(f"a loss from a profile returns one number, not reduction '{reduction_override}'")
        if weights is not None:
            scores, labels = scores[weights > 0], labels[weights > 0]
        return self.weighed(scores, labels)


class SemanticLoss(SlotLoss):
    """In the place of a semantic head's loss."""

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits [B, C, h, w] and labels [B, h, w], 255 where nothing counts."""
        return self.weighed(scores, labels)


SLOTS: Mapping[LossSlot, type[SlotLoss]] = {"mask": MaskLoss, "class": ClassLoss, "semantic": SemanticLoss}


def chosen_losses(model: ModelTable, catalog: Catalog) -> dict[LossSlot, Config]:
    """Return by slot the mmdet config of each loss that a model's table chooses.

    Raises `FinesegError` for a part that builds no module, or one that has a state, as prediction has none of it.
    """
    found: dict[LossSlot, Config] = {}
    for slot in SLOTS:
        if slot not in model.losses:
            continue
        choice = model.losses[slot]
        part, options = catalog.choose("loss", choice.name, choice.options)
        module = part.build(options)
        if not isinstance(module, nn.Module):
            raise FinesegError(f"loss '{part.name}': build returned {type(module).__name__}, no torch module")
        state = list(module.state_dict())
        if state:
            raise FinesegError(
                f"loss '{part.name}': has a state ({', '.join(state[:3])}), which prediction would lack; a loss has no "
                "weights, and registers buffers with persistent=False"
            )
        found[slot] = loss_config(slot, module)
    return found


def loss_config(slot: LossSlot, module: nn.Module) -> Config:
    """Return the mmdet config of a module in a slot."""
    return {"type": SLOTS[slot], "module": module}


def refuse_unused(detector: nn.Module, slots: Iterable[LossSlot]) -> None:
    """Raise `FinesegError` for a slot that no head took its loss from, as where its options leave a branch out."""
    for slot in slots:
        if not any(isinstance(each, SLOTS[slot]) for each in detector.modules()):
            raise FinesegError(f"losses.{slot}: with its options the model's head has no such loss; leave it out")
