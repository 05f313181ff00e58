"""`[models.X]`: what a profile may say of one detector."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fineseg.profile.base import PartChoice, Table

UNBALANCED = "none"
"""The task balancer that is no part: losses are added. And of a slot the loss that is none: the head's own stays."""


def _weights_source(source: Any) -> Any:
    if not isinstance(source, str):
        return source
    scheme, separator, _ = source.partition("://")
    if separator and scheme not in ("http", "https"):
        raise ValueError(f"weights come from a file path or an http(s) address, not {scheme}://")
    # TOML has no null: an overlay takes a profile's weights away by this word.
    return None if source == "none" else source


def _unless_none(choice: Any) -> Any:
    # TOML has no null: an overlay or a table's row takes a balancer away by this word.
    return None if choice == UNBALANCED else choice


def without_none(losses: Any) -> Any:
    """Return the losses of a table without those that the word "none" takes away: the head's own."""
    if not isinstance(losses, Mapping):
        return losses
    none = (UNBALANCED, {"name": UNBALANCED})
    return {slot: choice for slot, choice in losses.items() if choice not in none}


class ModelTable(Table):
    """`[models.X]`: one detector to train."""

    backbone: PartChoice
    neck: PartChoice
    head: PartChoice | None = Field(default=None, description="head part and its options; it must be set, or ends")
    ends: Mapping[str, PartChoice] = Field(
        default={},
        description="heads, by name, that share backbone and neck, in place of `head`; what they predict is called "
        "MODEL/END",
    )
    ends_training: Literal["joint", "frozen-first"] | None = Field(
        default=None,
        description="how ends learn; joint, the default: all at once, what is shared from the sum of their losses; "
        "frozen-first: for `epochs` the first with backbone and neck, then for as many the others on what came of it",
    )
    balancer: Annotated[PartChoice | None, BeforeValidator(_unless_none)] = Field(
        default=None,
        description="task-balancer part and its options: how the losses of the head's tasks are weighed against each "
        "other; absent or 'none': they are added",
    )
    losses: Annotated[Mapping[str, PartChoice], BeforeValidator(without_none)] = Field(
        default={},
        description="loss parts and their options, by the slots of the head, or of the ends, whose own loss they stand "
        "for; 'none' in a slot: the head's own",
    )
    weights: Annotated[str | None, BeforeValidator(_weights_source)] = Field(
        default=None,
        description="checkpoint that the whole detector starts from: a file path, an http(s) address, or 'none'; what "
        "the file does not hold in the same shape stays at its start",
    )
    train: Mapping[str, Any] = Field(default={}, description="what differs from [train]")
    predict: Mapping[str, Any] = Field(
        default={}, description="what differs from [predict]; `shard` and `cpus` are the same for all models"
    )

    @property
    def heads(self) -> dict[str, PartChoice]:
        """The heads, in order, by the names of the ends; a single head's is "". Raises `ValueError` for no head."""
        if self.ends:
            return dict(self.ends)
        if self.head is None:
            raise ValueError("a model has a head, or ends")
        return {"": self.head}

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Which heads, by number, learn at once, phase after phase; backbone and neck learn in the first."""
        every = tuple(range(len(self.heads)))
        return (every[:1], every[1:]) if self.ends_training == "frozen-first" else (every,)
