"""mmdet's PointRend RoI head with the same losses and gradients, for less memory and time.

Letters: R positive RoIs of all images, P points of a RoI, K classes, G side of the coarse mask.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from torch import Tensor

from fineseg_pointrend.lattice import axes, corners
from fineseg_pointrend.render import PointHead, PointLayer, point_field, refine, sample_grid

MASK_PIXELS = 1 << 24
"""Pixels of true masks that are turned into floats at once."""


class LeanPointRendRoIHead(PointRendRoIHead):  # type: ignore[misc]
    """mmdet's head in configuration and weights.

    Training differs from mmdet's in that points see the feature maps after the first layer (`render`), that only the
    true class's logits are computed, and that true masks are sampled where they lie, not copied for every RoI.
    """

    def coarse_logits(self, levels: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """Return coarse mask logits [R, K, G, G] of boxes [R, 4], at least one, of images [R]."""
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
        return logits.view(-1, head.num_classes, *head.output_size)

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

    def mask_loss(
        self, x: tuple[Tensor, ...], sampling_results: list[Any], bbox_feats: Tensor, batch_gt_instances: list[Any]
    ) -> dict[str, Any]:
        """Return the losses of both heads as mmdet does: `{"loss_mask": {"loss_mask": ..., "loss_point": ...}}`.

        No positive RoI at all: both are zero, and every weight gets a gradient of zero.
        """
        boxes = torch.cat([result.pos_priors for result in sampling_results])
        if not len(boxes):
            weights = [*self.mask_head.parameters(), *self.point_head.parameters()]
            zero = torch.stack([weight.sum() for weight in weights]).sum() * 0
            return {"loss_mask": {"loss_mask": zero, "loss_point": zero}}
        counts = [len(result.pos_priors) for result in sampling_results]
        images = torch.repeat_interleave(torch.tensor(counts, device=boxes.device))
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        masks = [torch.from_numpy(truth.masks.masks).to(boxes.device) for truth in batch_gt_instances]
        assigned = [result.pos_assigned_gt_inds for result in sampling_results]

        coarse = self.coarse_logits(x, boxes, images)
        truth = zip(masks, boxes.split_with_sizes(counts), assigned, strict=True)
        binary = torch.cat([coarse_targets(*each, coarse.shape[-1]) for each in truth])
        loss_mask = self.mask_head.loss_mask(coarse, binary, labels)

        own = coarse.detach()[torch.arange(len(labels), device=labels.device), labels][:, None]
        cfg = self.train_cfg
        points = get_uncertain_point_coords_with_randomness(
            own, labels, cfg.num_points, cfg.oversample_ratio, cfg.importance_sample_ratio
        )
        logits = self._point_logits(x, boxes, images, labels, coarse, points)
        here = zip(masks, boxes.split_with_sizes(counts), assigned, points.split_with_sizes(counts), strict=True)
        soft = torch.cat([point_targets(*each) for each in here])
        loss_point = self.point_head.loss_point(logits[:, None], soft, torch.zeros_like(labels))
        return {"loss_mask": {"loss_mask": loss_mask, "loss_point": loss_point}, "mask_preds": coarse}

    def _point_logits(
        self, x: tuple[Tensor, ...], boxes: Tensor, images: Tensor, labels: Tensor, coarse: Tensor, points: Tensor
    ) -> Tensor:
        extractor = self.mask_roi_extractor
        levels = x[: extractor.num_inputs]
        field = point_field(levels, extractor.featmap_strides, boxes, images, labels, coarse, self.point_weights())
        index, weight = corners(*field.axes(*points.unbind(-1)))
        return field.logits(index, weight, field.own_row)


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
