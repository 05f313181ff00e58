"""Options of the head. Defaults are those published for UPSNet on COCO."""

from typing import Annotated

from pydantic import Field

from fineseg import Options
from fineseg_fusion.options import TaskLevelOptions
from fineseg_pointrend.options import RPNOptions

Positive = Annotated[int, Field(gt=0)]
Part = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0)]


class EUPSBoxOptions(Options):
    """`box = {...}`: the box head, which regresses one box for each class."""

    roi: Positive = Field(7, description="cells along a side of the RoI")
    fcs: Positive = Field(2, description="fully connected layers that classify")
    width: Positive = Field(1024, description="their width, and that of the layer that regresses in `lsh`")
    samples: Positive = Field(512, description="RoIs a training image")
    positive: Annotated[float, Field(gt=0, lt=1, description="largest part of them that are objects")] = 0.25


class SemanticOptions(Options):
    """`semantic = {...}`: the semantic branch."""

    width: Positive = Field(128, description="channels that the deformable subnet ends with at each level")
    full_resolution: bool = Field(
        True, description="compare with the truth at the image's size; false: at every fourth pixel, for less memory"
    )
    pixel_weight: Factor = Field(0.2, description="what the cross entropy of the pixels counts")
    roi_weight: Factor = Field(0.04, description="what the cross entropy inside the true boxes counts")


class PanopticOptions(Options):
    """`panoptic = {...}`: the panoptic head, in training (`weight`, `keep`) and in prediction."""

    weight: Factor = Field(0.1, description="what its cross entropy counts")
    keep: Annotated[float, Field(gt=0, le=1, description="part of the true objects shown; the rest is unknown")] = 0.7
    score: Part = Field(0.6, description="an object's score must be above this")
    nms_iou: Part = Field(0.5, description="of two boxes that overlap more, of whatever classes, the worse goes")
    objects: Positive = Field(100, description="most objects of an image")
    overlap: Part = Field(0.3, description="a mask goes when more of it lies on better masks of its class")
    stuff_area: Annotated[int, Field(ge=0, description="stuff of fewer pixels becomes void")] = 4096


class EUPSOptions(Options):
    """E-UPS: UPSNet (arXiv 1901.03784) with what AntVisionPS (COCO panoptic challenge 2019) added to its heads."""

    rpn: RPNOptions = RPNOptions()
    box: EUPSBoxOptions = EUPSBoxOptions()
    mask_roi: Positive = Field(14, description="cells along a side of the mask RoI; the mask has twice as many")
    mask_convs: Positive = Field(4, description="3x3 convolutions of the mask branch, as wide as the pyramid")
    lsh: bool = Field(
        False,
        description="Location Sensitive Header: boxes are regressed from the mask branch's convolutions, classes are "
        "told from features of their own",
    )
    semantic: SemanticOptions = SemanticOptions()
    panoptic: PanopticOptions = PanopticOptions()


class PanopticHeadOptions(TaskLevelOptions):
    """Options of the fuser `panoptic-head`; thresholds are those of UPSNet on COCO."""

    confidence: Part = Field(0.6, description="instances that score less are dropped")
    nms_iou: Part = Field(0.5, description="of two boxes that overlap more, of whatever classes, the worse goes")
    objects: Positive = Field(100, description="most objects of an image")
    overlap: Part = Field(0.3, description="a mask goes when more of it lies on better masks of its class")
    stuff_area: Annotated[int, Field(ge=0, description="stuff of fewer pixels becomes void")] = 4096
    cells: Positive = Field(28, description="cells along a side of the masks that logits are taken of")
    mask_logit: Annotated[float, Field(gt=0, description="logit of a cell that lies all inside; below 0 outside")] = 4.0
