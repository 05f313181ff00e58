"""mmdet configuration of the head, with classes in place of registry names.

Sources: Hybrid Task Cascade (arXiv 1901.07518), Mask Scoring R-CNN (arXiv 1903.00241), and the 3D AI Challenge 2020
winner's settings.
"""

from typing import Any

from mmdet.models.detectors import HybridTaskCascade
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead, HTCMaskHead

from fineseg import FinesegError, HeadInput, HeadSpec
from fineseg_htc.options import HTCOptions
from fineseg_htc.predictor import HTCPredictor, ScoredHTCPredictor
from fineseg_htc.roi_head import HTCRoIHead
from fineseg_pointrend.heads import (
    box_coder,
    box_head,
    mask_iou_head,
    mask_loss,
    proposal_config,
    roi_training,
    rpn_head,
    rpn_training,
    single_extractor,
)
from fineseg_pointrend.options import BoxOptions

Config = dict[str, Any]
IOUS = (0.5, 0.6, 0.7)
"""How much a RoI must overlap an object to be one, stage by stage."""
STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
"""What the box regression's targets are divided by."""
WEIGHTS = (1.0, 0.5, 0.25)
"""What a stage's losses count."""
SEMANTIC_STRIDE = 8
"""Pixels of the image along a side of what the semantic branch sees as one."""


def htc(options: HTCOptions, head_input: HeadInput) -> HeadSpec:
    """Return Hybrid Task Cascade: masks learn on refined boxes, and each mask head sees the features of the last."""
    box = BoxOptions(**options.box.model_dump(), aligned=True)
    roi_head = {
        "type": HTCRoIHead,
        "num_stages": len(IOUS),
        "stage_loss_weights": list(WEIGHTS),
        "interleaved": True,
        "mask_info_flow": True,
        "bbox_roi_extractor": single_extractor(box.roi, box.sampling, box.aligned, head_input),
        "bbox_head": [{**box_head(box, head_input), "bbox_coder": box_coder(stds)} for stds in STDS],
        "mask_roi_extractor": single_extractor(options.mask_roi, 0, True, head_input),
        "mask_head": [_mask_head(options, head_input, first=not stage) for stage in range(len(IOUS))],
    }
    if options.mask_scoring:
        roi_head["mask_iou_head"] = mask_iou_head(head_input.channels, options.mask_roi, box.width, head_input)
    if options.semantic:
        roi_head |= _semantic_branch(options, head_input)
    mask_train = {"mask_size": options.mask_roi * 2}
    rcnn = [roi_training(box, iou, mask_train, match_low_quality=True, scored=options.mask_scoring) for iou in IOUS]
    detector = {
        "type": HybridTaskCascade,
        "rpn_head": rpn_head(options.rpn, head_input),
        "roi_head": roi_head,
        "train_cfg": {
            "rpn": {**rpn_training(options.rpn), "allowed_border": 0},
            "rpn_proposal": proposal_config(options.rpn.train_proposals),
            "rcnn": rcnn,
        },
        "test_cfg": {"rpn": proposal_config(options.rpn.test_proposals), "rcnn": {"mask_thr_binary": 0.5}},
    }
    predictor = ScoredHTCPredictor if options.mask_scoring else HTCPredictor
    groups = {"": "instance", "loss_semantic": "semantic"} if options.semantic else {"": "instance"}
    return HeadSpec(detector, predictor, needs_semantic=options.semantic, loss_groups=groups)


def _mask_head(options: HTCOptions, head_input: HeadInput, *, first: bool) -> Config:
    """Return a stage's mask head; the first has no features of a stage before it to convolve."""
    return {
        "type": HTCMaskHead,
        "with_conv_res": not first,
        "num_convs": options.mask_convs,
        "roi_feat_size": options.mask_roi,
        "in_channels": head_input.channels,
        "conv_out_channels": head_input.channels,  # which the features of the stage before are added to
        "num_classes": head_input.num_classes,
        "loss_mask": head_input.loss("mask", mask_loss()),
    }


def _semantic_branch(options: HTCOptions, head_input: HeadInput) -> Config:
    """Return what sees the whole pyramid at stride 8, and what pools its features for masks and, coarser, boxes."""
    if not head_input.num_stuff:
        raise FinesegError(
            "head htc: semantic = true learns the class of every pixel, but the data have no stuff classes; use "
            "panoptic data, or leave the branch out"
        )
    level = head_input.strides.index(SEMANTIC_STRIDE)
    loss = {"type": CrossEntropyLoss, "ignore_index": 255, "avg_non_ignore": True, "loss_weight": 0.2}
    extractor = single_extractor(options.mask_roi, 0, True, head_input)
    return {
        "semantic_fusion": ("bbox", "mask"),
        "semantic_roi_extractor": {**extractor, "featmap_strides": [SEMANTIC_STRIDE]},
        "semantic_head": {
            "type": FusedSemanticHead,
            "num_ins": len(head_input.strides),
            "fusion_level": level,
            "seg_scale_factor": 1 / SEMANTIC_STRIDE,
            "num_convs": 4,
            "in_channels": head_input.channels,
            "conv_out_channels": head_input.channels,
            "num_classes": head_input.num_classes + head_input.num_stuff,
            "loss_seg": head_input.loss("semantic", loss),
        },
    }
