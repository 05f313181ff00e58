"""mmdet configuration of both heads, with classes in place of registry names.

Sources: Mask R-CNN (arXiv 1703.06870), PointRend (arXiv 1912.08193), and the 3D AI Challenge 2020 winner's settings.
"""

from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import MaskRCNN, PointRend
from mmdet.models.losses import CrossEntropyLoss, SmoothL1Loss
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import CoarseMaskHead, FCNMaskHead, MaskPointHead
from mmdet.models.roi_heads.roi_extractors import GenericRoIExtractor, SingleRoIExtractor
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder, MaxIoUAssigner, RandomSampler

from fineseg import HeadInput, HeadSpec
from fineseg_pointrend.options import BoxOptions, MaskRCNNOptions, PointRendOptions, RPNOptions, TwoStageOptions
from fineseg_pointrend.predictor import MaskRCNNPredictor, PointRendPredictor
from fineseg_pointrend.roi_head import LeanPointRendRoIHead

Config = dict[str, Any]
BOX_LEVELS = 4
"""Boxes are pooled from P2 to P5; a coarser level serves proposals and masks only."""


def mask_rcnn(options: MaskRCNNOptions, head_input: HeadInput) -> HeadSpec:
    """Return Mask R-CNN: a mask of twice `mask_roi` a side, one channel a class."""
    mask_head = {
        "type": FCNMaskHead,
        "num_convs": options.mask_convs,
        "roi_feat_size": options.mask_roi,
        "in_channels": head_input.channels,
        "conv_out_channels": options.mask_width,
        "num_classes": head_input.num_classes,
        "loss_mask": _mask_loss(),
    }
    roi_head = {
        "type": StandardRoIHead,
        "mask_roi_extractor": _single_extractor(options.mask_roi, 0, True, head_input),
        "mask_head": mask_head,
    }
    train = {"mask_size": options.mask_roi * 2}
    return HeadSpec(_detector(MaskRCNN, options, head_input, roi_head, train, {}), MaskRCNNPredictor)


def pointrend(options: PointRendOptions, head_input: HeadInput) -> HeadSpec:
    """Return PointRend: a coarse mask from all levels together, refined at its most uncertain points."""
    strides = list(head_input.strides) if options.levels == "all" else list(head_input.strides[:1])
    width = head_input.channels * len(strides)
    points = options.points
    roi_head = {
        "type": LeanPointRendRoIHead,
        "mask_roi_extractor": _all_level_extractor(options.coarse.grid, width, strides),
        "mask_head": _coarse_head(options, width, head_input.num_classes),
        "point_head": {
            "type": MaskPointHead,
            "num_fcs": points.layers,
            "in_channels": width,
            "fc_channels": points.width,
            "num_classes": head_input.num_classes,
            "loss_point": _mask_loss(),
        },
    }
    train = {
        "mask_size": options.coarse.grid // 2,
        "num_points": points.train**2,
        "oversample_ratio": points.oversample,
        "importance_sample_ratio": points.important,
    }
    test = {"subdivision_steps": points.steps, "subdivision_num_points": points.test**2, "scale_factor": 2}
    return HeadSpec(_detector(PointRend, options, head_input, roi_head, train, test), PointRendPredictor)


def _coarse_head(options: PointRendOptions, width: int, num_classes: int) -> Config:
    coarse = options.coarse
    return {
        "type": CoarseMaskHead,
        "num_convs": coarse.convs,
        "conv_kernel_size": 1,
        "in_channels": width,
        "conv_out_channels": coarse.width,
        "roi_feat_size": coarse.grid,
        "num_fcs": coarse.fcs,
        "fc_out_channels": coarse.fc_width,
        "num_classes": num_classes,
        "loss_mask": _mask_loss(),
        # MSRA for convolutions, Xavier for FCs, N(0, 0.001) for the logits: the winner's, not mmdet's constant logits.
        "init_cfg": [
            {"type": "Kaiming", "layer": "Conv2d"},
            {"type": "Xavier", "override": [{"name": "fcs"}, {"type": "Normal", "std": 0.001, "name": "fc_logits"}]},
        ],
    }


