"""mmdet configuration of both heads, with classes in place of registry names. Pieces of it serve other heads too.

Sources: Mask R-CNN (arXiv 1703.06870), PointRend (arXiv 1912.08193), Mask Scoring R-CNN (arXiv 1903.00241), DoubleHead
(arXiv 1904.06493), and the 3D AI Challenge 2020 winner's settings.
"""

from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import MaskRCNN, PointRend
from mmdet.models.losses import CrossEntropyLoss, MSELoss, SmoothL1Loss
from mmdet.models.roi_heads import DoubleHeadRoIHead, MaskScoringRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead, DoubleConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import CoarseMaskHead, FCNMaskHead, MaskIoUHead, MaskPointHead
from mmdet.models.roi_heads.roi_extractors import GenericRoIExtractor, SingleRoIExtractor
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder, MaxIoUAssigner, RandomSampler

from fineseg import HeadInput, HeadSpec
from fineseg_pointrend.options import BoxOptions, MaskRCNNOptions, PointRendOptions, RPNOptions, TwoStageOptions
from fineseg_pointrend.predictor import (
    MaskRCNNPredictor,
    PointRendPredictor,
    ScoredMaskRCNNPredictor,
    ScoredPointRendPredictor,
)
from fineseg_pointrend.roi_head import DoublePointRendRoIHead, DoubleScoringRoIHead, LeanPointRendRoIHead

Config = dict[str, Any]
BOX_LEVELS = 4
"""Boxes are pooled from P2 to P5; a coarser level serves proposals and masks only."""
DOUBLE_BLOCKS, DOUBLE_REACH, DOUBLE_WEIGHT = 4, 1.3, 2.0
"""DoubleHead as mmdet publishes it: blocks that regress boxes, their RoI to the proposal's, and both losses' weight."""


def mask_rcnn(options: MaskRCNNOptions, head_input: HeadInput) -> HeadSpec:
    """Return Mask R-CNN: a mask of twice `mask_roi` a side, one channel a class."""
    mask_head = {
        "type": FCNMaskHead,
        "num_convs": options.mask_convs,
        "roi_feat_size": options.mask_roi,
        "in_channels": head_input.channels,
        "conv_out_channels": options.mask_width,
        "num_classes": head_input.num_classes,
        "loss_mask": head_input.loss("mask", mask_loss()),
    }
    kinds = {
        (False, False): StandardRoIHead,
        (False, True): MaskScoringRoIHead,
        (True, False): DoubleHeadRoIHead,
        (True, True): DoubleScoringRoIHead,
    }
    roi_head = {
        "type": kinds[options.box.double, options.mask_scoring],
        "mask_roi_extractor": single_extractor(options.mask_roi, 0, True, head_input),
        "mask_head": mask_head,
        **_scoring(options, head_input.channels, options.mask_roi, head_input),
    }
    train = {"mask_size": options.mask_roi * 2}
    predictor = ScoredMaskRCNNPredictor if options.mask_scoring else MaskRCNNPredictor
    return HeadSpec(_detector(MaskRCNN, options, head_input, roi_head, train, {}), predictor)


def pointrend(options: PointRendOptions, head_input: HeadInput) -> HeadSpec:
    """Return PointRend: a coarse mask from all levels together, refined at its most uncertain points."""
    read = {"all": len(head_input.strides), "p2-p5": BOX_LEVELS, "p2": 1}[options.levels]
    strides = list(head_input.strides[:read])
    width = head_input.channels * len(strides)
    points = options.points
    roi_head = {
        "type": DoublePointRendRoIHead if options.box.double else LeanPointRendRoIHead,
        "mask_roi_extractor": _all_level_extractor(options.coarse.grid, width, strides),
        "mask_head": _coarse_head(options, width, head_input),
        "point_head": {
            "type": MaskPointHead,
            "num_fcs": points.layers,
            "in_channels": width,
            "fc_channels": points.width,
            "num_classes": head_input.num_classes,
            "loss_point": head_input.loss("mask", mask_loss()),
        },
        **_scoring(options, options.coarse.width, options.coarse.grid // 2, head_input),
    }
    train = {
        "mask_size": options.coarse.grid // 2,
        "num_points": points.train**2,
        "oversample_ratio": points.oversample,
        "importance_sample_ratio": points.important,
    }
    test = {"subdivision_steps": points.steps, "subdivision_num_points": points.test**2, "scale_factor": 2}
    predictor = ScoredPointRendPredictor if options.mask_scoring else PointRendPredictor
    return HeadSpec(_detector(PointRend, options, head_input, roi_head, train, test), predictor)


def _coarse_head(options: PointRendOptions, width: int, head_input: HeadInput) -> Config:
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
        "num_classes": head_input.num_classes,
        "loss_mask": head_input.loss("mask", mask_loss()),
        # MSRA for convolutions, Xavier for FCs, N(0, 0.001) for the logits: the winner's, not mmdet's constant logits.
        "init_cfg": [
            {"type": "Kaiming", "layer": "Conv2d"},
            {"type": "Xavier", "override": [{"name": "fcs"}, {"type": "Normal", "std": 0.001, "name": "fc_logits"}]},
        ],
    }


def _scoring(options: TwoStageOptions, width: int, side: int, head_input: HeadInput) -> Config:
    if not options.mask_scoring:
        return {}
    return {"mask_iou_head": mask_iou_head(width, side, options.box.width, head_input)}


