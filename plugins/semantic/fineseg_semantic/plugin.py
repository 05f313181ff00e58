"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import Backbone, BackboneSpec, Head, HeadInput, HeadSpec, Neck, NeckSpec, NoOptions, hookimpl
from fineseg_semantic.options import HRNetDeepLabOptions, HRNetOptions


def build_hrnet(options: HRNetOptions) -> BackboneSpec:
    """Build an HRNetV2 that also returns its first stage's map."""
    from fineseg_semantic.builders import hrnet

    return hrnet(options)


def build_concat(_: NoOptions, backbone: BackboneSpec) -> NeckSpec:
    """Build the neck that lays all of a backbone's maps side by side."""
    from fineseg_semantic.builders import concat

    return concat(backbone)


def build_hrnet_deeplab(options: HRNetDeepLabOptions, head_input: HeadInput) -> HeadSpec:
    """Build a model of the class of every pixel alone."""
    from fineseg_semantic.builders import hrnet_deeplab

    return hrnet_deeplab(options, head_input)


@hookimpl
def fineseg_backbones() -> Iterator[Backbone]:
    """Offer the backbone."""
    yield Backbone("hrnet", "HRNetV2 of any width: its first stage, then four branches", HRNetOptions, build_hrnet)


@hookimpl
def fineseg_necks() -> Iterator[Neck]:
    """Offer the neck."""
    yield Neck("hrnet-concat", "all maps side by side at 1/4, for head hrnet-deeplab", NoOptions, build_concat)


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer the head."""
    yield Head(
        "hrnet-deeplab",
        "ASPP and DeepLabV3+'s decoder: the class of every pixel, without instances",
        HRNetDeepLabOptions,
        build_hrnet_deeplab,
        shares_proposals=False,
        gives=("semantic",),
        losses=("semantic",),
    )
