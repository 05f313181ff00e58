"""Both heads in the prediction protocol: encode, proposals, boxes, masks, each callable alone.

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
        counts = [len(each) for each in boxes]
        every, every_label = torch.cat(boxes), torch.cat(labels)
        images = torch.repeat_interleave(torch.tensor(counts, device=every.device))
        logits: Tensor = self.detector.roi_head.own_masks(features, every, images, every_label)
        return list(logits.sigmoid_().split_with_sizes(counts))
