"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fineseg import Loss, hookimpl
from fineseg_losses.options import DiceOptions, FocalOptions, OHEMOptions

if TYPE_CHECKING:
    from torch import nn


def build_dice(options: DiceOptions) -> "nn.Module":
    """Build the mask loss."""
    from fineseg_losses.modules import MaskDice

    return MaskDice(options)


def build_focal(options: FocalOptions) -> "nn.Module":
    """Build the loss of classes."""
    from fineseg_losses.modules import SoftmaxFocal

    return SoftmaxFocal(options)


def build_ohem(options: OHEMOptions) -> "nn.Module":
    """Build the loss of pixels."""
    from fineseg_losses.modules import HardestPixels

    return HardestPixels(options)


@hookimpl
def fineseg_losses() -> Iterator[Loss]:
    """Offer the losses."""
    yield Loss("dice", "masks: binary cross entropy and soft dice", DiceOptions, build_dice, ("mask",))
    yield Loss("focal", "classes: what is sure already counts less", FocalOptions, build_focal, ("class",))
    yield Loss("ohem", "pixels: cross entropy of the hardest alone", OHEMOptions, build_ohem, ("semantic",))
