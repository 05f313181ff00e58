"""The records that hooks yield, and the plain specs that their `build` functions return.

Nothing here imports torch or mmdet: a record only names a part, its options and a function that imports what it needs
when it is called. Model specs carry mmdet configuration whose `type` entries are classes, never registry names.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from fineseg.data.split import Split
from fineseg.predictors import OneStagePredictor, SemanticPredictor, TwoStagePredictor

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fineseg.class_ends import ClassTable
    from fineseg.data.panoptic import PanopticMap
    from fineseg.predictions import Instances
    from fineseg.semantic_store import SemanticScores

Config = dict[str, Any]
Progress = Callable[[int, int], None]
"""Called with (done, total) while something long goes on."""
_NUMBER = re.compile(r"(<class ')?(typing\.\w+\[)*(int|float)\b")


class Options(BaseModel):
    """Base of every part's options: frozen, an unknown key is an error, numbers are finite, and `true` is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic takes for 0 and 1."""
        wanted = str(cls.model_fields[info.field_name].annotation) if info.field_name else ""
        if isinstance(value, bool) and "bool" not in wanted and _NUMBER.match(wanted):
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return value


class NoOptions(Options):
    """For a part that has nothing to set."""


@dataclass(frozen=True)
class Part:
    """What all parts have: a name to write in a profile, one line about it, and its options.

    `recipe_version` goes into content keys: raise it when the part's results change for the same options.
    """

    kind: ClassVar[str]
    name: str
    summary: str
    options: type[BaseModel]
    recipe_version: int = field(default=1, kw_only=True)


# ---------------------------------------------------------------- model parts


@dataclass(frozen=True)
class Normalisation:
    """How a backbone wants its input: (pixel - mean) / std in the given channel order, pixels in 0..255."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    order: str = "rgb"


@dataclass(frozen=True)
class Weights:
    """Where a backbone's weights come from: a file path or an http(s) URL, and how its keys map to the module's.

    `map_state` gets the file's state dict and returns one whose keys are the backbone's own.
    """

    source: str
    map_state: Callable[[Mapping[str, "torch.Tensor"]], Mapping[str, "torch.Tensor"]] = dict


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone ready to be built: mmdet config, what its feature maps look like, and its input.

    `channels[i]` is the width of the map whose side is 1/`strides[i]` of the image's.
    """

    config: Config
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    normalisation: Normalisation = Normalisation()
    weights: Weights | None = None
    paramwise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class NeckSpec:
    """A neck ready to be built; `config` is one mmdet module config or a list of them in sequence."""

    config: Config | list[Config]
    channels: int
    strides: tuple[int, ...]


LossSlot = Literal["mask", "class", "semantic"]
"""A place of a head for a loss from outside: see `Loss`."""


@dataclass(frozen=True)
class HeadInput:
    """What a head is built on: the pyramid's width and strides, and the numbers of thing and of stuff classes.

    `losses` are mmdet configs of the losses that a profile puts into slots of the head. They are called with what
    mmdet's mask heads, box heads and semantic heads call theirs with: (masks [N, C, ...], targets [N, ...], labels
    [N]), (scores [N, C + 1], labels [N], weights [N]), and (scores [B, C, h, w], labels [B, h, w]).
    """

    channels: int
    strides: tuple[int, ...]
    num_classes: int
    num_stuff: int = 0
    losses: Mapping[LossSlot, Config] = field(default_factory=dict)

    def loss(self, slot: LossSlot, own: Config) -> Config:
        """Return the config of the loss in a slot: the head's own, or the profile's with the weight of that."""
        chosen = self.losses.get(slot)
        return own if chosen is None else {**chosen, "loss_weight": own.get("loss_weight", 1.0)}


@dataclass(frozen=True)
class HeadSpec:
    """A detector recipe around a given backbone and neck.

    `detector` is mmdet config of the whole detector without backbone, neck and data preprocessor. `predictor` wraps
    the built module in a prediction protocol. `needs_masks` says that training reads masks, `needs_semantic` that it
    reads the class of every pixel, which panoptic data tell: `gt_sem_seg` of the samples, things first, then stuff, 255
    where nothing is known and in the padding. `loss_groups` says for a task balancer which task a loss is of: the
    longest beginning of its name there decides, and "" stands for all others.
    """

    detector: Config
    predictor: Callable[["torch.nn.Module"], TwoStagePredictor | OneStagePredictor | SemanticPredictor]
    needs_masks: bool = True
    paramwise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    needs_semantic: bool = False
    loss_groups: Mapping[str, str] = field(default_factory=lambda: {"": "all"})


