"""What a profile may set of the necks."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from fineseg import Options


class FPNOptions(Options):
    """Feature pyramid (arXiv 1612.03144)."""

    channels: PositiveInt = Field(256, description="channels of every level")
    outputs: int = Field(
        5, ge=1, le=8, description="levels; those beyond the backbone's maps are the last one at every second pixel"
    )
    norm: Literal["none", "bn", "gn"] = Field("none", description="normalisation layer after every conv")
    gap: bool = Field(
        False, description="add the last map's mean over the whole image, through a linear layer, to its lateral conv"
    )


class FPNBFPOptions(FPNOptions):
    """Feature pyramid followed by balanced feature pyramids (BFP, arXiv 1904.02701)."""

    refine_level: int = Field(2, ge=0, description="level whose size the levels are averaged at; 0 is the finest")
    refine: Literal["none", "conv", "non-local"] = Field("non-local", description="what refines the averaged map")
    non_locals: Literal[1, 2] = Field(1, description="non-local blocks in sequence inside one BFP")
    modules: Literal[1, 2] = Field(1, description="BFP modules in sequence")

    @model_validator(mode="after")
    def _fits_together(self) -> "FPNBFPOptions":
        if self.refine_level >= self.outputs:
            raise ValueError(f"refine_level is {self.refine_level}, but the levels are 0 to {self.outputs - 1}")
        if self.non_locals > 1 and self.refine != "non-local":
            raise ValueError(f"non_locals = {self.non_locals} needs refine = 'non-local', not '{self.refine}'")
        return self


class NASFPNOptions(Options):
    """NAS-FPN 7 merging cells (arXiv 1904.07392), stacked."""

    channels: PositiveInt = Field(256, description="channels of every level")
    stacks: PositiveInt = Field(7, description="how often the merging cells are repeated")
    norm: Literal["none", "bn", "gn"] = Field("bn", description="normalisation layer of the merging cells")
