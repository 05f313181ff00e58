"""Options of the head and of the task balancer. Defaults of the head are those published for HTC on COCO."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fineseg import Options
from fineseg_htc.options import CascadeBoxOptions
from fineseg_pointrend.options import RPNOptions

Positive = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class BoxOptions(CascadeBoxOptions):
    """`box = {...}`: the box heads, which regress one box a RoI for all classes."""

    roi: Positive = Field(7, description="cells along a side of the RoI")


class LWLHTCOptions(Options):
    """LWL-HTC of AntVisionPS (COCO panoptic challenge 2019): HTC (arXiv 1901.07518) that tells stuff too."""

    rpn: RPNOptions = RPNOptions()
    box: BoxOptions = BoxOptions()
    mask_roi: Positive = Field(14, description="cells along a side of the mask RoI; the mask has twice as many")
    mask_convs: Positive = Field(4, description="3x3 convolutions of each mask head, as wide as the pyramid")
    semantic: Literal["fused", "deformable"] = Field(
        "fused",
        description="semantic head; fused: HTC's own, the sum of all levels at 1/8 and four 3x3 convolutions; "
        "deformable: three deformable convolutions on each of the four finest levels, side by side at 1/4",
    )
    semantic_width: Positive = Field(128, description="deformable only: channels that each level ends with")
    semantic_full_resolution: bool = Field(
        True,
        description="deformable only: compare with the truth at the image's size; false: at every fourth pixel, for "
        "less memory",
    )
    semantic_weight: Annotated[float, Field(ge=0)] = Field(
        0.2, description="what the semantic loss counts; 0.2 is HTC's, 1 is for a balancer that learns it"
    )


class UncertaintyOptions(Options):
    """Uncertainty weighting (arXiv 1705.07115): a task's losses L weigh exp(-s), its s is learned beside the model."""

    form: Literal["classification", "regression", "common"] = Field(
        "classification",
        description="what is added up over the tasks; classification: exp(-s) L + s/2; regression: exp(-s) L/2 + s/2; "
        "common: exp(-s) L + s, of much published code",
    )
    start: Mapping[str, Finite] = Field(
        default={}, description="s of each task at first, by its name; 0 where absent: a weight of 1"
    )
    fixed: tuple[str, ...] = Field((), description="tasks whose s stays at its start")
    limit: Annotated[float, Field(gt=0, description="s stays between -limit and limit")] = 5.0

    @model_validator(mode="after")
    def _start_within_the_limit(self) -> "UncertaintyOptions":
        for task, value in self.start.items():
            if abs(value) > self.limit:
                raise ValueError(f"start of {task} is {value:g}; it must be within limit = {self.limit:g}")
        return self
