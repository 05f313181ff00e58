"""HTC in the prediction protocol: encode, proposals, boxes, masks, quality, each callable alone.

Letters: B images, R proposals, N detections, C classes.
"""

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from fineseg_pointrend.predictor import Features, MaskRCNNPredictor, Sizes


class HTCPredictor(MaskRCNNPredictor):
    """Prediction steps of a built mmdet HTC."""

    def boxes(self, features: Features, proposals: list[Tensor], sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return per image boxes [R, 4] of the last stage and probabilities [R, C + 1], of the mean logits of all."""
        roi_head = self.detector.roi_head
        counts = [len(each) for each in proposals]
        boxes, logits = proposals, []
        for stage, head in enumerate(roi_head.bbox_head):
            outputs = roi_head._bbox_forward(stage, features, bbox2roi(boxes))
            logits.append(outputs["cls_score"])
            deltas = outputs["bbox_pred"].split_with_sizes(counts)
            boxes = [
                head.bbox_coder.decode(box, delta, max_shape=size)
                for box, delta, size in zip(boxes, deltas, sizes, strict=True)
            ]
        scores = torch.stack(logits).mean(dim=0).softmax(dim=1).split_with_sizes(counts)
        return list(zip(boxes, scores, strict=True))

    def masks(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the probabilities [N, S, S] of each detection's own class: the mean of all stages'."""
        every: Tensor = self.detector.roi_head.own_masks(features, bbox2roi(boxes), torch.cat(labels))
        return list(every.split_with_sizes([len(each) for each in boxes]))


class ScoredHTCPredictor(HTCPredictor):
    """Prediction steps of HTC with mask scoring: what is scored is the mask that `masks` returns."""

    def quality(
        self, features: Features, boxes: list[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        """Return per image the predicted IoU [N] of each mask with its object, in 0..1: the detection's own class's."""
        found: Tensor = self.detector.roi_head.own_quality(
            features, bbox2roi(boxes), torch.cat(labels), torch.cat(masks)
        )
        return list(found.clamp(0, 1).split_with_sizes([len(each) for each in boxes]))
