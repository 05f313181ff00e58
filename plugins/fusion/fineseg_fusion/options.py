"""Options of the TTA parts, the ensemblers and the panoptic fusers. Scores and weights are in 0..1, IoU in 0..1."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fineseg import Options


class FlipOptions(Options):
    """Options of `flip`."""

    horizontal: bool = Field(True, description="also the image with left and right exchanged")
    vertical: bool = Field(False, description="also the image with top and bottom exchanged")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.horizontal or self.vertical):
            raise ValueError("flip mirrors nothing: set horizontal or vertical, or leave it out of tta")
        return self


class MultiScaleOptions(Options):
    """Options of `multi-scale`."""

    scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (0.8, 1.0, 1.2),
        min_length=1,
        description="factors on [predict]'s long_side and short_side, 1 where it shall count",
    )


class PoolOptions(Options):
    """How the weighted detections of all models become one set."""

    nms_iou: float = Field(0.5, ge=0, le=1, description="boxes of a class that overlap by more IoU weaken each other")
    min_score: float = Field(0.001, ge=0, le=1, description="a detection that soft-NMS weakens below this is dropped")
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


class MaskNMSOptions(Options):
    """Options of `mask-nms`."""

    nms_iou: float = Field(0.5, ge=0, le=1, description="of masks of a class that overlap by more IoU the lower goes")
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


class MatrixNMSOptions(Options):
    """Options of `matrix-nms`."""

    kernel: Literal["gaussian", "linear"] = Field("gaussian", description="exp(-IoU^2 / sigma), or 1 - IoU")
    sigma: float = Field(0.5, gt=0, allow_inf_nan=False, description="how slowly the gaussian kernel falls")
    min_score: float = Field(0.05, gt=0, le=1, description="a detection that is lowered below this is dropped")
    max_per_model: int = Field(500, ge=1, description="detections of each model that go in, highest scores first")
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


class BestPerClassOptions(Options):
    """Options of `best-per-class`."""

    by: Literal["class", "class-and-size"] = Field(
        "class",
        description="what has a model of its own: each class, or each class in each area range of the metric, by the "
        "area of a detection's mask",
    )
    min_support: int = Field(
        10, ge=1, description="true objects that a class, or a class in an area range, needs for a choice by its own AP"
    )
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


class FuseOptions(Options):
    """What the ensemblers that fuse boxes and masks have in common."""

    match_iou: float = Field(0.55, ge=0, lt=1, description="boxes of a class that overlap by more IoU become one")
    skip_box_thr: float = Field(0.0, ge=0, le=1, description="a detection that scores less, unweighted, is left out")
    weights: Literal["none", "interpolation", "rank"] = Field(
        "none", description="models weigh the same, by their AP as in linear-interpolation, or by its rank"
    )
    theta: float = Field(0.6, ge=0, le=1, description="weight of the worst model where weights differ; the best has 1")
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


class WBFOptions(FuseOptions):
    """Options of `wbf`."""

    conf_type: Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"] = Field(
        "avg", description="how members' scores become one, as ensemble-boxes calls it"
    )


class LinearInterpolationOptions(PoolOptions):
    """Options of `linear-interpolation`."""

    theta_min: float = Field(0.6, ge=0, le=1, description="weight of the model with the lowest AP")
    theta_max: float = Field(1.0, ge=0, le=1, description="weight of the model with the highest AP")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.theta_min > self.theta_max:
            raise ValueError(f"theta_min {self.theta_min} is above theta_max {self.theta_max}; exchange them")
        return self


class LinearReweightOptions(PoolOptions):
    """Options of `linear-reweight`."""

    theta: float = Field(0.5, ge=0, le=1, description="weight of the model that ranks last; the first has 1")
    ranking: Literal["overall", "per-class"] = Field(
        "overall", description="rank the models by their AP over all classes, or within each class by its own AP"
    )


# ------------------------------------------------------------ panoptic fusers

Score = Annotated[float, Field(ge=0, le=1, strict=True)]
Weight = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


class HeuristicOptions(Options):
    """Options of `heuristic`: those of panopticapi's combination rule, with its defaults."""

    confidence: float = Field(0.5, ge=0, le=1, description="instances that score less are dropped")
    overlap: float = Field(0.5, ge=0, le=1, description="an instance goes when more of it lies on better ones")
    stuff_area: float = Field(4096, ge=0, description="stuff of which fewer pixels are left becomes void")


class TaskLevelOptions(Options):
    """Which model counts for what before anything is combined."""

    default: str = Field("", description="model whose classes go to another only for a better AP; '': the highest AP")
    margin: float = Field(0.0, ge=0, description="percent of AP by which another must be better in a class")
    temperatures: dict[str, Temperature] = Field(
        {}, description="by model: scores become sigmoid(logit(score) / temperature), so that those of models compare"
    )
    thresholds: dict[str, Score] = Field({}, description="by model: least score of its instances, after temperature")
    weights: dict[str, Weight] = Field({}, description="by model: what its semantic probabilities count, else 1")


class TwoLevelOptions(TaskLevelOptions, HeuristicOptions):
    """Options of `two-level`."""
