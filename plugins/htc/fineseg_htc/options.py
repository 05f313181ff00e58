"""Options of the head. Defaults are those of the 3D AI Challenge 2020 winner's HTC; all three stages share them."""

from typing import Annotated

from pydantic import Field

from fineseg import Options
from fineseg_pointrend.options import RPNOptions

Positive = Annotated[int, Field(gt=0)]


class CascadeBoxOptions(Options):
    """`box = {...}`: the box heads, which regress one box a RoI for all classes."""

    roi: Positive = Field(12, description="cells along a side of the RoI")
    sampling: Annotated[int, Field(ge=0, description="samples along a side of a cell; 0: adaptive")] = 0
    fcs: Positive = Field(2, description="fully connected layers")
    width: Positive = Field(1024, description="their width")
    samples: Positive = Field(512, description="RoIs a training image and stage")
    positive: Annotated[float, Field(gt=0, lt=1, description="largest part of them that are objects")] = 0.25


class HTCOptions(Options):
    """Hybrid Task Cascade (arXiv 1901.07518) of three stages."""

    rpn: RPNOptions = RPNOptions()
    box: CascadeBoxOptions = CascadeBoxOptions()
    mask_roi: Positive = Field(
        32, description="cells along a side of the mask RoI; the mask has twice as many (published: 32, 28, 24)"
    )
    mask_convs: Positive = Field(4, description="3x3 convolutions of each mask head, as wide as the pyramid")
    mask_scoring: bool = Field(
        True,
        description="Mask Scoring R-CNN (arXiv 1903.00241) on the third stage: predict each mask's IoU with its object "
        "and multiply the score by it",
    )
    semantic: bool = Field(
        False,
        description="its semantic branch, for panoptic data: it learns the class of every pixel, things and stuff, and "
        "adds what it sees to the features of boxes and masks",
    )
