"""What a profile may say. Field descriptions are the reference: units in brackets, defaults as written.

A part is chosen by name, `neck = "fpn"`, or with its options, `neck = { name = "fpn", channels = 256 }`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fineseg.profile.base import PartChoice as PartChoice
from fineseg.profile.base import Table
from fineseg.profile.budget import budget_of
from fineseg.profile.combine_schema import CombineTable
from fineseg.profile.combine_schema import SpaceTable as SpaceTable
from fineseg.profile.layers import merge
from fineseg.profile.model_schema import UNBALANCED as UNBALANCED
from fineseg.profile.model_schema import ModelTable as ModelTable
from fineseg.profile.row_schema import AblationTable

SHARED_PROPOSALS = "shared-proposals"
"""The manner of merging views that is no part: it goes on inside the prediction of one image."""
NOT_IN_KEYS = frozenset({"workers", "cpus", "keep", "checkpoint_every", "final"})
"""Settings of `[train]` that change how a training runs, not what comes out of it: no content key holds them."""

OF_THE_RUN = frozenset({"shard", "cpus"})
"""Settings of `[predict]` that all models of a run share, as all are predicted by the same processes."""


def folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"must be letters, digits, '.', '_' and '-', a letter or digit first, not \"{name}\"")
    return name


class CompetitionTable(Table):
    """`[competition]`: what is competed in."""

    name: Annotated[str, AfterValidator(folder_name), Field(description="short name, used for folders")]
    title: str = Field(default="", description="title on the report")
    task: Literal["instance", "panoptic"] = Field(
        default="instance", description="what is segmented: things one by one, or every pixel, things and stuff"
    )
    models: tuple[str, ...] | None = Field(
        default=None,
        description="names of the [models.*] tables that a run trains and combines, in this order; all if absent",
    )


def _number_or_file(folds: Any) -> Any:
    if not isinstance(folds, str | None) and (type(folds) is not int or folds < 2):
        raise ValueError(f"must be a whole number, 2 or more, or the path of a file, not {folds}")
    return folds


class HeldOutTable(Table):
    """`validation = { random = 3000 }` or `{ folds = 5 }`: hold out images of the training split.

    At random, some once; with folds, all in turn: each model is trained on all folds but one, once for each fold.
    """

    random: Annotated[int, Field(gt=0)] | None = Field(
        default=None,
        description="images to hold out; where images belong to groups, as many whole groups, drawn in order, as reach "
        "this number",
    )
    folds: Annotated[int | str | None, BeforeValidator(_number_or_file)] = Field(
        default=None, description="folds that the split is cut into, or a file that says which image is in which"
    )
    seed: Annotated[int, Field(ge=0)] = 0
    merge: PartChoice | None = Field(
        default=None,
        description="ensembler that makes one answer of the K that the trainings of a model give for the test split; "
        'with folds, `data.test` and `train.final = "scored"`',
    )

    @model_validator(mode="after")
    def _one_way(self) -> "HeldOutTable":
        if (self.random is None) == (self.folds is None):
            raise ValueError("must say one of random = IMAGES and folds = K")
        if self.folds is None and self.merge is not None:
            raise ValueError("merge makes the answers of folds one; with random there is one answer")
        return self


class DataTable(Table):
    """`[data]`: which images and annotations."""

    dataset: PartChoice = Field(description="dataset part and its options")
    root: str = Field(default="", description="folder of the data, relative to the profile; unused by generated data")
    train: str = Field(default="train", description="split to train on")
    validation: str | HeldOutTable = Field(
        default="val", description="labelled split to score on, or how images are held out of `train`"
    )
    test: str | None = Field(
        default=None, description="split that the submission is made for; the validation split if absent"
    )

    @model_validator(mode="after")
    def _held_out(self) -> "DataTable":
        if self.validation == self.train:
            raise ValueError(f"validation must not be '{self.train}', which is trained on; try {{ random = IMAGES }}")
        return self

    @property
    def in_folds(self) -> bool:
        """Whether the training split is cut into folds, which are all trained on and all scored."""
        return isinstance(self.validation, HeldOutTable) and self.validation.folds is not None


class MetricTable(Table):
    """`[metric]`: mask AP as the competition counts it."""

    area_ranges: Mapping[str, tuple[float, Annotated[float, Field(allow_inf_nan=True)]]] = Field(
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
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    workers: Annotated[int, Field(gt=0, description="processes that share a batch")] = 1
    cpus: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="cores a worker; an even share if absent"
    )
    validate_every: Annotated[int, Field(ge=0, description="epochs between validations; 0: none while training")] = 0
    checkpoint_every: Annotated[int, Field(gt=0, description="epochs between checkpoints")] = 1
    keep: Annotated[int, Field(gt=0, description="newest checkpoints that are kept while training")] = 1
    checkpoint: Literal["last", "best"] = Field(
        default="last",
        description="which checkpoint predicts; best by the first of PQ, AP and mIoU that its validations have",
    )
    final: Literal["scored", "all"] = Field(
        default="scored",
        description="which training predicts the test split: the one that was scored, or one more on all labelled "
        "images, without validations, to the last epoch",
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
    tta: tuple[PartChoice, ...] = Field(
        default=(),
        description="views of an image: those of all parts multiplied; not used by validations while training",
    )
    merge_views: Literal["shared-proposals"] | PartChoice = Field(
        default="shared-proposals",
        description="how views become one answer: averaged step by step, or by an ensembler that pools their instances",
    )
    semantic: Literal["compact", "full", "none"] = Field(
        default="compact",
        description="panoptic models: in which form scores of all classes are kept; compact: the best 6 of each 4 x 4 "
        "pixels, full: all numbers, none: they are not",
    )


class SubmissionTable(Table):
    """`[submission]`: the file that is handed in."""

    format: PartChoice


def _budget(text: str) -> str:
    budget_of(text)
    return text


def _whole_keys(space: Any) -> Any:
    parts = [key for key in space if "." not in key] if isinstance(space, Mapping) else []
    if parts:
        raise ValueError(f'a key is written whole and in quotes, such as "train.lr" = {{ ... }}, not {parts[0]}')
    return space


class SweepTable(Table):
    """`[sweep]`: what `fineseg sweep` varies, and how; a trial is one training of one model."""

    space: Annotated[Mapping[str, SpaceTable], BeforeValidator(_whole_keys), Field(min_length=1)] = Field(
        description='what varies: "dotted.key" = { choice = [...] }, { uniform = [from, to] }, { log_uniform = '
        "[from, to] } or { integer = [from, to] }; a layer that states a space replaces it whole",
    )
    model: str | None = Field(default=None, description="model that is trained; the first chosen one if absent")
    search: Literal["random", "grid", "optuna"] = Field(
        default="random", description="how values are taken; grid: every combination of choices and integers"
    )
    samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="trials; 10 if absent, and all of a grid"
    )
    seed: Annotated[int, Field(ge=0)] = 0
    metric: str = Field(
        default="AP", description="figure of the validations that is to be high, such as AP, AP50, PQ or mIoU"
    )
    validate_every: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="epochs between a trial's validations; the model's own, or 1, if absent"
    )
    scheduler: Literal["none", "asha", "median"] = Field(
        default="none",
        description="who stops poor trials; asha: all but the best third at `grace`, 3 `grace`, 9 `grace`... epochs; "
        "median: those below the median of the others' running means",
    )
    grace: Annotated[int, Field(gt=0, description="epochs before a trial may be stopped")] = 1
    budget: Annotated[str, AfterValidator(_budget)] | None = Field(
        default=None,
        description="after which no trial starts and running ones stop: time such as 8h, or work such as 2gpu-h or "
        "30cpu-m; none if absent",
    )

    @model_validator(mode="after")
    def _sound_search(self) -> "SweepTable":
        for key in self.space:
            above = [other for other in self.space if key.startswith(f"{other}.")]
            if above:
                raise ValueError(f'space: "{key}" is inside "{above[0]}", which varies as a whole; leave out one')
        if self.search == "grid":
            wide = [key for key, entry in self.space.items() if entry.uniform or entry.log_uniform]
            if wide:
                raise ValueError(f'search = "grid" needs choices or integers, but "{wide[0]}" is continuous')
            if self.samples is not None:
                raise ValueError('search = "grid" tries every combination: leave out samples, or search = "random"')
        return self


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
    sweep: SweepTable | None = None
    tables: Mapping[str, AblationTable] = {}
    plugins: PluginsTable = PluginsTable()

    @property
    def chosen(self) -> dict[str, ModelTable]:
        """The models that this run trains, in order."""
        names = self.competition.models or tuple(self.models)
        return {name: self.models[name] for name in names}

    @property
    def predictions(self) -> tuple[str, ...]:
        """What the chosen models' predictions are called, in order."""
        return tuple(prediction for model in self.chosen for prediction in self.predictions_of(model))

    def predictions_of(self, model: str) -> tuple[str, ...]:
        """Return what a model's predictions are called: as the model, or MODEL/END for each of its ends."""
        return tuple(f"{model}/{end}" if end else model for end in self.models[model].heads)

    def model_of(self, prediction: str) -> str:
        """Return the model that makes a prediction."""
        return prediction if prediction in self.models else prediction.rpartition("/")[0]

    def end_of(self, prediction: str) -> str:
        """Return the end of its model that makes a prediction, "" where the model has a single head."""
        return "" if prediction in self.models else prediction.rpartition("/")[2]

    def predict_of(self, model: str) -> PredictTable:
        """Return `[predict]` with what `[models.X] predict` changes, of a model or of a prediction of it."""
        own = self.models[self.model_of(model)].predict
        return PredictTable.model_validate(merge(self.predict.model_dump(), own))

    def epochs_of(self, model: str) -> int:
        """Return how many epochs a model's training goes on for, in all phases."""
        return self.train_of(model).epochs * len(self.models[model].phases)

    def train_of(self, model: str, *, whole: bool = False) -> TrainTable:
        """Return `[train]` with what `[models.X.train]` changes; `whole`: for a training on all labelled images.

        That one sees the validation images, so nothing is measured or chosen on them.
        """
        own = dict(self.models[model].train)
        table = TrainTable.model_validate(merge(self.train.model_dump(), own))
        return table.model_copy(update={"validate_every": 0, "checkpoint": "last"}) if whole else table
