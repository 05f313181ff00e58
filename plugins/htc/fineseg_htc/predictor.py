"""HTC in the prediction protocol: encode, proposals, boxes, masks, quality, each callable alone.

Letters: B images, R proposals, N detections, C classes.
"""

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from fineseg_pointrend.predictor import Features, MaskRCNNPredictor, Sizes


class HTCPredictor(MaskRCNNPredictor):
    """Prediction steps of a built mmdet HTC; with a semantic branch its features come last, after the pyramid's."""

    def encode(self, images: Tensor) -> Features:
        """Turn images [B, 3, H, W] into the pyramid, finest first, and what the semantic branch adds to it."""
        features = super().encode(images)
        roi_head = self.detector.roi_head
        return (*features, roi_head.semantic_head(features)[1]) if roi_head.with_semantic else features

    def proposals(self, features: Features, sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return per image proposals [R, 4] and their objectness [R], best first."""
        return super().proposals(self._split(features)[0], sizes)

    def boxes(self, features: Features, proposals: list[Tensor], sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return per image boxes [R, 4] of the last stage and probabilities [R, C + 1], of the mean logits of all."""
        roi_head = self.detector.roi_head
        features, semantic = self._split(features)
        counts = [len(each) for each in proposals]
        boxes, logits = proposals, []
        for stage, head in enumerate(roi_head.bbox_head):
            outputs = roi_head._bbox_forward(stage, features, bbox2roi(boxes), semantic)
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
        features, semantic = self._split(features)
        every: Tensor = self.detector.roi_head.own_masks(features, bbox2roi(boxes), torch.cat(labels), semantic)
        return list(every.split_with_sizes([len(each) for each in boxes]))

    def _split(self, features: Features) -> tuple[Features, Tensor | None]:
        """Return the pyramid, and the semantic branch's features [B, C, H, W] where there is one."""
        return (features[:-1], features[-1]) if self.detector.roi_head.with_semantic else (features, None)


class ScoredHTCPredictor(HTCPredictor):
    """Prediction steps of HTC with mask scoring: what is scored is the mask that `masks` returns."""

    def quality(
        self, features: Features, boxes: list[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        """Return per image the predicted IoU [N] of each mask with its object, in 0..1: the detection's own class's."""
        features, semantic = self._split(features)
        found: Tensor = self.detector.roi_head.own_quality(
            features, bbox2roi(boxes), torch.cat(labels), torch.cat(masks), semantic
        )
        return list(found.clamp(0, 1).split_with_sizes([len(each) for each in boxes]))
