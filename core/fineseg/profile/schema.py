"""What a profile may say. Field descriptions are the reference: units in brackets, defaults as written.

A part is chosen by name, `neck = "fpn"`, or with its options, `neck = { name = "fpn", channels = 256 }`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fineseg.profile.layers import merge


class Table(BaseModel):
    """Base of every table: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PartChoice(BaseModel):
    """A part by name, and what is set of its options (checked against the part's own options model)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options as written, without the name."""
        return dict(self.model_extra or {})


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"must be letters, digits, '.', '_' and '-', a letter or digit first, not \"{name}\"")
    return name


class CompetitionTable(Table):
    """`[competition]`: what is competed in."""

    name: Annotated[str, AfterValidator(_folder_name), Field(description="short name, used for folders")]
    title: str = Field(default="", description="title on the report")
    task: Literal["instance"] = Field(default="instance", description="what is segmented")
    models: tuple[str, ...] | None = Field(
        default=None,
        description="names of the [models.*] tables that a run trains and combines, in this order; all if absent",
    )


class RandomValidation(Table):
    """`validation = { random = 3000, seed = 0 }`: hold out images of the training split at random."""

    random: Annotated[int, Field(gt=0, description="images to hold out")]
    seed: int = 0


class DataTable(Table):
    """`[data]`: which images and annotations."""

    dataset: PartChoice = Field(description="dataset part and its options")
    root: str = Field(default="", description="folder of the data, relative to the profile; unused by generated data")
    train: str = Field(default="train", description="split to train on")
    validation: str | RandomValidation = Field(
        default="val", description="labelled split to score on, or images held out of `train`"
    )
    test: str | None = Field(
        default=None, description="split that the submission is made for; the validation split if absent"
    )

    @model_validator(mode="after")
    def _held_out(self) -> "DataTable":
        if self.validation == self.train:
            raise ValueError(f"validation must not be '{self.train}', which is trained on; try {{ random = IMAGES }}")
        return self


class MetricTable(Table):
    """`[metric]`: mask AP as the competition counts it."""

    area_ranges: Mapping[str, tuple[float, float]] = Field(
        default={"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)},
        description="name -> [from, to] of the true mask's area [pixels]; reported as AP + first letter",
    )
    max_detections: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(1, 10, 100),
        description="detections per image and class that count; the last is the headline's",
        min_length=1,
    )

    @model_validator(mode="after")
    def _ordered(self) -> "MetricTable":
        if list(self.max_detections) != sorted(set(self.max_detections)):
            raise ValueError("max_detections must rise, as [1, 5, 10] does")
        for name, (low, high) in self.area_ranges.items():
            if not 0 <= low < high:
                raise ValueError(f"area range '{name}' must be [from, to] with 0 <= from < to")
        return self


class OptimiserTable(Table):
    """`optimiser = { name = "sgd", momentum = 0.9 }`."""

    name: Literal["sgd", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1, description="sgd only")] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4


class ScheduleTable(Table):
    """`schedule = { name = "step", steps = [32], gamma = 0.1, warmup = 500 }`: the learning rate over time."""

    name: Literal["step", "cosine"] = "step"
    steps: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(), description="epochs after which the rate is multiplied"
    )
    gamma: Annotated[float, Field(gt=0, le=1, description="factor at each of `steps`")] = 0.1
    end: Annotated[float, Field(ge=0, le=1, description="cosine: last rate as a part of the first")] = 0.0
    warmup: Annotated[int, Field(ge=0, description="linear warm-up [iterations]")] = 0
    warmup_start: Annotated[float, Field(gt=0, le=1, description="first rate as a part of lr")] = 1 / 3


