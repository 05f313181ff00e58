"""mmdet configuration of the head, with classes in place of registry names.

Sources: UPSNet (arXiv 1901.03784) as published for COCO, and AntVisionPS (COCO panoptic challenge 2019).
"""

from typing import Any

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead

from fineseg import FinesegError, HeadInput, HeadSpec
from fineseg_e_ups.detector import EUPS
from fineseg_e_ups.lsh import LSHBoxHead, LSHRoIHead
from fineseg_e_ups.options import EUPSOptions
from fineseg_e_ups.predictor import EUPSPredictor
from fineseg_e_ups.semantic import SemanticHead
from fineseg_pointrend.heads import (
    box_head,
    mask_loss,
    proposal_config,
    roi_training,
    rpn_head,
    rpn_training,
    single_extractor,
)
from fineseg_pointrend.options import BoxOptions

Config = dict[str, Any]
BIASES = {"bias": {"lr_mult": 2.0, "decay_mult": 0.0}}
"""Caffe's habit, which the published rates were found with: biases learn twice as fast and do not decay."""
TASKS = {"": "instance", "loss_semantic": "semantic", "loss_panoptic": "panoptic"}
"""Which task a loss is of, by the beginning of its name."""
SAMPLES = 2
"""RoIAlign's samples along a side of a cell, of the older kernel without half a pixel's correction."""


def e_ups(options: EUPSOptions, head_input: HeadInput) -> HeadSpec:
    """Return E-UPS: a mask of twice `mask_roi` a side, one channel a thing class; scores of things, then of stuff."""
    if not head_input.num_stuff:
        raise FinesegError(
            "head 'e-ups' joins objects and stuff, but the data have no stuff classes: use panoptic data"
        )
    box = BoxOptions(**options.box.model_dump(), sampling=SAMPLES, aligned=False, class_agnostic=False)
    detector = {
        "type": EUPS,
        "rpn_head": rpn_head(options.rpn, head_input),
        "roi_head": _roi_head(options, box, head_input),
        "semantic_head": {
            "type": SemanticHead,
            "in_channels": head_input.channels,
            "num_classes": head_input.num_classes + head_input.num_stuff,
            "loss": head_input.losses.get("semantic"),
            **options.semantic.model_dump(),
        },
        "panoptic": options.panoptic.model_dump(),
        "train_cfg": {
            "rpn": rpn_training(options.rpn),
            "rpn_proposal": proposal_config(options.rpn.train_proposals),
            "rcnn": roi_training(box, 0.5, {"mask_size": options.mask_roi * 2}, match_low_quality=False, scored=False),
        },
        "test_cfg": {"rpn": proposal_config(options.rpn.test_proposals), "rcnn": {"mask_thr_binary": 0.5}},
    }
    return HeadSpec(detector, EUPSPredictor, paramwise=BIASES, needs_semantic=True, loss_groups=TASKS)


def _roi_head(options: EUPSOptions, box: BoxOptions, head_input: HeadInput) -> Config:
    boxes = box_head(box, head_input)
    mask = {
        "type": FCNMaskHead,
        "num_convs": 0 if options.lsh else options.mask_convs,
        "roi_feat_size": options.mask_roi,
        "in_channels": head_input.channels,
        "conv_out_channels": head_input.channels,
        "num_classes": head_input.num_classes,
        "loss_mask": head_input.loss("mask", mask_loss()),
    }
    roi_head: Config = {
        "type": StandardRoIHead,
        "bbox_roi_extractor": single_extractor(box.roi, box.sampling, box.aligned, head_input),
        "bbox_head": boxes,
        "mask_roi_extractor": single_extractor(options.mask_roi, box.sampling, box.aligned, head_input),
        "mask_head": mask,
    }
    if options.lsh:
        del boxes["num_shared_fcs"]
        boxes |= {"type": LSHBoxHead, "fcs": box.fcs}
        roi_head |= {"type": LSHRoIHead, "trunk_convs": options.mask_convs, "trunk_width": head_input.channels}
    return roi_head
