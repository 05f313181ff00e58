"""mmdet configuration of the head, with classes in place of registry names.

Sources: SOLOv2 (arXiv 2003.10152) and the 3D AI Challenge 2020 winner's settings.
"""

from functools import partial
from math import gcd
from typing import Any

from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from mmdet.models.detectors import SOLOv2
from mmdet.models.losses import DiceLoss, FocalLoss
from torch import nn

from fineseg import FinesegError, HeadInput, HeadSpec
from fineseg_solov2.mask_head import SOLOv2MaskHead
from fineseg_solov2.mask_scoring import ScoredDiceLoss
from fineseg_solov2.options import SOLOv2Options
from fineseg_solov2.predictor import Candidates, SOLOv2Predictor

Config = dict[str, Any]
GROUPS = 32
DEFORMABLE = {"v1": DeformConv2dPack, "v2": ModulatedDeformConv2dPack}


def solov2(options: SOLOv2Options, head_input: HeadInput) -> HeadSpec:
    """Return SOLOv2; raises `FinesegError` where the pyramid has not as many levels as `grids`."""
    if len(head_input.strides) != len(options.grids):
        raise FinesegError(
            f"head: grids has {len(options.grids)} levels, but the neck has {len(head_input.strides)}: "
            "give grids and scale_ranges as many"
        )
    mask_head = {
        "type": SOLOv2MaskHead,
        "num_classes": head_input.num_classes,
        "in_channels": head_input.channels,
        "feat_channels": options.width,
        "stacked_convs": options.convs,
        "strides": list(cell_strides(head_input.strides)),
        "scale_ranges": options.scale_ranges,
        "pos_scale": options.centre,
        "num_grids": list(options.grids),
        "norm_cfg": _norm(options.width),
        "dcn_cfg": None if options.dcn == "none" else {"type": DEFORMABLE[options.dcn], "deform_groups": 1},
        "mask_feature_head": _mask_features(options, head_input),
        "loss_mask": _mask_loss(options),
        "loss_cls": {
            "type": FocalLoss,
            "use_sigmoid": True,
            "gamma": 2.0,
            "alpha": 0.25,
            "loss_weight": options.focal_weight,
        },
    }
    limits = Candidates(options.nms_pre, options.nms_kernel, options.nms_sigma, options.update_threshold)
    return HeadSpec({"type": SOLOv2, "mask_head": mask_head}, partial(SOLOv2Predictor, limits=limits))


def cell_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of the maps that grids are laid over: the finest is halved, the coarsest as the last but one.

    A mask must have more pixels of the mask features than this number to count.
    """
    if len(strides) == 1:
        return (strides[0] * 2,)
    return (strides[0] * 2, *strides[1:-1], strides[-2])


def _mask_loss(options: SOLOv2Options) -> Config:
    dice = {"type": DiceLoss, "use_sigmoid": True, "loss_weight": options.dice_weight}
    return (
        {**dice, "type": ScoredDiceLoss, "score_weight": options.mask_scoring_weight} if options.mask_scoring else dice
    )


def _mask_features(options: SOLOv2Options, head_input: HeadInput) -> Config:
    """Add levels up at the finest one's size; the coarsest of them also sees its coordinates."""
    return {
        "in_channels": head_input.channels,
        "feat_channels": options.mask_width,
        "start_level": 0,
        "end_level": options.mask_levels - 1,
        "out_channels": options.mask_channels,
        "mask_stride": head_input.strides[0],
        "norm_cfg": _norm(gcd(options.mask_width, options.mask_channels)),
    }


def _norm(width: int) -> Config:
    return {"type": nn.GroupNorm, "num_groups": gcd(GROUPS, width), "requires_grad": True}
