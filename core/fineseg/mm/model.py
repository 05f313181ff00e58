"""From a model's table to a torch module: parts composed into one mmdet detector."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmdet.models  # noqa: F401  fills mmengine's registry with the classes that mmdet itself names by string
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from fineseg.catalog import Catalog
from fineseg.data.panoptic import IGNORED
from fineseg.errors import FinesegError
from fineseg.mm.quiet import quiet
from fineseg.mm.start import load_start
from fineseg.mm.weights import load_backbone
from fineseg.parts import (
    Backbone,
    BackboneSpec,
    Head,
    HeadInput,
    HeadSpec,
    Neck,
    Normalisation,
)
from fineseg.predictors import OneStagePredictor, TwoStagePredictor
from fineseg.profile.schema import ModelTable

PAD_DIVISOR = 32


@dataclass(frozen=True)
class BuiltModel:
    """A detector and what must be known to feed it. `notes` say what of the weights it starts from did not match.

    `needs_semantic` says that its training reads the class of every pixel.
    """

    module: nn.Module
    predictor: TwoStagePredictor | OneStagePredictor
    normalisation: Normalisation
    paramwise: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    needs_semantic: bool = False

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the sides of the network's input for an image of `size`, both (height, width)."""
        height, width = (side + -side % PAD_DIVISOR for side in size)
        return height, width


def build_model(
    model: ModelTable,
    catalog: Catalog,
    num_classes: int,
    *,
    weights_cache: Path | None,
    init: bool = True,
    num_stuff: int = 0,
) -> BuiltModel:
    """Build a model's detector on the CPU, for so many classes of things and of stuff.

    With `init` its weights are initialised and pretrained weights are read, the backbone's first, then the whole
    detector's (downloads go to `weights_cache`); without, they are left for a checkpoint to fill.
    """
    backbone, neck_config, head = _specs(model, catalog, num_classes, num_stuff)
    notes: list[str] = []
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"):
        module = MODELS.build(_config(backbone, neck_config, head))
        if init:
            module.init_weights()
        if init and backbone.weights is not None and weights_cache is not None:
            notes = load_backbone(module.backbone, backbone.weights, weights_cache)
        if init and model.weights is not None and weights_cache is not None:
            with torch.device("meta"):
                wider = MODELS.build(_config(*_specs(model, catalog, num_classes + 1, num_stuff)))
            shapes = {key: tuple(value.shape) for key, value in wider.state_dict().items()}
            notes = load_start(module, shapes, num_classes, model.weights, weights_cache)
    paramwise = {**head.paramwise, **{f"backbone.{k}" if k else "backbone": v for k, v in backbone.paramwise.items()}}
    predictor = head.predictor(module)
    return BuiltModel(module, predictor, backbone.normalisation, paramwise, tuple(notes), head.needs_semantic)


def _config(backbone: BackboneSpec, neck_config: Any, head: HeadSpec) -> ConfigDict:
    detector = {
        **head.detector,
        "backbone": backbone.config,
        "neck": neck_config,
        "data_preprocessor": _preprocessor(backbone.normalisation, head),
    }
    return ConfigDict(detector)


def _specs(model: ModelTable, catalog: Catalog, num_classes: int, num_stuff: int) -> tuple[BackboneSpec, Any, HeadSpec]:
    backbone_part, backbone_options = catalog.choose("backbone", model.backbone.name, model.backbone.options)
    neck_part, neck_options = catalog.choose("neck", model.neck.name, model.neck.options)
    head_part, head_options = catalog.choose("head", model.head.name, model.head.options)
    if not (isinstance(backbone_part, Backbone) and isinstance(neck_part, Neck) and isinstance(head_part, Head)):
        raise FinesegError("a part was offered under the wrong kind")
    backbone = backbone_part.build(backbone_options)
    neck = neck_part.build(neck_options, backbone)
    head = head_part.build(head_options, HeadInput(neck.channels, neck.strides, num_classes, num_stuff))
    return backbone, neck.config, head


def _preprocessor(normalisation: Normalisation, head: HeadSpec) -> dict[str, Any]:
    """Images arrive as BGR (OpenCV's order); mmdet normalises, flips channels where asked, and pads."""
    return {
        "type": DetDataPreprocessor,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "bgr_to_rgb": normalisation.order == "rgb",
        "pad_mask": head.needs_masks,
        "pad_seg": head.needs_semantic,
        "seg_pad_value": IGNORED,
        "pad_size_divisor": PAD_DIVISOR,
    }
