"""mmdet's HTC RoI head with mask scoring, and its masks as the paper predicts them.

Letters: B images, R RoIs of all images, K classes, C channels, G side of the pooled cells, S = 2 G that of a mask.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.roi_heads import HybridTaskCascadeRoIHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

ROIS = 8
"""RoIs whose masks are computed at once in prediction: what lies in memory at 64 x 64 cells is 4 MiB each."""


class HTCRoIHead(HybridTaskCascadeRoIHead):  # type: ignore[misc]
    """mmdet's head in configuration, weights and losses.

    With `mask_iou_head` it is a mask scoring head too (arXiv 1903.00241): in training that reads the last stage's
    pooled features and its mask of the true class, and its loss counts as much as the other losses of that stage. With
    `semantic_head` what that sees of the whole image is added to the pooled features of boxes and masks.
    """

    def __init__(self, *args: Any, mask_iou_head: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_iou_head: Any = None if mask_iou_head is None else MODELS.build(mask_iou_head)

    def mask_loss(
        self,
        stage: int,
        x: Sequence[Tensor],
        sampling_results: list[Any],
        batch_gt_instances: list[Any],
        semantic_feat: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return a stage's mask logits [R, K, S, S] and its losses as mmdet does."""
        head, cfg = self.mask_head[stage], self.train_cfg[stage]
        pooled = self._pooled(x, bbox2roi([result.pos_priors for result in sampling_results]), semantic_feat)
        flow = None
        for before in self.mask_head[:stage]:
            flow = before(pooled, flow, return_logits=False)
        logits = head(pooled, flow, return_feat=False)
        found: dict[str, Any] = head.loss_and_target(logits, sampling_results, batch_gt_instances, cfg)
        if self.mask_iou_head is not None and stage == self.num_stages - 1:
            labels = torch.cat([result.pos_gt_labels for result in sampling_results])
            own = _of_class(logits, labels)
            quality = _of_class(self.mask_iou_head(pooled, own), labels)
            found["loss_mask"] |= self.mask_iou_head.loss_and_target(
                quality, own, found["mask_targets"], sampling_results, batch_gt_instances, cfg
            )
        return {"mask_preds": logits, **found}

    def own_masks(self, x: Sequence[Tensor], rois: Tensor, labels: Tensor, semantic_feat: Tensor | None) -> Tensor:
        """Return mask probabilities [R, S, S], the mean over all stages, of the class `labels` [R].

        rois [R, 5] are number of image and box; R may be 0. `semantic_feat` [B, C, H, W] is the semantic branch's.
        """
        side = 2 * self.mask_roi_extractor[-1].roi_layers[0].output_size[0]
        masks = rois.new_empty(len(rois), side, side)
        for some in _groups(len(rois)):
            pooled, flow, stages = self._pooled(x, rois[some], semantic_feat), None, []
            for head in self.mask_head:
                flow = head(pooled, flow, return_logits=False)
                stages.append(_own_logits(head, flow, labels[some]).sigmoid())
            masks[some] = torch.stack(stages).mean(dim=0)
        return masks

    def own_quality(
        self, x: Sequence[Tensor], rois: Tensor, labels: Tensor, masks: Tensor, semantic_feat: Tensor | None
    ) -> Tensor:
        """Return the predicted IoU [R], unbounded, of mask probabilities [R, S, S] of `own_masks`; R may be 0."""
        quality = rois.new_empty(len(rois))
        for some in _groups(len(rois)):
            every = self.mask_iou_head(self._pooled(x, rois[some], semantic_feat), masks[some].logit())
            quality[some] = _of_class(every, labels[some])
        return quality

    def _pooled(self, x: Sequence[Tensor], rois: Tensor, semantic_feat: Tensor | None) -> Tensor:
        """Return features [R, C, G, G]; every stage pools alike."""
        extractor = self.mask_roi_extractor[-1]
        pooled: Tensor = extractor(x[: extractor.num_inputs], rois)
        return pooled if semantic_feat is None else pooled + self.semantic_roi_extractor([semantic_feat], rois)


def _own_logits(head: Any, cells: Tensor, labels: Tensor) -> Tensor:
    """Return the mask logits [R, S, S] of the class `labels` alone from a mask head's last cells [R, C, G, G]."""
    grown = head.relu(head.upsample(cells))
    last = head.conv_logits
    own: Tensor = torch.einsum("rchw,rc->rhw", grown, last.weight[labels, :, 0, 0]) + last.bias[labels, None, None]
    return own


def _of_class(every: Tensor, labels: Tensor) -> Tensor:
    """Return the class `labels` [R] of [R, K, ...]: [R, ...]."""
    return every[torch.arange(len(labels), device=labels.device), labels]


def _groups(count: int) -> list[slice]:
    return [slice(start, start + ROIS) for start in range(0, count, ROIS)]
