"""The hooks: which backbones and necks this distribution supplies. Imports no torch and no mmdet."""

from collections.abc import Iterator

from fineseg import Backbone, Neck, hookimpl
from fineseg_backbones.builders import (
    build_mobilenet_v2,
    build_res2net,
    build_resnet,
    build_resnext,
    build_senet,
)
from fineseg_backbones.neck_builders import build_fpn, build_fpn_bfp, build_nas_fpn
from fineseg_backbones.neck_options import FPNBFPOptions, FPNOptions, NASFPNOptions
from fineseg_backbones.options import (
    MobileNetV2Options,
    Res2NetOptions,
    ResNetOptions,
    ResNeXtOptions,
    SENetOptions,
)


@hookimpl
def fineseg_backbones() -> Iterator[Backbone]:
    """Yield the backbones."""
    yield Backbone("resnet", "ResNet 18 to 152, also ResNet-D", ResNetOptions, build=build_resnet)
    yield Backbone("resnext", "ResNeXt 50 to 152, 64x4d by default", ResNeXtOptions, build=build_resnext)
    yield Backbone("res2net", "Res2Net v1b 50 and 101, 26w x 4s by default", Res2NetOptions, build=build_res2net)
    yield Backbone("senet", "SENet-154", SENetOptions, build=build_senet)
    yield Backbone("mobilenet-v2", "MobileNetV2 1.0, for small machines", MobileNetV2Options, build=build_mobilenet_v2)


@hookimpl
def fineseg_necks() -> Iterator[Neck]:
    """Yield the necks."""
    yield Neck("fpn", "feature pyramid", FPNOptions, build=build_fpn)
    yield Neck("fpn-bfp", "feature pyramid and balanced feature pyramids", FPNBFPOptions, build=build_fpn_bfp)
    yield Neck("nas-fpn", "NAS-FPN", NASFPNOptions, build=build_nas_fpn)