@dataclass(frozen=True)
class Backbone(Part):
    """Feature extractor; `build(options)` returns a `BackboneSpec`."""

    kind = "backbone"
    build: Callable[[Any], BackboneSpec]


@dataclass(frozen=True)
class Neck(Part):
    """What stands between backbone and head; `build(options, backbone)` returns a `NeckSpec`."""

    kind = "neck"
    build: Callable[[Any, BackboneSpec], NeckSpec]


Output = Literal["instances", "semantic", "panoptic"]


@dataclass(frozen=True)
class Head(Part):
    """A detector recipe; `build(options, head_input)` returns a `HeadSpec`.

    `shares_proposals` says that its `boxes` step takes proposals from anywhere, so that the views of a TTA can share
    them. Where it does not, as with a head whose predictor is a `OneStagePredictor`, finished instances of the views
    can still be pooled. `prediction_only` names options ("points.test") that neither its weights nor its training
    depend on: after a change of theirs a model is not trained anew. `gives` says what it tells of an image: "semantic",
    the scores of all classes at each pixel, takes a `SemanticPredictor`; "panoptic", a map of its own, a
    `PanopticPredictor`. `dense` says that this is a `DensePredictor`, which goes step by step with other models.
    `losses` are the slots whose loss a profile may change: those of `HeadInput.losses` that it asks for.
    """

    kind = "head"
    build: Callable[[Any, HeadInput], HeadSpec]
    shares_proposals: bool = True
    prediction_only: tuple[str, ...] = ()
    gives: tuple[Output, ...] = ("instances",)
    dense: bool = False
    losses: tuple[LossSlot, ...] = ()


@dataclass(frozen=True)
class Loss(Part):
    """What a head learns from in the slots that it `serves`; `build(options)` returns a torch module.

    The module's `forward` takes float logits and their truth, and returns a scalar. "mask": logits [N, ...] of the true
    class, targets of that shape in 0..1. "class": logits [N, C + 1], labels [N], int64, the last class background.
    "semantic": logits [B, C, h, w], labels [B, h, w], int64; a pixel of 255 counts nowhere. With nothing that counts
    it is finite and has a gradient of zero, as `logits.sum() * 0`. What serves several slots tells them by the shapes.
    The module has no weights and no other state: prediction leaves it out.
    """

    kind = "loss"
    build: Callable[[Any], "torch.nn.Module"]
    serves: tuple[LossSlot, ...]


@dataclass(frozen=True)
class TaskBalancer(Part):
    """Weighs the tasks of a training against each other; `build(options, groups)` returns a torch module.

    `groups` are the tasks that the head's losses are of, sorted. The module's `forward` takes a step's losses {group:
    scalar}, which may be of some of them, and returns the total to learn from, which may be negative, and what each
    weighs, {group: scalar}, for the training's curves. Its parameters learn with the model's, without weight decay;
    prediction leaves it out.
    """

    kind = "task-balancer"
    build: Callable[[Any, tuple[str, ...]], "torch.nn.Module"]


# ------------------------------------------------------- parts of the pipeline


@dataclass(frozen=True)
class AreaScore:
    """What was measured of one model on objects of `low` to `high` square pixels, both included.

    `per_class` is the AP of each class in percent, nan without truth; `support` counts its true objects of that size.
    """

    low: float
    high: float
    per_class: tuple[float, ...]
    support: tuple[int, ...]


@dataclass(frozen=True)
class ModelScore:
    """What was measured of one model on the held-out split, in percent.

    `per_class` is the AP of each class; empty where nobody measured it, as for files without ground truth. `support`
    counts the true objects of each class, crowds left out; empty where `per_class` is. `areas` are in the order of the
    metric's area ranges; empty where they were not measured.
    """

    model: str
    ap: float
    per_class: tuple[float, ...]
    support: tuple[int, ...] = ()
    areas: tuple[AreaScore, ...] = ()


Merge = Callable[[Sequence["Instances"]], "Instances"]
"""Turns what several models say of one image, in the order of the scores, into one set of instances."""


