"""Options of the ensemblers. Scores and weights are in 0..1, IoU in 0..1."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fineseg import Options


class PoolOptions(Options):
    """How the weighted detections of all models become one set."""

    nms_iou: float = Field(0.5, ge=0, le=1, description="boxes of a class that overlap by more IoU weaken each other")
    min_score: float = Field(0.001, ge=0, le=1, description="a detection that soft-NMS weakens below this is dropped")
    max_per_image: int = Field(100, ge=1, description="detections kept in an image, highest scores first")


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