def _detector(
    detector: type, options: TwoStageOptions, head_input: HeadInput, roi_head: Config, train: Config, test: Config
) -> Config:
    """Put proposals, boxes and a mask branch together; `train` and `test` are the mask branch's settings."""
    return {
        "type": detector,
        "rpn_head": _rpn_head(options.rpn, head_input),
        "roi_head": {
            "bbox_roi_extractor": _single_extractor(
                options.box.roi, options.box.sampling, options.box.aligned, head_input
            ),
            "bbox_head": _box_head(options.box, head_input),
            **roi_head,
        },
        "train_cfg": _train_config(options, train),
        "test_cfg": {"rpn": _proposal_config(options.rpn.test_proposals), "rcnn": {"mask_thr_binary": 0.5, **test}},
    }


def _rpn_head(rpn: RPNOptions, head_input: HeadInput) -> Config:
    return {
        "type": RPNHead,
        "in_channels": head_input.channels,
        "feat_channels": rpn.channels or head_input.channels,
        "anchor_generator": {
            "type": AnchorGenerator,
            "scales": [rpn.anchor_scale],
            "ratios": list(rpn.ratios),
            "strides": list(head_input.strides),
        },
        "bbox_coder": _box_coder((1.0, 1.0, 1.0, 1.0)),
        "loss_cls": {"type": CrossEntropyLoss, "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": SmoothL1Loss, "beta": 1 / 9, "loss_weight": 1.0},
    }


def _box_head(box: BoxOptions, head_input: HeadInput) -> Config:
    return {
        "type": ConvFCBBoxHead,
        "num_shared_fcs": box.fcs,
        "in_channels": head_input.channels,
        "fc_out_channels": box.width,
        "roi_feat_size": box.roi,
        "num_classes": head_input.num_classes,
        "bbox_coder": _box_coder((0.1, 0.1, 0.2, 0.2)),
        "reg_class_agnostic": box.class_agnostic,
        "loss_cls": {"type": CrossEntropyLoss, "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": SmoothL1Loss, "beta": 1.0, "loss_weight": 1.0},
    }


def _box_coder(stds: tuple[float, float, float, float]) -> Config:
    return {"type": DeltaXYWHBBoxCoder, "target_means": [0.0] * 4, "target_stds": list(stds)}


def _single_extractor(side: int, sampling: int, aligned: bool, head_input: HeadInput) -> Config:
    """Pool each RoI from the one level that its size asks for."""
    return {
        "type": SingleRoIExtractor,
        "roi_layer": {"type": RoIAlign, "output_size": side, "sampling_ratio": sampling, "aligned": aligned},
        "out_channels": head_input.channels,
        "featmap_strides": list(head_input.strides[:BOX_LEVELS]),
    }


def _all_level_extractor(side: int, width: int, strides: list[int]) -> Config:
    """Sample a regular grid of cell centres from every level and concatenate the vectors."""
    return {
        "type": GenericRoIExtractor,
        "aggregation": "concat",
        "roi_layer": {"type": "SimpleRoIAlign", "output_size": side},
        "out_channels": width,
        "featmap_strides": strides,
    }


def _mask_loss() -> Config:
    return {"type": CrossEntropyLoss, "use_mask": True, "loss_weight": 1.0}


def _proposal_config(count: int) -> Config:
    return {"nms_pre": count, "max_per_img": count, "nms": {"type": "nms", "iou_threshold": 0.7}, "min_bbox_size": 0}


def _train_config(options: TwoStageOptions, mask_train: Config) -> Config:
    rpn = {
        "assigner": _assigner(0.7, 0.3, 0.3, match_low_quality=True),
        "sampler": _sampler(options.rpn.samples, 0.5, add_truth=False),
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }
    rcnn = {
        "assigner": _assigner(0.5, 0.5, 0.5, match_low_quality=False),
        "sampler": _sampler(options.box.samples, options.box.positive, add_truth=True),
        "pos_weight": -1,
        "debug": False,
        **mask_train,
    }
    return {"rpn": rpn, "rpn_proposal": _proposal_config(options.rpn.train_proposals), "rcnn": rcnn}


def _assigner(positive: float, negative: float, least: float, *, match_low_quality: bool) -> Config:
    return {
        "type": MaxIoUAssigner,
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": least,
        "match_low_quality": match_low_quality,
        "ignore_iof_thr": -1,
    }


def _sampler(count: int, positive: float, *, add_truth: bool) -> Config:
    return {
        "type": RandomSampler,
        "num": count,
        "pos_fraction": positive,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": add_truth,
    }
