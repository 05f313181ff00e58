"""The parts that this plugin supplies."""

from collections.abc import Iterable

from fineseg import TTA, Ensembler, PanopticFuser, hookimpl
from fineseg_fusion.best_per_class import build_best_per_class
from fineseg_fusion.ensemble import (
    build_linear_interpolation,
    build_linear_reweight,
    build_mask_nms,
    build_matrix_nms,
    build_soft_nms,
)
from fineseg_fusion.fuse import build_nmw, build_wbf
from fineseg_fusion.fusers import build_heuristic, build_two_level, chosen_ends
from fineseg_fusion.options import (
    BestPerClassOptions,
    FlipOptions,
    FuseOptions,
    HeuristicOptions,
    LinearInterpolationOptions,
    LinearReweightOptions,
    MaskNMSOptions,
    MatrixNMSOptions,
    MultiScaleOptions,
    PoolOptions,
    TwoLevelOptions,
    WBFOptions,
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
    yield Ensembler(
        "matrix-nms", "all weigh the same, pooled, matrix NMS on masks", MatrixNMSOptions, build=build_matrix_nms
    )
    yield Ensembler("wbf", "boxes that overlap become their mean, masks by vote", WBFOptions, build=build_wbf)
    yield Ensembler(
        "nmw", "boxes that overlap the best become a mean around it, masks by vote", FuseOptions, build=build_nmw
    )
    yield Ensembler(
        "best-per-class",
        "each class from the model with the highest AP in it",
        BestPerClassOptions,
        build=build_best_per_class,
    )


@hookimpl
def fineseg_panoptic_fusers() -> Iterable[PanopticFuser]:
    yield PanopticFuser(
        "heuristic",
        "panopticapi's rule: instances of one model by score, then stuff of one, on what is left",
        HeuristicOptions,
        build=build_heuristic,
        reads_scores=False,
    )
    yield PanopticFuser(
        "two-level",
        "each thing class from the model with the better AP, semantics averaged, then panopticapi's rule",
        TwoLevelOptions,
        build=build_two_level,
        class_table=chosen_ends,
    )
