"""The parts that this plugin supplies."""

from collections.abc import Iterable

from fineseg import Ensembler, hookimpl
from fineseg_fusion.ensemble import build_linear_interpolation, build_linear_reweight
from fineseg_fusion.options import LinearInterpolationOptions, LinearReweightOptions


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