class TrainTable(Table):
    """`[train]`, and `[models.X.train]` for what differs: how a model is trained."""

    epochs: Annotated[int, Field(gt=0, description="passes over the training images")]
    lr: Annotated[float, Field(gt=0, description="learning rate at this batch; never scaled for you")]
    batch: Annotated[int, Field(gt=0, description="images a step over all workers")] = 8
    optimiser: OptimiserTable = OptimiserTable()
    schedule: ScheduleTable = ScheduleTable()
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(default=None, description="largest L2 norm of the gradient")
    precision: Literal["fp32", "fp16"] = Field(
        default="fp32", description="forward and backward passes; fp16 needs a GPU"
    )
    loss_scale: Annotated[float, Field(gt=0)] | Literal["dynamic"] = Field(default="dynamic", description="fp16 only")
    long_side: Annotated[int, Field(gt=0, description="longest side of a training image [pixels]")] = 1333
    short_side: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(
        default=(800, 800), description="range of the shorter side, drawn uniformly [pixels]"
    )
    flip: Annotated[float, Field(ge=0, le=1, description="probability of a horizontal flip")] = 0.5
    seed: int = 0
    workers: Annotated[int, Field(gt=0, description="processes that share a batch")] = 1
    cpus: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="cores a worker; an even share if absent"
    )
    validate_every: Annotated[int, Field(ge=0, description="epochs between validations; 0: none while training")] = 0
    checkpoint_every: Annotated[int, Field(gt=0, description="epochs between checkpoints")] = 1
    keep: Annotated[int, Field(gt=0, description="newest checkpoints that are kept while training")] = 1
    checkpoint: Literal["last", "best"] = Field(
        default="last", description="which checkpoint predicts; best by validation AP"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TrainTable":
        if self.batch % self.workers:
            raise ValueError(f"batch = {self.batch} cannot be shared evenly by {self.workers} workers")
        if self.short_side[0] > self.short_side[1]:
            raise ValueError("short_side must be [from, to] with from <= to")
        if self.short_side[1] > self.long_side:
            raise ValueError(f"short_side goes up to {self.short_side[1]}, beyond long_side = {self.long_side}")
        if self.checkpoint == "best" and not self.validate_every:
            raise ValueError('checkpoint = "best" needs validations to choose by: set validate_every')
        return self


class ModelTable(Table):
    """`[models.X]`: one detector to train."""

    backbone: PartChoice
    neck: PartChoice
    head: PartChoice
    train: Mapping[str, Any] = Field(default={}, description="what differs from [train]")


class PredictTable(Table):
    """`[predict]`: how trained models look at images."""

    long_side: Annotated[int, Field(gt=0, description="images are scaled to fit this [pixels]")] = 1333
    short_side: Annotated[int, Field(gt=0, description="and this, aspect kept [pixels]")] = 800
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    nms_iou: Annotated[float, Field(gt=0, le=1, description="box IoU above which the lower score goes")] = 0.5
    max_per_image: Annotated[int, Field(gt=0)] = 100
    mask_threshold: Annotated[float, Field(gt=0, lt=1, description="mask where probability is greater")] = 0.5
    shard: Annotated[int, Field(gt=0, description="images a stored file")] = 50
    cpus: Annotated[int, Field(gt=0, description="cores a predicting process")] = 1


class CombineTable(Table):
    """`[combine]`: several models into one."""

    ensembler: PartChoice


class SubmissionTable(Table):
    """`[submission]`: the file that is handed in."""

    format: PartChoice


class PluginsTable(Table):
    """`[plugins]`."""

    disable: tuple[str, ...] = Field(default=(), description="plugins or distributions not to load")


class Profile(Table):
    """A whole profile after all layers are merged."""

    competition: CompetitionTable
    data: DataTable
    metric: MetricTable = MetricTable()
    train: TrainTable
    models: Annotated[Mapping[str, ModelTable], Field(min_length=1)]
    predict: PredictTable = PredictTable()
    combine: CombineTable | None = None
    submission: SubmissionTable | None = None
    plugins: PluginsTable = PluginsTable()

    @property
    def chosen(self) -> dict[str, ModelTable]:
        """The models that this run trains, in order."""
        names = self.competition.models or tuple(self.models)
        return {name: self.models[name] for name in names}

    def train_of(self, model: str) -> TrainTable:
        """Return `[train]` with what `[models.X.train]` changes."""
        own = dict(self.models[model].train)
        return TrainTable.model_validate(merge(self.train.model_dump(), own))
