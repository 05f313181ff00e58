"""Location Sensitive Header (AntVisionPS, COCO panoptic challenge 2019, section 1.1): boxes and masks share features.

The paper says that box regression and masks share features and that classification has its own, and no more. Here the
mask branch's convolutions are the shared trunk: masks go on with their upsampling, boxes with a mean of 2 x 2 cells and
one fully connected layer. Classes come from the box RoI through fully connected layers, as without the header.

Letters: R RoIs of all images, P those of them that are objects, T classes, D channels, G and g sides of the mask's and
the box's RoI cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn
from torch.nn import functional as F


class LSHBoxHead(ConvFCBBoxHead):  # type: ignore[misc]
    """Classes from one kind of features, boxes from another."""

    def __init__(self, fcs: int, **kwargs: Any) -> None:
        super().__init__(num_cls_fcs=fcs, num_reg_fcs=1, **kwargs)

    def classify(self, cells: Tensor) -> Tensor:
        """Return class logits [R, T + 1] of box cells [R, D, g, g]."""
        hidden = cells.flatten(1)
        for layer in self.cls_fcs:
            hidden = self.relu(layer(hidden))
        logits: Tensor = self.fc_cls(hidden)
        return logits

    def regress(self, trunk: Tensor) -> Tensor:
        """Return deltas [R, 4 T] of the trunk's cells [R, D, G, G], each g x g mean of them read."""
        hidden = F.adaptive_avg_pool2d(trunk, self.roi_feat_size).flatten(1)
        for layer in self.reg_fcs:
            hidden = self.relu(layer(hidden))
        deltas: Tensor = self.fc_reg(hidden)
        return deltas


class LSHRoIHead(StandardRoIHead):  # type: ignore[misc]
    """mmdet's RoI head whose mask convolutions are a trunk of its own; its mask head has none left.

    In training the trunk is computed once, and for the RoIs that are objects alone: no other RoI has a mask, or a box
    to be regressed to.
    """

    def __init__(self, trunk_convs: int, trunk_width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        convs = (ConvModule(trunk_width, trunk_width, 3, padding=1) for _ in range(trunk_convs))
        self.trunk = nn.Sequential(*convs)

    def located(self, x: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return the trunk's cells [R, D, G, G] of rois [R, 5]."""
        extractor = self.mask_roi_extractor
        cells: Tensor = self.trunk(extractor(x[: extractor.num_inputs], rois))
        return cells

    def _classified(self, x: Sequence[Tensor], rois: Tensor) -> Tensor:
        extractor = self.bbox_roi_extractor
        logits: Tensor = self.bbox_head.classify(extractor(x[: extractor.num_inputs], rois))
        return logits

    def _bbox_forward(self, x: Sequence[Tensor], rois: Tensor) -> dict[str, Tensor]:
        trunk = self.located(x, rois)
        deltas = self.bbox_head.regress(trunk)
        return {"cls_score": self._classified(x, rois), "bbox_pred": deltas, "bbox_feats": trunk}

    def bbox_loss(self, x: Sequence[Tensor], sampling_results: list[Any]) -> dict[str, Any]:
        """Return class logits [R, T + 1], deltas [R, 4 T], 0 for what is no object, their losses, and the trunk's cells
        [P, D, G, G] as `bbox_feats`.
        """
        rois = bbox2roi([result.priors for result in sampling_results])
        trunk = self.located(x, bbox2roi([result.pos_priors for result in sampling_results]))
        found = self.bbox_head.regress(trunk)
        positive = torch.cat([_objects_first(result) for result in sampling_results])
        deltas = found.new_zeros(len(rois), found.shape[1])
        deltas[positive] = found
        logits = self._classified(x, rois)
        losses = self.bbox_head.loss_and_target(logits, deltas, rois, sampling_results, self.train_cfg)
        return {"cls_score": logits, "bbox_pred": deltas, "bbox_feats": trunk, "loss_bbox": losses["loss_bbox"]}

    def mask_loss(
        self, x: Sequence[Tensor], sampling_results: list[Any], bbox_feats: Tensor, batch_gt_instances: list[Any]
    ) -> dict[str, Any]:
        """Return mask logits [P, T, 2 G, 2 G] and their losses; `bbox_feats` are the trunk's cells of `bbox_loss`."""
        logits = self.mask_head(bbox_feats)
        found = self.mask_head.loss_and_target(logits, sampling_results, batch_gt_instances, self.train_cfg)
        return {"mask_preds": logits, "mask_feats": bbox_feats, **found}

    def _mask_forward(self, x: Sequence[Tensor], rois: Tensor) -> dict[str, Tensor]:
        trunk = self.located(x, rois)
        return {"mask_preds": self.mask_head(trunk), "mask_feats": trunk}


def _objects_first(result: Any) -> Tensor:
    """Return which RoIs of an image [R] are objects: mmdet puts them first."""
    numbers = torch.arange(len(result.priors), device=result.priors.device)
    return numbers < len(result.pos_priors)
