"""The parts that this plugin supplies."""

from collections.abc import Iterable

from fineseg import TTA, Ensembler, hookimpl
from fineseg_fusion.ensemble import (
    build_linear_interpolation,
    build_linear_reweight,
    build_mask_nms,
    build_soft_nms,
)
from fineseg_fusion.options import (
    FlipOptions,
    LinearInterpolationOptions,
    LinearReweightOptions,
    MaskNMSOptions,
    MultiScaleOptions,
    PoolOptions,
)
from fineseg_fusion.tta import build_flip, build_multi_scale


@hookimpl
def fineseg_tta() -> Iterable[TTA]:
    yield TTA("flip", "the image and its mirror images", FlipOptions, build=build_flip)
    yield TTA("multi-scale", "the image at several sizes", MultiScaleOptions, build=build_multi_scale)


@hookimpl
def fineseg_ensemblers() -> Iterable[Ensembler]:
    yield Ensembler(
        "linear-interpolation",
        "scores weighted by measured AP, pooled, soft-NMS",
        LinearInterpolationOptions,
        build=build_linear_interpolation,
    )
    yield Ensembler(
        "linear-reweight",
        "scores weighted by rank, over all classes or per class, pooled, soft-NMS",
        LinearReweightOptions,
        build=build_linear_reweight,
    )
    yield Ensembler("soft-nms", "all weigh the same, pooled, soft-NMS on boxes", PoolOptions, build=build_soft_nms)
    yield Ensembler("mask-nms", "all weigh the same, pooled, hard NMS on masks", MaskNMSOptions, build=build_mask_nms)
