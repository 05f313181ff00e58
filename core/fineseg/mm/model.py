"""From a model's table to a torch module: parts composed into one mmdet detector."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
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
from fineseg.mm.ends import SharedDetector
from fineseg.mm.losses import refuse_unused
from fineseg.mm.quiet import quiet
from fineseg.mm.start import load_start
from fineseg.mm.weights import load_backbone
from fineseg.parts import (
    Backbone,
    BackboneSpec,
    Config,
    Head,
    HeadInput,
    HeadSpec,
    LossSlot,
    Neck,
    Normalisation,
)
from fineseg.predictors import OneStagePredictor, SemanticPredictor, TwoStagePredictor
from fineseg.profile.schema import ModelTable

Predictor = TwoStagePredictor | OneStagePredictor | SemanticPredictor

PAD_DIVISOR = 32


@dataclass(frozen=True)
class BuiltModel:
    """A detector and what must be known to feed it. `notes` say what of the weights it starts from did not match.

    `needs_semantic` says that its training reads the class of every pixel, `loss_groups` of which task a loss is. A
    model with `ends` has their predictors by name; `predictor` is the first's then.
    """

    module: nn.Module
    predictor: Predictor
    normalisation: Normalisation
    paramwise: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    needs_semantic: bool = False
    loss_groups: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, Predictor] = field(default_factory=dict)

    def of_end(self, name: str) -> "BuiltModel":
        """Return one end, which encodes images for itself alone."""
        return replace(self, predictor=self.ends[name], ends={})

    def encode_ends(
        self, images: torch.Tensor, ends: Collection[str] | None = None
    ) -> dict[str, Sequence[torch.Tensor]]:
        """Encode normalised, padded images [B, 3, H, W] for all ends, or some, with one pass of backbone and neck.

        The maps that ends share are the same tensors; what an end adds to them, as a semantic branch, is its own.
        """
        if not isinstance(self.module, SharedDetector):
            raise ValueError("a model with one head has no ends")
        with self.module.once(images):
            return {name: self.ends[name].encode(images) for name in (self.ends if ends is None else ends)}

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
    losses: Mapping[LossSlot, Config] = MappingProxyType({}),
) -> BuiltModel:
    """Build a model's detector on the CPU, for so many classes of things and of stuff.

    With `init` its weights are initialised and pretrained weights are read, the backbone's first, then the whole
    detector's (downloads go to `weights_cache`); without, they are left for a checkpoint to fill. `losses` go to every
    head that offers their slot; raises `FinesegError` for one that none takes.
    """
    backbone, neck_config, heads = _specs(model, catalog, num_classes, num_stuff, losses)
    notes: list[str] = []
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"):
        module = MODELS.build(_config(backbone, neck_config, heads))
        refuse_unused(module, losses)
        if init:
            module.init_weights()
        if init and backbone.weights is not None and weights_cache is not None:
            notes = load_backbone(module.backbone, backbone.weights, weights_cache)
        if init and model.weights is not None and weights_cache is not None:
            with torch.device("meta"):
                wider = MODELS.build(_config(*_specs(model, catalog, num_classes + 1, num_stuff)))
            shapes = {key: tuple(value.shape) for key, value in wider.state_dict().items()}
            notes = load_start(module, shapes, num_classes, model.weights, weights_cache)
    detectors = module.ends if isinstance(module, SharedDetector) else (module,)
    predictors = {name: heads[name].predictor(end) for name, end in zip(heads, detectors, strict=True)}
    return BuiltModel(
        module,
        next(iter(predictors.values())),
        backbone.normalisation,
        _paramwise(module, backbone, heads),
        tuple(notes),
        any(head.needs_semantic for head in heads.values()),
        _loss_groups(heads),
        ends=predictors if len(heads) > 1 else {},
    )


def _paramwise(
    module: nn.Module, backbone: BackboneSpec, heads: Mapping[str, HeadSpec]
) -> Mapping[str, Mapping[str, float]]:
    """Return the rules of backbone and head; of several heads each for its own end, the first for all that is shared.

    mmengine takes a rule for every parameter whose name holds its key, the longest key first, and cannot tell ends
    apart: there the keys are parameters' whole names.
    """
    own = {f"backbone.{k}" if k else "backbone": v for k, v in backbone.paramwise.items()}
    shared = {**next(iter(heads.values())).paramwise, **own}
    if not isinstance(module, SharedDetector):
        return shared
    found = {}
    for name, _ in module.named_parameters():
        end, local = module.place(name)
        rules = shared if end is None else heads[end].paramwise
        fitting = sorted(sorted(key for key in rules if key in local), key=len, reverse=True)
        if fitting:
            found[name] = rules[fitting[0]]
    return found


def _loss_groups(heads: Mapping[str, HeadSpec]) -> Mapping[str, str]:
    """Return of which task a loss is; several ends have tasks of their own, called END/TASK."""
    if len(heads) == 1:
        return next(iter(heads.values())).loss_groups
    return {
        f"{end}.{beginning}": f"{end}/{task}"
        for end, head in heads.items()
        for beginning, task in head.loss_groups.items()
    }


def _config(backbone: BackboneSpec, neck_config: Any, heads: Mapping[str, HeadSpec]) -> ConfigDict:
    shared = {
        "backbone": backbone.config,
        "neck": neck_config,
        "data_preprocessor": _preprocessor(backbone.normalisation, heads.values()),
    }
    detectors = {name: head.detector for name, head in heads.items()}
    if len(detectors) > 1:
        return ConfigDict({"type": SharedDetector, "ends": detectors, **shared})
    (alone,) = detectors.values()
    return ConfigDict({**alone, **shared})


def _specs(
    model: ModelTable,
    catalog: Catalog,
    num_classes: int,
    num_stuff: int,
    losses: Mapping[LossSlot, Config] = MappingProxyType({}),
) -> tuple[BackboneSpec, Any, dict[str, HeadSpec]]:
    """Return a model's parts; its heads by the names of the ends."""
    backbone_part, backbone_options = catalog.choose("backbone", model.backbone.name, model.backbone.options)
    neck_part, neck_options = catalog.choose("neck", model.neck.name, model.neck.options)
    chosen = {name: catalog.choose("head", choice.name, choice.options) for name, choice in model.heads.items()}
    if not (isinstance(backbone_part, Backbone) and isinstance(neck_part, Neck)):
        raise FinesegError("a part was offered under the wrong kind")
    backbone = backbone_part.build(backbone_options)
    neck = neck_part.build(neck_options, backbone)
    heads: dict[str, HeadSpec] = {}
    for name, (part, options) in chosen.items():
        if not isinstance(part, Head):
            raise FinesegError("a part was offered under the wrong kind")
        own = {slot: config for slot, config in losses.items() if slot in part.losses}
        heads[name] = part.build(options, HeadInput(neck.channels, neck.strides, num_classes, num_stuff, own))
    return backbone, neck.config, heads


def _preprocessor(normalisation: Normalisation, heads: Iterable[HeadSpec]) -> dict[str, Any]:
    """Images arrive as BGR (OpenCV's order); mmdet normalises, flips channels where asked, and pads."""
    every = tuple(heads)
    return {
        "type": DetDataPreprocessor,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "bgr_to_rgb": normalisation.order == "rgb",
        "pad_mask": any(head.needs_masks for head in every),
        "pad_seg": any(head.needs_semantic for head in every),
        "seg_pad_value": IGNORED,
        "pad_size_divisor": PAD_DIVISOR,
    }
