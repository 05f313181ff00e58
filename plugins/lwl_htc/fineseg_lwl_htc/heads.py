"""mmdet configuration of the head: HTC's, with a semantic branch that is asked for its scores."""

from typing import Any

from fineseg import FinesegError, HeadInput, HeadSpec
from fineseg_e_ups.semantic import STRIDE
from fineseg_htc.heads import htc
from fineseg_htc.options import CascadeBoxOptions, HTCOptions
from fineseg_lwl_htc.options import LWLHTCOptions
from fineseg_lwl_htc.predictor import LWLHTCPredictor
from fineseg_lwl_htc.semantic import DEFORMABLE, DeformableSemanticHead

Config = dict[str, Any]
OFFSETS = {f"semantic_head.branch.subnet.{layer}.conv_offset": {"lr_mult": 0.1} for layer in DEFORMABLE}
"""Offsets of deformable convolutions learn at a tenth of the rate, as in arXiv 1811.11168 (DCNv2). Every RoI of three
stages pulls at this branch: at the full rate the offsets run away, hundreds of pixels, and the scores learn nothing."""


def lwl_htc(options: LWLHTCOptions, head_input: HeadInput) -> HeadSpec:
    """Return HTC without mask scoring whose semantic head, one of two kinds, learns things and stuff."""
    if not head_input.num_stuff:
        raise FinesegError(
            "head 'lwl-htc' tells objects and stuff, but the data have no stuff classes: use panoptic data"
        )
    cascade = HTCOptions(
        rpn=options.rpn,
        box=CascadeBoxOptions(**options.box.model_dump()),
        mask_roi=options.mask_roi,
        mask_convs=options.mask_convs,
        mask_scoring=False,
        semantic=True,
    )
    base = htc(cascade, head_input)
    roi_head = {**base.detector["roi_head"]}
    if options.semantic == "fused":
        branch = roi_head["semantic_head"]
        roi_head["semantic_head"] = {
            **branch,
            "loss_seg": {**branch["loss_seg"], "loss_weight": options.semantic_weight},
        }
    else:
        roi_head |= _deformable(options, head_input, roi_head["semantic_roi_extractor"])
    detector = {**base.detector, "roi_head": roi_head}
    slow = OFFSETS if options.semantic == "deformable" else {}
    return HeadSpec(detector, LWLHTCPredictor, paramwise=slow, needs_semantic=True, loss_groups=base.loss_groups)


def _deformable(options: LWLHTCOptions, head_input: HeadInput, extractor: Config) -> Config:
    return {
        "semantic_roi_extractor": {**extractor, "featmap_strides": [STRIDE]},
        "semantic_head": {
            "type": DeformableSemanticHead,
            "in_channels": head_input.channels,
            "num_classes": head_input.num_classes + head_input.num_stuff,
            "width": options.semantic_width,
            "full_resolution": options.semantic_full_resolution,
            "loss_weight": options.semantic_weight,
            "loss": head_input.losses.get("semantic"),
        },
    }