@dataclass(frozen=True)
class Ensembler(Part):
    """Several models' instances into one; `build(options, scores)` returns the function that merges one image."""

    kind = "ensembler"
    build: Callable[[Any, Sequence[ModelScore]], Merge]


@dataclass(frozen=True)
class PanopticEnd:
    """What one model says of one image; what it does not give is None. `semantic`: things first, then stuff."""

    model: str
    instances: "Instances | None" = None
    semantic: "SemanticScores | None" = None


@dataclass(frozen=True)
class FuserInput:
    """What a fuser is built on: numbers of thing and stuff classes, and the models' scores on held-out images.

    `gives` are, by model, of "instances" and "semantic" those that it gives, where that is known. A profile's check
    builds too, with scores of nan and no classes: what is wrong with the options is said there.
    """

    things: int
    stuff: int
    scores: Sequence[ModelScore] = ()
    gives: Mapping[str, Collection["Output"]] = field(default_factory=dict)


Fuse = Callable[[Sequence[PanopticEnd]], "PanopticMap"]
"""Turns what several models say of one image, in the order of the scores, into one map of segments."""


@dataclass(frozen=True)
class PanopticFuser(Part):
    """Instances and semantic scores of one or several models into a panoptic map; `build(options, fuser_input)`.

    It returns the function that fuses one image; several are fused at once, each in a thread. `class_table(options,
    fuser_input)`, of a fuser that takes each thing class from one model, says from which; None where there is nothing
    to choose from. For a fuser that does not read the models' scores nothing is measured: `reads_scores` says so.
    """

    kind = "panoptic-fuser"
    build: Callable[[Any, FuserInput], Fuse]
    class_table: Callable[[Any, FuserInput], "ClassTable | None"] | None = None
    reads_scores: bool = True


@dataclass(frozen=True)
class View:
    """One way of looking at an image; the default is the image as the profile's `[predict]` scales it.

    `adjust` turns the image's uint8 BGR pixels [H, W, 3] into others of that shape. Then the image is scaled to fit
    `scale` times `[predict]`'s sides, aspect kept, and mirrored: `horizontal` swaps left and right, `vertical` top and
    bottom.
    """

    scale: float = 1.0
    horizontal: bool = False
    vertical: bool = False
    adjust: Callable[["np.ndarray"], "np.ndarray"] | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for a scale that no image can have."""
        if not 0 < self.scale < math.inf:
            raise ValueError(f"a view's scale must be a number above 0, not {self.scale}")


@dataclass(frozen=True)
class TTA(Part):
    """Test-time augmentation; `build(options)` returns the views, the plain image among them where it shall count."""

    kind = "tta"
    build: Callable[[Any], tuple[View, ...]]


@dataclass(frozen=True)
class Dataset(Part):
    """A data set or a format of data sets.

    `read(options, root, split)` returns one split; it raises `FinesegError` for files that are missing or wrong.
    `generate(options, folder, split, progress)`, where a data set is drawn and not read, writes a split below `folder`,
    which is `root` at reading then. `panoptic` says that its splits have stuff, and a map for each labelled image.
    """

    kind = "dataset"
    read: Callable[[Any, Path, str], Split]
    generate: Callable[[Any, Path, str, Progress], None] | None = None
    panoptic: bool = False


@dataclass(frozen=True)
class Submission(Part):
    """A competition's file format.

    `write(options, split, predictions, path)` writes the file whole and returns its path; `check(options, split, path)`
    reads it back and returns what is wrong with it, one line each. `read(options, split, path)`, where there is one,
    returns what a sound file holds, by image id: with it a run scores the combination as its file would be scored.
    `predictions` are by image id: `Instances`, or `PanopticMap` where `task` is "panoptic".
    """

    kind = "submission"
    write: Callable[[Any, Split, Mapping[int, Any], Path], Path]
    check: Callable[[Any, Split, Path], list[str]]
    suffix: str = ".zip"
    read: Callable[[Any, Split, Path], Mapping[int, "Instances"]] | None = None
    task: Literal["instance", "panoptic"] = "instance"


KINDS: tuple[type[Part], ...] = (
    Backbone,
    Neck,
    Head,
    Loss,
    TaskBalancer,
    TTA,
    Ensembler,
    PanopticFuser,
    Dataset,
    Submission,
)
