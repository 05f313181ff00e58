"""Options of the losses."""

from typing import Annotated

from pydantic import Field, model_validator

from fineseg import Options

Weight = Annotated[float, Field(ge=0)]


class DiceOptions(Options):
    """Binary cross entropy plus soft dice, the mask loss of Mask2Former (arXiv 2112.01527)."""

    cross_entropy: Weight = Field(1.0, description="what the binary cross entropy counts")
    dice: Weight = Field(1.0, description="what 1 minus the dice coefficient counts")

    @model_validator(mode="after")
    def _something_counts(self) -> "DiceOptions":
        if not self.cross_entropy and not self.dice:
            raise ValueError("cross_entropy and dice are both 0: one must count")
        return self


class FocalOptions(Options):
    """Focal loss (arXiv 1708.02002) over all classes and the background at once."""

    gamma: Weight = Field(
        2.0, description="a row of probability p of its class weighs (1 - p) to this power; 0: the cross entropy"
    )


class OHEMOptions(Options):
    """Cross entropy of the hardest pixels of a step (online hard example mining), as HRNet's authors train with."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="a pixel is hard where the probability of its class is below"
    )
    least: Annotated[float, Field(gt=0, le=1)] = Field(
        1 / 16,
        description="part of all known pixels that counts at least, hard or not: its hardest; HRNet keeps 100,000 of "
        "three crops of 512 x 1024",
    )
