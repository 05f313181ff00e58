"""E-UPS as a detector of mmdet: what mmdet's two-stage detectors learn, and the semantic and panoptic losses.

Letters: B images, T thing classes, C all classes, N objects of an image, K of them shown to the panoptic head, H and W
sides of the padded images, h and w a quarter of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from fineseg.data.panoptic import IGNORED
from fineseg_e_ups.options import PanopticOptions
from fineseg_e_ups.panoptic import panoptic_loss, shown, training_logits, training_target
from fineseg_e_ups.semantic import STRIDE


class EUPS(TwoStageDetector):  # type: ignore[misc]
    """A two-stage detector with a `semantic_head`, and the panoptic head, which has no weights, by its rules."""

    def __init__(self, semantic_head: Any, panoptic: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.semantic_head = MODELS.build(semantic_head)
        self.rules = PanopticOptions(**panoptic)

    @property
    def things(self) -> int:
        """Return the number of thing classes, which come before the stuff."""
        return int(self.roi_head.bbox_head.num_classes)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> dict[str, Any]:
        """Return all losses of images [B, 3, H, W]. Samples need `gt_instances` with masks, and `gt_sem_seg`."""
        levels = self.extract_feat(batch_inputs)
        bare = [_proposal_truth(sample) for sample in batch_data_samples]
        losses, proposals = self.rpn_head.loss_and_predict(levels, bare, proposal_cfg=self.train_cfg.rpn_proposal)
        losses |= self.roi_head.loss(levels, proposals, batch_data_samples)
        size = batch_inputs.shape[-2:]
        truth = torch.stack([_semantic_truth(sample, size) for sample in batch_data_samples])
        boxes = [sample.gt_instances.bboxes for sample in batch_data_samples]
        scores, semantic = self.semantic_head.loss(levels, truth, boxes)
        losses |= semantic
        losses["loss_panoptic"] = self.panoptic_loss(levels, scores, truth, batch_data_samples) * self.rules.weight
        return losses  # type: ignore[no-any-return]

    def panoptic_loss(self, levels: Sequence[Tensor], scores: Tensor, truth: Tensor, samples: Sequence[Any]) -> Tensor:
        """Return the panoptic head's loss, unweighted: its mean over images of scores [B, C, h, w], labels [B, H, W].

        It sees true boxes, not found ones, and their masks as they are found in these.
        """
        kept = [shown(len(sample.gt_instances), self.rules.keep) for sample in samples]
        some = [sample.gt_instances[each] for sample, each in zip(samples, kept, strict=True)]
        masks = self._mask_logits(levels, [each.bboxes for each in some], [each.labels for each in some])
        stuff = scores.shape[1] - self.things
        found = []
        for score, label, mask, each in zip(scores, truth, masks, some, strict=True):
            logits = training_logits(score, self.things, mask, each.bboxes / STRIDE, each.labels)
            shapes = _coarse_masks(each, logits)
            found.append(panoptic_loss(logits, training_target(label[::STRIDE, ::STRIDE], self.things, stuff, shapes)))
        return torch.stack(found).mean()

    def _mask_logits(self, levels: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the mask logits [K, m, m] of boxes [K, 4] and their classes."""
        classes = torch.cat(labels)
        every = self.roi_head._mask_forward(levels, bbox2roi(boxes))["mask_preds"]
        own = every[torch.arange(len(classes), device=classes.device), classes]
        return list(own.split_with_sizes([len(each) for each in boxes]))


def _proposal_truth(sample: Any) -> DetDataSample:
    """Return what proposals learn from: boxes of one class."""
    truth = sample.gt_instances
    bare = DetDataSample(metainfo=sample.metainfo)
    bare.gt_instances = InstanceData(bboxes=truth.bboxes, labels=torch.zeros_like(truth.labels))
    if "ignored_instances" in sample:
        bare.ignored_instances = sample.ignored_instances
    return bare


def _semantic_truth(sample: Any, size: Sequence[int]) -> Tensor:
    """Return an image's labels, int64 [H, W]; nothing counts where it was padded."""
    labels: Tensor = sample.gt_sem_seg.sem_seg[0].long()
    return F.pad(labels, (0, size[1] - labels.shape[1], 0, size[0] - labels.shape[0]), value=IGNORED)


def _coarse_masks(objects: Any, like: Tensor) -> Tensor:
    """Return every fourth pixel of the objects' masks, bool [K, h, w], on the device and of the sides of `like`."""
    masks = torch.from_numpy(objects.masks.masks[:, ::STRIDE, ::STRIDE].astype(bool)).to(like.device)
    height, width = like.shape[-2:]
    return F.pad(masks, (0, width - masks.shape[2], 0, height - masks.shape[1]))
