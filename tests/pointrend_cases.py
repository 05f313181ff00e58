"""PointRend heads, ours and mmdet's, with the same weights; drawn inputs; refinement as the paper describes it."""

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, linear

STRIDES = (4, 8, 16, 32, 64)
TINY = {
    "coarse": {"grid": 14, "width": 16, "fc_width": 32},
    "points": {"width": 24, "test": 20, "steps": 4, "train": 10},
}
P2 = {"levels": "p2", "coarse": {"grid": 14, "convs": 0, "width": 16, "fc_width": 32}}
PUBLISHED: dict[str, dict[str, Any]] = {
    "m1": {},
    "m4": {"coarse": {"width": 512, "fcs": 4}, "points": {"width": 512, "layers": 5}},
    "coco": {"levels": "p2", "coarse": {"grid": 14, "convs": 0}, "points": {"test": 28}},
}
"""The winner's first and fourth model; mmdet's PointRend R50 for COCO, on P2 alone."""


def both_heads(options: dict[str, Any], channels: int, num_classes: int) -> tuple[Any, Any]:
    """Build mmdet's RoI head and ours with the same weights, scaled so that logits vary by 1 and more.

    Mask scoring, which mmdet's has not, keeps its first weights.
    """
    from mmdet.models.roi_heads import PointRendRoIHead
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    from fineseg import HeadInput
    from fineseg_pointrend.heads import pointrend
    from fineseg_pointrend.options import PointRendOptions

    torch.manual_seed(0)
    detector = pointrend(PointRendOptions.model_validate(options), HeadInput(channels, STRIDES, num_classes)).detector
    config = {key: ConfigDict(value) for key, value in detector["roi_head"].items() if key != "type"}
    settings = {name: ConfigDict(detector[name]["rcnn"]) for name in ("train_cfg", "test_cfg")}
    ours_type = detector["roi_head"]["type"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        ours = ours_type(**copy.deepcopy(config), **settings)
        config.pop("mask_iou_head", None)
        stock = PointRendRoIHead(**copy.deepcopy(config), **settings)
    for module in [*stock.mask_head.modules(), *stock.point_head.modules()]:
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    torch.nn.init.normal_(stock.point_head.fc_logits.weight, std=4 / stock.point_head.fc_channels**0.5)
    missing, unexpected = ours.load_state_dict(stock.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("mask_iou_head.") for name in missing)
    return stock, ours


def draw_levels(side: int, channels: int, *, images: int = 1, count: int = 5, seed: int = 0) -> list[Tensor]:
    """Draw feature maps of square images, as wide as a pyramid's: rounded up at each level."""
    generator = torch.Generator().manual_seed(seed)
    sides = [-(-side // stride) for stride in STRIDES[:count]]
    return [torch.randn(images, channels, each, each, generator=generator) for each in sides]


def draw_boxes(number: int, side: int, *, inside: bool = False, seed: int = 0) -> Tensor:
    """Draw boxes of a fiftieth of the image to half of it; where not `inside` they may leave it, one wholly."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(number, 2, generator=generator) * side
    half = torch.exp(torch.rand(number, 2, generator=generator) * 3.2 - 3.9) * side / 2
    boxes = torch.cat([centre - half, centre + half], dim=1)
    if inside:
        return boxes.clamp(0, side)
    boxes[-1:] += torch.tensor([-2.0, 1.5, -2.0, 1.5]) * side if number > 2 else 0
    return boxes


def draw_sampling(number: int, true_objects: int, side: int, num_classes: int, seed: int) -> tuple[Any, Any]:
    """Draw the positive RoIs of one image, and its truth: ellipses."""
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(seed)
    boxes = draw_boxes(number, side, inside=True, seed=seed)
    assigned = torch.randint(true_objects, (number,), generator=generator)
    labels = torch.randint(num_classes, (true_objects,), generator=generator)
    sampling = SimpleNamespace(
        pos_priors=boxes, pos_bboxes=boxes, pos_assigned_gt_inds=assigned, pos_gt_labels=labels[assigned]
    )
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:side, :side]
    drawn = rng.uniform([0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.5, 0.5], (true_objects, 4)) * side
    masks = np.array([((y - b) / q) ** 2 + ((x - a) / p) ** 2 < 1 for a, b, p, q in drawn], dtype=np.uint8)
    return sampling, InstanceData(masks=BitmapMasks(masks, side, side), labels=labels)


def sample_plainly(levels: Sequence[Tensor], strides: Sequence[int], boxes: Tensor, points: Tensor) -> Tensor:
    """Sample and concatenate all levels [1, C, H, W] at points [R, P, 2] in 0..1 of boxes [R, 4]: [R, L * C, P]."""
    pixels = points * (boxes[:, None, 2:] - boxes[:, None, :2]) + boxes[:, None, :2]
    found = []
    for level, stride in zip(levels, strides, strict=True):
        extent = pixels.new_tensor([level.shape[3], level.shape[2]]) * stride
        grid = (pixels / extent * 2 - 1)[None].to(level.dtype)
        found.append(grid_sample(level, grid, align_corners=False)[0].transpose(0, 1))
    return torch.cat(found, dim=1)


def point_logits_plainly(fine: Tensor, coarse: Tensor, points: Tensor, head: Any) -> Tensor:
    """Evaluate the point head (`fineseg_pointrend.render.PointHead`) for all classes: [R, K, P]."""
    rough = grid_sample(coarse, (points * 2 - 1)[:, None].to(coarse.dtype), align_corners=False)[:, :, 0].transpose(
        1, 2
    )
    below = fine.transpose(1, 2)
    for layer in head.hidden:
        whole = torch.cat([layer.own, layer.coarse], dim=1)
        below = linear(torch.cat([below, rough], dim=2), whole, layer.bias).relu()
    whole = torch.cat([head.logits.own, head.logits.coarse], dim=1)
    return linear(torch.cat([below, rough], dim=2), whole, head.logits.bias).transpose(1, 2)


def refine_plainly(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    labels: Tensor,
    coarse: Tensor,
    head: Any,
    *,
    steps: int,
    points: int,
) -> Tensor:
    """Refine all classes as the paper and mmdet do, and return the own class's logits [R, S, S]; one image."""
    rois, classes = coarse.shape[:2]
    number = torch.arange(rois, device=coarse.device)
    refined = coarse
    for step in range(steps):
        refined = interpolate(refined, scale_factor=2, mode="bilinear", align_corners=False)
        side = refined.shape[-1]
        if points >= 4 * side * side and step < steps - 1:
            continue
        own = refined[number, labels].flatten(1)
        flat = (-own.abs()).topk(min(points, side * side), dim=1).indices
        where = (torch.stack([flat % side, flat // side], dim=2).to(boxes.dtype) + 0.5) / side
        logits = point_logits_plainly(sample_plainly(levels, strides, boxes, where), coarse, where, head)
        index = flat[:, None].expand(-1, classes, -1)
        refined = refined.flatten(2).scatter(2, index, logits).view_as(refined)
    return refined[number, labels]
