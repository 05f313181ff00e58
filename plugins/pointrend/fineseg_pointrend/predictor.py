"""Both heads in the prediction protocol: encode, proposals, boxes, masks, quality, each callable alone.

Letters: B images, R proposals, N detections, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

Features = Sequence[Tensor]
Sizes = Sequence[tuple[int, int]]


class MaskRCNNPredictor:
    """Prediction steps of a built mmdet two-stage detector."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        settings = self.detector.rpn_head.test_cfg
        self.max_proposals: int = settings.max_per_img
        self.proposal_iou: float = settings.nms.iou_threshold

    def encode(self, images: Tensor) -> Features:
        """Turn images [B, 3, H, W] into the pyramid, finest first."""
        features: Features = self.detector.extract_feat(images)
        return features

    def proposals(self, features: Features, sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return per image proposals [R, 4] and their objectness [R], best first."""
        samples = [DetDataSample(metainfo={"img_shape": size, "scale_factor": (1.0, 1.0)}) for size in sizes]
        found = self.detector.rpn_head.predict(features, samples, rescale=False)
        return [(proposals.bboxes, proposals.scores) for proposals in found]

    def boxes(self, features: Features, proposals: list[Tensor], sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return per image boxes [R, 4] (or [R, C, 4] where regressed for each class) and probabilities [R, C + 1]."""
        head = self.detector.roi_head.bbox_head
        if not any(map(len, proposals)):  # which mmdet's DoubleHead cannot reshape
            shape = (0, 4) if head.reg_class_agnostic else (0, head.num_classes, 4)
            return [(each.new_zeros(shape), each.new_zeros(0, head.num_classes + 1)) for each in proposals]
        rois = bbox2roi(proposals)
        outputs = self.detector.roi_head._bbox_forward(features, rois)
        counts = [len(p) for p in proposals]
        scores = outputs["cls_score"].softmax(dim=1).split(counts)
        deltas = outputs["bbox_pred"].split(counts)
        found = []
        for proposal, delta, score, size in zip(proposals, deltas, scores, sizes, strict=True):
            if head.reg_class_agnostic:
                decoded = head.bbox_coder.decode(proposal, delta, max_shape=size)
            else:
                each = delta.view(-1, 4)
                repeated = proposal[:, None].expand(-1, head.num_classes, 4).reshape(-1, 4)
                decoded = head.bbox_coder.decode(repeated, each, max_shape=size).view(-1, head.num_classes, 4)
            found.append((decoded, score))
        return found

    def masks(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the probabilities [N, S, S] of each detection's own class."""
        found = []
        for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            own = [level[index : index + 1] for level in features]
            logits = self._mask_logits(own, bbox2roi([box]), label) if len(box) else box.new_zeros(0, 1, 1)
            found.append(logits.sigmoid())
        return found

    def _mask_logits(self, features: Features, rois: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.detector.roi_head._mask_forward(features, rois)["mask_preds"]
        return logits[torch.arange(len(labels), device=labels.device), labels]


class PointRendPredictor(MaskRCNNPredictor):
    """Prediction steps of PointRend: the coarse mask is refined at its most uncertain points."""

    def masks(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the probabilities [N, S, S] of each detection's own class."""
        every, images, counts = _together(boxes)
        logits: Tensor = self.detector.roi_head.own_masks(features, every, images, torch.cat(labels))
        return list(logits.sigmoid_().split_with_sizes(counts))


class ScoredMaskRCNNPredictor(MaskRCNNPredictor):
    """Prediction steps of Mask Scoring R-CNN (arXiv 1903.00241)."""

    def quality(
        self, features: Features, boxes: list[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        """Return per image the predicted IoU [N] of each mask with its object, in 0..1: the detection's own class's."""
        counts = [len(each) for each in boxes]
        if not any(counts):
            return [each.new_zeros(0) for each in boxes]
        roi_head, every_label = self.detector.roi_head, torch.cat(labels)
        extractor = roi_head.mask_roi_extractor
        pooled = extractor(features[: extractor.num_inputs], bbox2roi(boxes))
        drawn = torch.cat([each for each in masks if len(each)])
        found: Tensor = roi_head.mask_iou_head(pooled, drawn.logit())
        own = found[torch.arange(len(every_label), device=found.device), every_label]
        return list(own.clamp(0, 1).split_with_sizes(counts))


class ScoredPointRendPredictor(PointRendPredictor):
    """Prediction steps of PointRend with mask scoring: what is scored is the coarse mask that `masks` refines."""

    def quality(
        self, features: Features, boxes: list[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        """Return per image the predicted IoU [N] of each mask with its object, in 0..1: the detection's own class's."""
        every, images, counts = _together(boxes)
        own: Tensor = self.detector.roi_head.own_quality(features, every, images, torch.cat(labels))
        return list(own.clamp(0, 1).split_with_sizes(counts))


def _together(boxes: list[Tensor]) -> tuple[Tensor, Tensor, list[int]]:
    """Return the boxes of all images [N, 4], the number of each one's image [N], and how many an image has."""
    counts = [len(each) for each in boxes]
    every = torch.cat(boxes)
    return every, torch.repeat_interleave(torch.tensor(counts, device=every.device)), counts
