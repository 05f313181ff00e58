"""The base of every table of a profile."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Base of every table: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
