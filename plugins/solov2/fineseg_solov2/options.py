"""Options of the head. Defaults are those of the 3D AI Challenge 2020 winner's SOLOv2; lengths are input pixels."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fineseg import Options

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0)]


class SOLOv2Options(Options):
    """SOLOv2 (arXiv 2003.10152). Each level of the pyramid has a grid; a cell speaks for the object centred in it."""

    grids: tuple[Positive, ...] = Field((40, 36, 24, 16, 12), description="cells along a side, finest level first")
    scale_ranges: tuple[tuple[float, float], ...] = Field(
        ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
        description="which objects train a level: [from, to] of the square root of their boxes' areas [pixels]",
    )
    centre: Weight = Field(0.2, description="side of an object's centre region, whose cells it trains, to its box's")
    convs: Positive = Field(4, description="3x3 convolutions each of the class and the kernel branch")
    width: Positive = Field(256, description="their width")
    dcn: Literal["none", "v1", "v2"] = Field("none", description="deformable convolution in place of them")
    mask_levels: Positive = Field(4, description="levels that the mask features add up, from the finest on")
    mask_width: Positive = Field(128, description="width of the convolutions on the way to the mask features")
    mask_channels: Positive = Field(256, description="channels of the mask features, and so of every 1x1 kernel")
    dice_weight: Weight = Field(3.0, description="weight of the masks' Dice loss")
    focal_weight: Weight = Field(1.0, description="weight of the classes' focal loss (gamma 2, alpha 0.25)")
    mask_scoring: bool = Field(False, description="predict each mask's IoU with its object, and multiply scores by it")
    mask_scoring_weight: Weight = Field(1.0, description="weight of the predicted IoUs' squared error")
    nms_pre: Positive = Field(500, description="candidates an image that Matrix-NMS looks at")
    nms_kernel: Literal["gaussian", "linear"] = Field("gaussian", description="how overlap lowers scores")
    nms_sigma: Weight = Field(2.0, description="of exp(-sigma IoU^2), the gaussian kernel")
    update_threshold: Annotated[
        float, Field(ge=0, lt=1, description="instances with a lower score after Matrix-NMS go")
    ] = 0.05

    @model_validator(mode="after")
    def _levels_agree(self) -> "SOLOv2Options":
        if len(self.grids) != len(self.scale_ranges):
            raise ValueError(
                f"grids has {len(self.grids)} levels, scale_ranges {len(self.scale_ranges)}; give both as many"
            )
        for low, high in self.scale_ranges:
            if not 0 <= low < high:
                raise ValueError(f"scale_ranges: [{low:g}, {high:g}] is not a range of lengths")
        if self.mask_levels > len(self.grids):
            raise ValueError(f"mask_levels is {self.mask_levels}, but grids has {len(self.grids)} levels")
        return self
