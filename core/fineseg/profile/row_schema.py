"""What `[tables.T]` may say: the rows of an ablation table."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fineseg.profile.base import Table


def _dotted_keys(settings: Any) -> Any:
    parts = [key for key in settings if "." not in key] if isinstance(settings, Mapping) else []
    if parts:
        raise ValueError(f'a key is written whole and in quotes, such as "train.lr" = 0.01, not {parts[0]}')
    return settings


Settings = Annotated[Mapping[str, Any], BeforeValidator(_dotted_keys)]
"""Dotted keys of the profile, in quotes, and their values."""


class RowTable(Table):
    """`[tables.T.rows.ROW]`: a row, and what it changes of the row that it builds on."""

    title: str = Field(default="", description="the change in words; the keys of `set` if absent")
    set: Settings = Field(
        default={},
        description='the change: "dotted.key" = value, laid over what the row builds on; a layer that states one '
        "replaces it whole",
    )
    on: str | None = Field(
        default=None,
        description="row above that this one builds on, with all that that one changes; the row right above if absent, "
        "and the profile itself for the first",
    )
    scores: str | None = Field(
        default=None, description='model that is scored, or "combined"; the table\'s `model` if absent'
    )
    published: Mapping[str, float] = Field(
        default={}, description="figures of a paper to set beside: AP = 77.4, AP50 = ..., APl = ... [percent]"
    )
    note: str = Field(default="", description="what a reader of the row should know")
    left_out: str = Field(
        default="",
        description="why this row cannot be run at this size: it is shown, and rows on it build on what it builds on",
    )


class AblationTable(Table):
    """`[tables.T]`: what `fineseg ablate PROFILE T` trains and scores, a row for each change."""

    title: str = Field(default="", description="title on the report")
    model: str | None = Field(default=None, description="model that rows score; the first chosen one if absent")
    set: Settings = Field(default={}, description="what all rows start from, laid over the profile")
    rows: Annotated[Mapping[str, RowTable], Field(min_length=1, description="the rows, in order")]
