"""What `[combine]` may say, and how a space to search is written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fineseg.profile.base import PartChoice, Table

Space = Literal["probability", "logit"]
WAYS = ("ensembler", "fuser", "dense")
"""What `[combine]` may make one of several models by: one of these, or a fuser of models some of which are dense."""
DENSE = "dense"
"""Name of what a dense ensemble says, where it is one of the models that a fuser is given."""
COMBINED = "combined"
"""Name of what `[combine]` makes of all models."""


class SpaceTable(Table):
    """One key of `[sweep.space]` or of a `space` in `[combine]`: from what a trial's value is taken."""

    choice: tuple[Any, ...] | None = Field(default=None, description="one of these", min_length=1)
    uniform: tuple[float, float] | None = Field(default=None, description="[from, to], evenly")
    log_uniform: tuple[float, float] | None = Field(default=None, description="[from, to], evenly in the logarithm")
    integer: tuple[int, int] | None = Field(default=None, description="[from, to], whole numbers, both ends included")

    @model_validator(mode="after")
    def _one_sound_range(self) -> "SpaceTable":
        given = {name: value for name, value in self if value is not None}
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"must say one of {kinds}, not {' and '.join(given) or 'none'}")
        name, value = next(iter(given.items()))
        if name == "choice":
            if any(value[i] in value[:i] for i in range(len(value))):
                raise ValueError("choice lists a value twice; list each once")
        elif not value[0] < value[1]:
            raise ValueError(f"{name} must be [from, to] with from < to")
        elif name == "log_uniform" and value[0] <= 0:
            raise ValueError(f"log_uniform must start above 0, not at {value[0]:g}")
        return self


class SearchTable(Table):
    """`[combine] search = { ... }`: what is searched on the validation split's stored predictions, and how.

    The score of the combination is that of nested searches: each part of the images by what was searched without it.
    """

    weights: bool = Field(default=True, description="a factor for each model's scores, whatever the ensembler")
    thresholds: Literal["none", "overall", "per-class"] = Field(
        default="none", description="least score that goes into the ensembler: one, or one for each class"
    )
    space: Mapping[str, SpaceTable] = Field(
        default={},
        description="options of the ensembler or fuser: name = { choice = [...] }, { uniform = [from, to] }, "
        "{ log_uniform = [from, to] } or { integer = [from, to] }",
    )
    trials: Annotated[int, Field(gt=0)] = Field(
        default=40, description="settings that each search may try: one without each part, and one on all images"
    )
    folds: Annotated[int, Field(gt=1)] = Field(
        default=5, description="parts of the validation images; images of one group stay together"
    )
    seed: Annotated[int, Field(ge=0)] = 0
    metric: str | None = Field(
        default=None,
        description="figure of the combination that is to be high, such as AP or AP50; of a fuser PQ, PQth or PQst; "
        "AP or PQ if absent",
    )

    @model_validator(mode="after")
    def _something(self) -> "SearchTable":
        if not (self.weights or self.space or self.thresholds != "none"):
            raise ValueError("there is nothing to search: set weights = true, thresholds or space")
        return self


class DenseTable(Table):
    """`[combine] dense = { ... }`: models that look at each image together, step by step, before one panoptic head.

    Proposals are shared; boxes, probabilities, masks and scores of all classes are weighted means. Of what is averaged
    as probabilities or as logits, each says which.
    """

    weights: Mapping[str, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="what each chosen model counts, by name; those not named stay out; all alike if absent",
    )
    scores: Space = Field(default="probability", description="of which a proposal's class probabilities are averaged")
    masks: Space = Field(default="probability", description="of which masks are averaged")
    semantic: Space = Field(default="logit", description="of which scores of all classes are averaged")


class CombineTable(Table):
    """`[combine]`: several models into one."""

    ensembler: PartChoice | None = Field(default=None, description="ensembler part: instances of several models")
    fuser: PartChoice | None = Field(
        default=None,
        description="panoptic-fuser part: a map of what several models say; of its models alone where they make none",
    )
    dense: DenseTable | None = Field(
        default=None,
        description="panoptic models that look at each image together; to a fuser they are one model, `dense`",
    )
    models: tuple[str, ...] | None = Field(
        default=None,
        description="models that are fused, in this order; if absent all chosen ones, dense ones together",
        min_length=1,
    )
    held_out: tuple[str, ...] = Field(
        default=(),
        description="models whose given weights are known not to have seen the validation images; the others' are "
        "refused by whatever is measured or searched there for the combination",
    )
    calibration: Literal["none", "temperature", "isotonic"] = Field(
        default="none",
        description="turn each model's scores into how often they are right on the validation split, before the "
        "ensembler: by temperature and offset of their logits, or by isotonic regression",
    )
    search: SearchTable | None = Field(
        default=None, description="look for better settings on the validation split; none if absent"
    )

    @model_validator(mode="after")
    def _one_way(self) -> "CombineTable":
        ways = [name for name in WAYS if getattr(self, name) is not None]
        if len(ways) != 1 and ways != ["fuser", "dense"]:
            raise ValueError(f"must say one of {', '.join(WAYS)}, not {' and '.join(ways) or 'none'}")
        if self.fuser is not None and self.dense is not None and len(self.dense.weights) < 2:
            raise ValueError("dense.weights must name the models, two or more, that are one to the fuser")
        if self.fuser is None and self.models is not None:
            raise ValueError("models says what is fused: it goes with a fuser")
        if self.ensembler is None and self.calibration != "none":
            raise ValueError("calibration is of what an ensembler merges")
        if self.dense is not None and self.fuser is None and self.search is not None:
            raise ValueError("search is of what is combined from the store, by an ensembler or a fuser")
        if self.fuser is not None and self.search is not None and self.search.thresholds == "per-class":
            raise ValueError('search of a fuser takes thresholds = "overall" or "none"')
        return self

    def dense_of(self, chosen: Iterable[str]) -> tuple[str, ...]:
        """Return which of the chosen models make the dense ensemble: one alone makes none, and stands for itself."""
        if self.dense is None:
            return ()
        names = tuple(name for name in chosen if not self.dense.weights or name in self.dense.weights)
        return names if len(names) > 1 else ()

    def fused_of(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """Return what a fuser is given of the chosen models: in the place of those of a dense ensemble this."""
        dense = self.dense_of(chosen)
        every = (DENSE, *(name for name in chosen if name not in dense)) if dense else tuple(chosen)
        return self.models or every

    @property
    def merging(self) -> PartChoice:
        """The ensembler of a combination of instances; the profile's check lets no other task have one."""
        if self.ensembler is None:
            raise ValueError("this combination has no ensembler")
        return self.ensembler
