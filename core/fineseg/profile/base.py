"""The base of every table of a profile, and how a part is chosen."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from fineseg.parts import Options


class Table(Options):
    """Base of every table: what holds for the options of parts holds for it."""


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
