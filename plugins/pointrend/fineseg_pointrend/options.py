"""Options of both heads. Defaults are those of the winner's first model; numbers of points and cells are sides."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fineseg import Options

Positive = Annotated[int, Field(gt=0)]


class RPNOptions(Options):
    """`rpn = {...}`: the region proposal network."""

    channels: Positive | None = Field(None, description="width of its convolution; the pyramid's if absent")
    anchor_scale: Annotated[float, Field(gt=0, description="anchor side in strides")] = 8
    ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.5, 1.0, 2.0), description="anchor height / width")
    train_proposals: Positive = Field(2000, description="proposals kept an image in training")
    test_proposals: Positive = Field(1000, description="proposals kept an image in prediction")
    samples: Positive = Field(256, description="anchors a training image that count in the loss")


class BoxOptions(Options):
    """`box = {...}`: the box head."""

    roi: Positive = Field(7, description="cells along a side of the RoI")
    sampling: Annotated[int, Field(ge=0, description="samples along a side of a cell; 0: adaptive")] = 2
    aligned: bool = Field(False, description="half-pixel corrected RoIAlign; the winner used the older kernel")
    fcs: Positive = Field(2, description="fully connected layers")
    width: Positive = Field(1024, description="their width")
    double: bool = Field(
        False,
        description="DoubleHead (arXiv 1904.06493): the FCs only classify, and four convolution blocks of `width` "
        "regress the box from a RoI of 1.3 times its size",
    )
    class_agnostic: bool = Field(True, description="one box a RoI instead of one for each class")
    samples: Positive = Field(512, description="RoIs a training image")
    positive: Annotated[float, Field(gt=0, lt=1, description="largest part of them that are objects")] = 0.25

    @model_validator(mode="after")
    def _blocks_have_a_bottleneck(self) -> "BoxOptions":
        if self.double and self.width % 4:
            raise ValueError(f"width must be a multiple of 4 where double = true, not {self.width}")
        return self


class TwoStageOptions(Options):
    """What both heads share."""

    rpn: RPNOptions = RPNOptions()
    box: BoxOptions = BoxOptions()
    mask_scoring: bool = Field(
        False,
        description="Mask Scoring R-CNN (arXiv 1903.00241): predict each mask's IoU with its object and multiply the "
        "score by it; convolutions as wide as the pyramid, FCs as the box head's",
    )


class MaskRCNNOptions(TwoStageOptions):
    """Mask R-CNN."""

    mask_roi: Positive = Field(14, description="cells along a side of the mask RoI; the mask has twice as many")
    mask_convs: Positive = Field(4, description="3x3 convolutions of the mask head")
    mask_width: Positive = Field(256, description="their width")


class CoarseOptions(Options):
    """`coarse = {...}`: the coarse mask head."""

    grid: Annotated[int, Field(gt=1, multiple_of=2, description="cells along a side; the mask has half as many")] = 26
    convs: Annotated[int, Field(ge=0, description="1x1 convolutions before the 2x2 one")] = 1
    width: Positive = Field(256, description="width of the convolutions")
    fcs: Positive = Field(2, description="fully connected layers")
    fc_width: Positive = Field(1024, description="their width")


class PointOptions(Options):
    """`points = {...}`: the point head, in training and in prediction."""

    layers: Positive = Field(3, description="hidden layers of the point head")
    width: Positive = Field(256, description="their width")
    train: Positive = Field(24, description="side of the number of training points: 24 means 24 x 24 an object")
    oversample: Annotated[float, Field(ge=1, description="candidates drawn for each training point")] = 3.0
    important: Annotated[float, Field(ge=0, le=1, description="part of them taken where most uncertain")] = 0.75
    test: Positive = Field(70, description="side of the number of points that each subdivision refines")
    steps: Positive = Field(5, description="subdivisions; each doubles the mask's side")


class PointRendOptions(TwoStageOptions):
    """PointRend."""

    levels: Literal["all", "p2-p5", "p2"] = Field(
        "all", description="pyramid levels that both mask heads read; p2-p5: the four finest, as boxes do"
    )
    coarse: CoarseOptions = CoarseOptions()
    points: PointOptions = PointOptions()

    @model_validator(mode="after")
    def _some_uncertain(self) -> "PointRendOptions":
        if self.points.oversample < self.points.important:
            raise ValueError("points.oversample must not be below points.important")
        return self
