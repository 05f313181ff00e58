"""mmdet's PointRend RoI head with the same losses and gradients, for less memory and time.

Letters: R positive RoIs of all images, P points of a RoI, K classes, G side of the coarse mask, D its head's width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads import DoubleHeadRoIHead, MaskScoringRoIHead, PointRendRoIHead
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from mmdet.registry import MODELS
from torch import Tensor

from fineseg_pointrend.lattice import axes, corners
from fineseg_pointrend.render import PointHead, PointLayer, point_field, refine, sample_grid

MASK_PIXELS = 1 << 24
"""Pixels of true masks that are turned into floats at once."""


class LeanPointRendRoIHead(PointRendRoIHead):  # type: ignore[misc]
    """mmdet's head in configuration and weights.

    Training differs from mmdet's in that points see the feature maps after the first layer (`render`), that only the
    true class's logits are computed, and that true masks are sampled where they lie, not copied for every RoI.

    With `mask_iou_head` it is a mask scoring head too (arXiv 1903.00241). What mmdet's `MaskIoUHead` sees is the coarse
    stage, in training and in prediction: the convolved features of each RoI's G x G cells, and the coarse mask of its
    class on the same cells. The rendered mask is finer than any features of the RoI, and training never renders one.
    """

    def __init__(self, *args: Any, mask_iou_head: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_iou_head: Any = None if mask_iou_head is None else MODELS.build(mask_iou_head)

    def coarse_logits(self, levels: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """Return coarse mask logits [R, K, G, G] of boxes [R, 4], at least one, of images [R]."""
        return self._coarse(levels, boxes, images)[0]

    def _coarse(self, levels: Sequence[Tensor], boxes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return coarse mask logits [R, K, G, G] and the cells [R, D, G, G] that they are computed from."""
        head, extractor = self.mask_head, self.mask_roi_extractor
        side = extractor.roi_layers[0].output_size[0]
        levels = levels[: extractor.num_inputs]
        convs = list(head.convs)
        if convs:
            conv = convs.pop(0)
            weight = conv.conv.weight.flatten(1)
            cells = sample_grid(levels, extractor.featmap_strides, boxes, images, side, weight, conv.conv.bias)
            cells = conv.activate(cells)
        else:
            cells = sample_grid(levels, extractor.featmap_strides, boxes, images, side)
        for conv in [*convs, head.downsample_conv]:
            cells = conv(cells)
        hidden = cells.flatten(1)
        for layer in head.fcs:
            hidden = head.relu(layer(hidden))
        logits: Tensor = head.fc_logits(hidden)
        return logits.view(-1, head.num_classes, *head.output_size), cells

    def point_weights(self) -> PointHead:
        """Return the point head's weights as `render` takes them."""
        head = self.point_head
        *hidden, logits = (
            _layer(conv.weight, conv.bias, head.num_classes)
            for conv in [*(module.conv for module in head.fcs), head.fc_logits]
        )
        return PointHead(tuple(hidden), logits)

    def own_masks(self, x: Sequence[Tensor], boxes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return refined logits [R, S, S] of the class `labels` [R] of boxes [R, 4] of images [R]; R may be 0."""
        steps, points = self.test_cfg.subdivision_steps, self.test_cfg.subdivision_num_points
        if not len(boxes):
            side = self.mask_head.output_size[0] << steps
            return boxes.new_zeros(0, side, side)
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        levels, strides = x[: self.mask_roi_extractor.num_inputs], self.mask_roi_extractor.featmap_strides
        coarse = self.coarse_logits(x, boxes, images)
        head = self.point_weights()
        return refine(levels, strides, boxes, images, labels, coarse, head, steps=steps, points=points)

    def own_quality(self, x: Sequence[Tensor], boxes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return the predicted IoU [R] of the masks of `own_masks`, unbounded; R may be 0."""
        if not len(boxes):
            return boxes.new_zeros(0)
        coarse, cells = self._coarse(x, boxes.to(torch.promote_types(boxes.dtype, torch.float32)), images)
        return self._quality(cells, _of_class(coarse, labels), labels)

    def _quality(self, cells: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """Return predicted IoU [R] of the class `labels` from cells [R, D, G, G] and their class's logits [R, G, G]."""
        # The head halves its mask by the largest of 2 x 2: each cell given four times comes out as it is.
        fourfold = own.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return _of_class(self.mask_iou_head(cells, fourfold), labels)

    def mask_loss(
        self, x: tuple[Tensor, ...], sampling_results: list[Any], bbox_feats: Tensor, batch_gt_instances: list[Any]
    ) -> dict[str, Any]:
        """Return the losses of both heads as mmdet does: `{"loss_mask": {"loss_mask": ..., "loss_point": ...}}`.

        With mask scoring there is `loss_mask_iou` too. No positive RoI at all: all are zero, and every weight gets a
        gradient of zero.
        """
        boxes = torch.cat([result.pos_priors for result in sampling_results])
        if not len(boxes):
            return {"loss_mask": self._no_loss()}
        counts = [len(result.pos_priors) for result in sampling_results]
        images = torch.repeat_interleave(torch.tensor(counts, device=boxes.device))
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        masks = [torch.from_numpy(truth.masks.masks).to(boxes.device) for truth in batch_gt_instances]
        assigned = [result.pos_assigned_gt_inds for result in sampling_results]

        coarse, cells = self._coarse(x, boxes, images)
        truth = zip(masks, boxes.split_with_sizes(counts), assigned, strict=True)
        binary = torch.cat([coarse_targets(*each, coarse.shape[-1]) for each in truth])
        losses = {"loss_mask": self.mask_head.loss_mask(coarse, binary, labels)}

        own = _of_class(coarse, labels)
        cfg = self.train_cfg
        points = get_uncertain_point_coords_with_randomness(
            own.detach()[:, None], labels, cfg.num_points, cfg.oversample_ratio, cfg.importance_sample_ratio
        )
        logits = self._point_logits(x, boxes, images, labels, coarse, points)
        here = zip(masks, boxes.split_with_sizes(counts), assigned, points.split_with_sizes(counts), strict=True)
        soft = torch.cat([point_targets(*each) for each in here])
        losses["loss_point"] = self.point_head.loss_point(logits[:, None], soft, torch.zeros_like(labels))
        if self.mask_iou_head is not None:
            quality = self._quality(cells, own, labels)
            losses |= self.mask_iou_head.loss_and_target(
                quality, own, binary, sampling_results, batch_gt_instances, cfg
            )
        return {"loss_mask": losses, "mask_preds": coarse}

    def _no_loss(self) -> dict[str, Tensor]:
        heads = {"loss_mask": self.mask_head, "loss_point": self.point_head}
        if self.mask_iou_head is not None:
            heads["loss_mask_iou"] = self.mask_iou_head
        weights = [weight for head in heads.values() for weight in head.parameters()]
        zero = torch.stack([weight.sum() for weight in weights]).sum() * 0
        return dict.fromkeys(heads, zero)

    def _point_logits(
        self, x: tuple[Tensor, ...], boxes: Tensor, images: Tensor, labels: Tensor, coarse: Tensor, points: Tensor
    ) -> Tensor:
        extractor = self.mask_roi_extractor
        levels = x[: extractor.num_inputs]
        field = point_field(levels, extractor.featmap_strides, boxes, images, labels, coarse, self.point_weights())
        index, weight = corners(*field.axes(*points.unbind(-1)))
        return field.logits(index, weight, field.own_row)


class DoublePointRendRoIHead(DoubleHeadRoIHead, LeanPointRendRoIHead):  # type: ignore[misc]
    """With DoubleHead's boxes (arXiv 1904.06493)."""


class DoubleScoringRoIHead(DoubleHeadRoIHead, MaskScoringRoIHead):  # type: ignore[misc]
    """Mask R-CNN's with DoubleHead's boxes and mask scoring."""


def _of_class(every: Tensor, labels: Tensor) -> Tensor:
    """Return the class `labels` [R] of [R, K, ...]: [R, ...]."""
    return every[torch.arange(len(labels), device=labels.device), labels]


def _layer(weight: Tensor, bias: Tensor, num_classes: int) -> PointLayer:
    """Take a convolution's weight [D, I + K, 1] apart."""
    own, coarse = weight[:, :, 0].split_with_sizes([weight.shape[1] - num_classes, num_classes], dim=1)
    return PointLayer(own, coarse, bias)


def point_targets(masks: Tensor, boxes: Tensor, assigned: Tensor, points: Tensor) -> Tensor:
    """Sample true masks bilinearly at points [R, P, 2] (x, y in 0..1) of boxes [R, 4]: targets [R, P] in 0..1.

    masks [N, H, W] of one image in 0 or 1, zero outside; `assigned` [R] is each box's mask.
    """
    height, width = masks.shape[1:]
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    x = points[..., 0] * (right - left) + left - 0.5
    y = points[..., 1] * (bottom - top) + top - 0.5
    start = (assigned * (height * width))[:, None, None]
    index, weight = corners(*axes(x[..., None], y[..., None], [(height, width)], start))
    return (masks.flatten()[index] * weight).sum(dim=-1)


def coarse_targets(masks: Tensor, boxes: Tensor, assigned: Tensor, side: int) -> Tensor:
    """Crop true masks to boxes [R, 4] and average them into side x side cells: targets [R, side, side], 0 or 1.

    masks [N, H, W] of one image in 0 or 1; `assigned` [R] is each box's mask.
    """
    if not len(boxes):
        return boxes.new_zeros(0, side, side)
    height, width = masks.shape[1:]
    limit = boxes.new_tensor([width, height, width, height])
    rois = torch.cat([assigned[:, None].to(boxes.dtype), boxes.clamp(min=0).minimum(limit)], dim=1)
    block = max(MASK_PIXELS // (height * width), 1)
    if len(masks) <= block:
        return _cells(masks, rois, side)
    targets = boxes.new_zeros(len(boxes), side, side)
    for start in range(0, len(masks), block):
        mine = (assigned >= start) & (assigned < start + block)
        some = rois[mine]
        some[:, 0] -= start
        targets[mine] = _cells(masks[start : start + block], some, side)
    return targets


def _cells(masks: Tensor, rois: Tensor, side: int) -> Tensor:
    means: Tensor = roi_align(masks[:, None].to(rois.dtype), rois, (side, side), 1.0, 0, "avg", True)
    return (means[:, 0] >= 0.5).to(rois.dtype)
