"""fineseg: train, predict, ensemble, score and submit segmentation competitions from one TOML file.

This page is what plugin authors import: the hook marker, the records that hooks yield, and the array types. A name is
loaded when it is first asked for, so that `fineseg --help` waits for neither numpy nor pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fineseg.class_ends import ClassTable, class_table
    from fineseg.data.panoptic import PanopticMap
    from fineseg.data.split import Category, ImageInfo, PanopticFile, Segment, Split, TrueObject
    from fineseg.errors import FinesegError
    from fineseg.hookspecs import hookimpl
    from fineseg.parts import (
        TTA,
        AreaScore,
        Backbone,
        BackboneSpec,
        Dataset,
        Ensembler,
        FuserInput,
        Head,
        HeadInput,
        HeadSpec,
        Loss,
        ModelScore,
        Neck,
        NeckSpec,
        NoOptions,
        Normalisation,
        Options,
        PanopticEnd,
        PanopticFuser,
        Submission,
        TaskBalancer,
        View,
        Weights,
    )
    from fineseg.predictions import Instances, concatenate, make_instances
    from fineseg.predictors import (
        DensePredictor,
        MaskScoringPredictor,
        OneStagePredictor,
        PanopticFrame,
        PanopticPredictor,
        SemanticPredictor,
        TwoStagePredictor,
    )
    from fineseg.semantic_store import SemanticMasks, SemanticScores, label_map, mean_scores

__version__ = "0.1.0"

__all__ = [
    "TTA",
    "AreaScore",
    "Backbone",
    "BackboneSpec",
    "Category",
    "ClassTable",
    "Dataset",
    "DensePredictor",
    "Ensembler",
    "FinesegError",
    "FuserInput",
    "Head",
    "HeadInput",
    "HeadSpec",
    "ImageInfo",
    "Instances",
    "Loss",
    "MaskScoringPredictor",
    "ModelScore",
    "Neck",
    "NeckSpec",
    "NoOptions",
    "Normalisation",
    "OneStagePredictor",
    "Options",
    "PanopticEnd",
    "PanopticFile",
    "PanopticFrame",
    "PanopticFuser",
    "PanopticMap",
    "PanopticPredictor",
    "Segment",
    "SemanticMasks",
    "SemanticPredictor",
    "SemanticScores",
    "Split",
    "Submission",
    "TaskBalancer",
    "TrueObject",
    "TwoStagePredictor",
    "View",
    "Weights",
    "__version__",
    "class_table",
    "concatenate",
    "hookimpl",
    "label_map",
    "make_instances",
    "mean_scores",
]

_HOMES = {
    "fineseg.class_ends": ("ClassTable", "class_table"),
    "fineseg.data.panoptic": ("PanopticMap",),
    "fineseg.data.split": ("Category", "ImageInfo", "PanopticFile", "Segment", "Split", "TrueObject"),
    "fineseg.errors": ("FinesegError",),
    "fineseg.hookspecs": ("hookimpl",),
    "fineseg.predictions": ("Instances", "concatenate", "make_instances"),
    "fineseg.predictors": (
        "DensePredictor",
        "MaskScoringPredictor",
        "OneStagePredictor",
        "PanopticFrame",
        "PanopticPredictor",
        "SemanticPredictor",
        "TwoStagePredictor",
    ),
    "fineseg.semantic_store": ("SemanticMasks", "SemanticScores", "label_map", "mean_scores"),
}
"""Module -> the names it gives to this page; all others are records of `fineseg.parts`."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__ or name == "__version__":
        raise AttributeError(f"module 'fineseg' has no attribute '{name}'")
    value = getattr(import_module(_HOME_OF.get(name, "fineseg.parts")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