def mask_iou_head(width: int, side: int, fc_width: int, head_input: HeadInput) -> Config:
    """Predict a mask's IoU from `width` channels of side x side cells and the mask on them."""
    return {
        "type": MaskIoUHead,
        "num_convs": 4,
        "num_fcs": 2,
        "roi_feat_size": side + side % 2,  # its last convolution rounds an odd side up, its FCs expect it rounded down
        "in_channels": width,
        "conv_out_channels": head_input.channels,
        "fc_out_channels": fc_width,
        "num_classes": head_input.num_classes,
        "loss_iou": {"type": MSELoss, "loss_weight": 0.5},
    }


def _detector(
    detector: type, options: TwoStageOptions, head_input: HeadInput, roi_head: Config, train: Config, test: Config
) -> Config:
    """Put proposals, boxes and a mask branch together; `train` and `test` are the mask branch's settings."""
    return {
        "type": detector,
        "rpn_head": rpn_head(options.rpn, head_input),
        "roi_head": {
            "bbox_roi_extractor": single_extractor(
                options.box.roi, options.box.sampling, options.box.aligned, head_input
            ),
            "bbox_head": box_head(options.box, head_input),
            **({"reg_roi_scale_factor": DOUBLE_REACH} if options.box.double else {}),
            **roi_head,
        },
        "train_cfg": _train_config(options, train),
        "test_cfg": {"rpn": proposal_config(options.rpn.test_proposals), "rcnn": {"mask_thr_binary": 0.5, **test}},
    }


def rpn_head(rpn: RPNOptions, head_input: HeadInput) -> Config:
    """Propose boxes on every level."""
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
        "bbox_coder": box_coder((1.0, 1.0, 1.0, 1.0)),
        "loss_cls": {"type": CrossEntropyLoss, "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": SmoothL1Loss, "beta": 1 / 9, "loss_weight": 1.0},
    }


def box_head(box: BoxOptions, head_input: HeadInput) -> Config:
    """Classify RoIs and regress their boxes."""
    layers = {"type": ConvFCBBoxHead, "num_shared_fcs": box.fcs}
    if box.double:
        layers = {
            "type": DoubleConvFCBBoxHead,
            "num_convs": DOUBLE_BLOCKS,
            "num_fcs": box.fcs,
            "conv_out_channels": box.width,
        }
    weight = DOUBLE_WEIGHT if box.double else 1.0
    loss_cls = {"type": CrossEntropyLoss, "use_sigmoid": False, "loss_weight": weight}
    return {
        **layers,
        "in_channels": head_input.channels,
        "fc_out_channels": box.width,
        "roi_feat_size": box.roi,
        "num_classes": head_input.num_classes,
        "bbox_coder": box_coder((0.1, 0.1, 0.2, 0.2)),
        "reg_class_agnostic": box.class_agnostic,
        "loss_cls": head_input.loss("class", loss_cls),
        "loss_bbox": {"type": SmoothL1Loss, "beta": 1.0, "loss_weight": weight},
    }


def box_coder(stds: tuple[float, float, float, float]) -> Config:
    """Write boxes as offsets from others, divided by `stds`."""
    return {"type": DeltaXYWHBBoxCoder, "target_means": [0.0] * 4, "target_stds": list(stds)}


def single_extractor(side: int, sampling: int, aligned: bool, head_input: HeadInput) -> Config:
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


def mask_loss() -> Config:
    """Return the binary cross entropy of the true class's mask."""
    return {"type": CrossEntropyLoss, "use_mask": True, "loss_weight": 1.0}


def proposal_config(count: int) -> Config:
    """Keep the best `count` proposals of an image."""
    return {"nms_pre": count, "max_per_img": count, "nms": {"type": "nms", "iou_threshold": 0.7}, "min_bbox_size": 0}


def _train_config(options: TwoStageOptions, mask_train: Config) -> Config:
    return {
        "rpn": rpn_training(options.rpn),
        "rpn_proposal": proposal_config(options.rpn.train_proposals),
        "rcnn": roi_training(options.box, 0.5, mask_train, match_low_quality=False, scored=options.mask_scoring),
    }


def rpn_training(rpn: RPNOptions) -> Config:
    """Say which anchors are objects, and how many count."""
    return {
        "assigner": assigner(0.7, 0.3, 0.3, match_low_quality=True),
        "sampler": sampler(rpn.samples, 0.5, add_truth=False),
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }


def roi_training(box: BoxOptions, iou: float, mask_train: Config, *, match_low_quality: bool, scored: bool) -> Config:
    """Say which RoIs are objects: those that overlap one by `iou`; `scored`: the masks are scored too."""
    return {
        "assigner": assigner(iou, iou, iou, match_low_quality=match_low_quality),
        "sampler": sampler(box.samples, box.positive, add_truth=True),
        "pos_weight": -1,
        "debug": False,
        **mask_train,
        # Which of its mask's cells the IoU head counts: mmdet compares logits with it, so 0 is a probability of 0.5.
        **({"mask_thr_binary": 0.0} if scored else {}),
    }


def assigner(positive: float, negative: float, least: float, *, match_low_quality: bool) -> Config:
    """Assign boxes to objects by their IoU."""
    return {
        "type": MaxIoUAssigner,
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": least,
        "match_low_quality": match_low_quality,
        "ignore_iof_thr": -1,
    }


def sampler(count: int, positive: float, *, add_truth: bool) -> Config:
    """Draw `count` boxes of an image, at most the part `positive` of them objects."""
    return {
        "type": RandomSampler,
        "num": count,
        "pos_fraction": positive,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": add_truth,
    }
