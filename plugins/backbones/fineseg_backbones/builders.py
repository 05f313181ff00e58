"""Options to `BackboneSpec`: the mmdet configuration of each backbone, with classes in `type`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import gcd
from typing import TYPE_CHECKING, Any

from fineseg import BackboneSpec, Normalisation, Weights
from fineseg_backbones.options import (
    MobileNetV2Options,
    Res2NetOptions,
    ResidualOptions,
    ResNetOptions,
    ResNeXtOptions,
    SENetOptions,
)
from fineseg_backbones.pretrained import residual_state

if TYPE_CHECKING:
    import torch

STRIDES = (4, 8, 16, 32)
GC_STAGES = (False, True, True, True)
GC_RATIO = 1 / 4
CAFFE_SCALING = Normalisation(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), order="bgr")
TF_SCALING = Normalisation(mean=(128.0, 128.0, 128.0), std=(128.0, 128.0, 128.0))
StateMap = Callable[[Mapping[str, "torch.Tensor"]], Mapping[str, "torch.Tensor"]]


def build_resnet(options: ResNetOptions) -> BackboneSpec:
    """Return a ResNet or, with deep stem and average pooling, a ResNet-D."""
    from fineseg_backbones.residual import ResNet

    stem = (options.base_channels // 2,) if options.deep_stem else ()
    config = _config(options, ResNet, widths=stem) | {"deep_stem": options.deep_stem, "avg_down": options.avg_down}
    spec = _spec(options, config | {"style": options.style}, options.deep_stem)
    return replace(spec, normalisation=CAFFE_SCALING) if options.style == "caffe" else spec


def build_resnext(options: ResNeXtOptions) -> BackboneSpec:
    """Return a ResNeXt."""
    from fineseg_backbones.residual import ResNeXt

    width = options.groups * options.base_width
    config = _config(options, ResNeXt, widths=(width,))
    return _spec(options, config | {"groups": options.groups, "base_width": options.base_width}, deep_stem=False)


def build_res2net(options: Res2NetOptions) -> BackboneSpec:
    """Return a Res2Net v1b."""
    from fineseg_backbones.residual import Res2Net

    config = _config(options, Res2Net, widths=(options.base_channels // 2, options.base_width))
    return _spec(options, config | {"scales": options.scales, "base_width": options.base_width}, deep_stem=True)


def build_senet(options: SENetOptions) -> BackboneSpec:
    """Return a SENet-154, or a smaller net of its kind."""
    from fineseg_backbones.senet import EXPANSION, SENet, senet_state

    config = {
        "type": SENet,
        "stage_blocks": options.stage_blocks,
        "base_channels": options.base_channels,
        "groups": options.groups,
        "frozen_stages": options.frozen,
        "norm_eval": options.norm_eval,
        "norm_trainable": options.norm_trainable,
        "checkpointing": options.checkpointing,
    }
    return BackboneSpec(
        config,
        channels=tuple(options.base_channels * EXPANSION * 2**i for i in range(4)),
        strides=STRIDES,
        weights=None if options.weights is None else Weights(options.weights, senet_state),
    )


def build_mobilenet_v2(options: MobileNetV2Options) -> BackboneSpec:
    """Return a MobileNetV2 with the maps at 1/4, 1/8, 1/16 and 1/32 of the image's side."""
    from fineseg_backbones.mobilenet_v2 import CHANNELS, MobileNetV2, mobilenet_state

    like_tf = options.quantised
    config = {
        "type": MobileNetV2,
        "padding": options.padding or ("same" if like_tf else "symmetric"),
        "norm": options.norm or ("none" if like_tf else "bn"),
        "norm_eval": options.norm_eval,
        "frozen_stages": options.frozen,
    }
    scaling = options.scaling or ("tf" if like_tf else "imagenet")
    return BackboneSpec(
        config,
        channels=CHANNELS,
        strides=STRIDES,
        normalisation=TF_SCALING if scaling == "tf" else Normalisation(),
        weights=None if options.weights is None else Weights(options.weights, mobilenet_state),
    )


def _config(options: ResidualOptions, net: type, widths: tuple[int, ...]) -> dict[str, Any]:
    """Return what the three nets share; `widths` are the normalised widths of the first stage beside the base's."""
    config: dict[str, Any] = {
        "type": net,
        "depth": options.depth,  # type: ignore[attr-defined]
        "base_channels": options.base_channels,
        "stage_blocks": options.stage_blocks,
        "frozen_stages": options.frozen,
        "norm_cfg": _norm(options, widths),
        "norm_eval": options.norm_eval,
        "checkpointing": options.checkpointing,
    }
    if options.dcn != "none":
        config |= {"dcn": _deformable(options.dcn), "stage_with_dcn": options.dcn_stages}
    if options.gc_block:
        from mmcv.cnn.bricks import ContextBlock

        block = {"type": ContextBlock, "ratio": GC_RATIO}
        config["plugins"] = [{"cfg": block, "stages": GC_STAGES, "position": "after_conv3"}]
    return config


def _spec(options: ResidualOptions, config: dict[str, Any], deep_stem: bool) -> BackboneSpec:
    expansion = 4 if options.bottleneck else 1
    state_map: StateMap = partial(residual_state, deep_stem=deep_stem)
    return BackboneSpec(
        config,
        channels=tuple(options.base_channels * expansion * 2**i for i in range(4)),
        strides=STRIDES,
        weights=None if options.weights is None else Weights(options.weights, state_map),
    )


def _norm(options: ResidualOptions, widths: tuple[int, ...]) -> dict[str, Any]:
    from torch import nn

    trainable = {"requires_grad": options.norm_trainable}
    if options.norm == "gn":
        # The later stages' widths are multiples of the first's, so these groups divide every layer.
        groups = gcd(32, options.base_channels, *widths)
        return {"type": nn.GroupNorm, "num_groups": groups, **trainable}
    return {"type": nn.SyncBatchNorm if options.norm == "sync-bn" else nn.BatchNorm2d, **trainable}


def _deformable(version: str) -> dict[str, Any]:
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack

    return {"type": DeformConv2dPack if version == "v1" else ModulatedDeformConv2dPack, "deform_groups": 1}
