"""A tiny profile and the parts that it names: enough to load and check, nothing that could be built."""

from typing import Any

from pydantic import Field

from fineseg import TTA, Backbone, Dataset, Ensembler, Head, Neck, NoOptions, Options, Submission
from fineseg.catalog import Catalog, Entry

PROFILE = """\
[competition]
name = "toy"

[data]
dataset = "photos"
root = "data"

[train]
epochs = 2
lr = 0.1
batch = 4

[models.a]
backbone = { name = "small", depth = 3 }
neck = "plain"
head = { name = "boxes", inner = { width = 8 } }

[models.b]
backbone = "small"
neck = { name = "wide", channels = 32 }
head = "boxes"
train = { lr = 0.2 }
"""


class SmallOptions(Options):
    depth: int = Field(2, gt=0)
    weights: str = "none"


class WideOptions(Options):
    channels: int = 16


class InnerOptions(Options):
    width: int = 4
    points: int = 14


class BoxesOptions(Options):
    inner: InnerOptions = InnerOptions()


class TurnOptions(Options):
    degrees: int = Field(90, ge=0)


def nothing(*_: Any) -> Any:
    """Stand in for what a part builds: a check builds nothing."""
    raise AssertionError("a check must not build")


def toy_catalog() -> Catalog:
    """Return the catalog of all parts that PROFILE names, and some more."""
    parts = [
        Backbone("small", "", SmallOptions, build=nothing),
        Neck("plain", "", NoOptions, build=nothing),
        Neck("wide", "", WideOptions, build=nothing),
        Neck("wider", "", WideOptions, build=nothing),
        Head("boxes", "", BoxesOptions, build=nothing, prediction_only=("inner.points",)),
        Head("queries", "", NoOptions, build=nothing, shares_proposals=False),
        TTA("turn", "", TurnOptions, build=nothing),
        Ensembler("mean", "", NoOptions, build=nothing),
        Dataset("photos", "", NoOptions, read=nothing),
        Dataset("drawn", "", NoOptions, read=nothing),
        Submission("zip", "", NoOptions, write=nothing, check=nothing),
    ]
    return Catalog(tuple(Entry(part, "toy", "toy-parts", "1.0") for part in parts))
