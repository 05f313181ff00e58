"""Options and backbone to `NeckSpec`: the mmdet configuration of each neck, with classes in `type`."""

from math import gcd
from typing import Any

from fineseg import BackboneSpec, FinesegError, NeckSpec
from fineseg_backbones.neck_options import FPNBFPOptions, FPNOptions, NASFPNOptions

GROUPS = 32


def build_fpn(options: FPNOptions, backbone: BackboneSpec) -> NeckSpec:
    """Return a feature pyramid over all maps of the backbone; what is beyond them is pooled from the last level."""
    from fineseg_backbones.fpn import FPN

    maps = len(backbone.channels)
    if options.outputs < maps:
        raise FinesegError(
            f"neck: outputs is {options.outputs}, but the backbone has {maps} maps: outputs = {maps} or more"
        )
    config = {
        "type": FPN,
        "in_channels": list(backbone.channels),
        "out_channels": options.channels,
        "num_outs": options.outputs,
        "gap": options.gap,
        "norm_cfg": _norm(options.norm, options.channels),
    }
    return NeckSpec(config, options.channels, pyramid_strides(backbone.strides, options.outputs))


def build_fpn_bfp(options: FPNBFPOptions, backbone: BackboneSpec) -> NeckSpec:
    """Return a feature pyramid followed by one or two balanced feature pyramids."""
    from fineseg_backbones.bfp import BFP

    pyramid = build_fpn(options, backbone)
    balanced = {
        "type": BFP,
        "in_channels": options.channels,
        "num_levels": options.outputs,
        "refine_level": options.refine_level,
        "refine": options.refine,
        "non_locals": options.non_locals,
    }
    stages = [dict(balanced) for _ in range(options.modules)]
    return NeckSpec([pyramid.config, *stages], pyramid.channels, pyramid.strides)  # type: ignore[list-item]


def build_nas_fpn(options: NASFPNOptions, backbone: BackboneSpec) -> NeckSpec:
    """Return a NAS-FPN of five levels, from the backbone's finest map on: the cells are made for five."""
    from fineseg_backbones.nas_fpn import LEVELS, NASFPN

    maps = len(backbone.channels)
    if maps > LEVELS:
        raise FinesegError(f"neck: nas-fpn has {LEVELS} levels, but the backbone has {maps} maps: choose fpn")
    config = {
        "type": NASFPN,
        "in_channels": list(backbone.channels),
        "out_channels": options.channels,
        "num_outs": LEVELS,
        "stack_times": options.stacks,
        "norm_cfg": _norm(options.norm, options.channels),
    }
    return NeckSpec(config, options.channels, pyramid_strides(backbone.strides, LEVELS))


def pyramid_strides(strides: tuple[int, ...], outputs: int) -> tuple[int, ...]:
    """Return the strides of `outputs` levels: the backbone's, then the last one doubled again and again."""
    extra = (strides[-1] * 2**i for i in range(1, outputs - len(strides) + 1))
    return (*strides, *extra)


def _norm(name: str, channels: int) -> dict[str, Any] | None:
    from torch import nn

    if name == "gn":
        return {"type": nn.GroupNorm, "num_groups": gcd(GROUPS, channels)}
    return {"type": nn.BatchNorm2d} if name == "bn" else None
