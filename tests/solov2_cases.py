"""Small SOLOv2 detectors, ours and mmdet's own with the same weights, and samples to train them with."""

from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import SOLOv2
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from fineseg.catalog import Catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable

CLASSES = 14
RANGES = ((1, 24), (12, 48), (24, 96), (48, 192), (96, 512))
SMALL = {"width": 16, "convs": 2, "mask_width": 16, "mask_channels": 16, "grids": (12, 10, 8, 6, 4)}
NECKS: dict[str, dict[str, Any]] = {"fpn": {}, "fpn-bfp": {}, "nas-fpn": {"stacks": 1}}


def small_solov2(neck: str = "fpn", **options: Any) -> ModelTable:
    return ModelTable(
        backbone=PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False),
        neck=PartChoice(name=neck, channels=16, **NECKS[neck]),
        head=PartChoice(name="solov2", **{**SMALL, "scale_ranges": RANGES, **options}),
    )


def built_solov2(catalog: Catalog, table: ModelTable, seed: int = 3) -> BuiltModel:
    """Build a detector that sees many things: untrained heads say the same everywhere."""
    torch.manual_seed(seed)
    built = build_model(table, catalog, CLASSES, weights_cache=None)
    spread(built.module.mask_head)
    built.module.eval()
    return built


def spread(head: torch.nn.Module) -> None:
    """Give classes and kernels the variety that training gives them."""
    width = head.feat_channels * 9
    torch.nn.init.normal_(head.conv_cls.weight, std=3 / width**0.5)
    torch.nn.init.constant_(head.conv_cls.bias, -2.0)
    torch.nn.init.normal_(head.conv_kernel.weight, std=4 / (width * head.kernel_out_channels) ** 0.5)


def stock_solov2(built: BuiltModel, predict: PredictTable, **test: Any) -> SOLOv2:
    """Build mmdet's own detector, by its own names, around the same backbone, neck and weights."""
    ours = built.module.mask_head
    features = ours.mask_feature_head
    groups = {"type": "GN", "num_groups": 16, "requires_grad": True}
    config = {
        "backbone": {"type": "ResNet", "depth": 18, "base_channels": 8},
        "mask_head": {
            "type": "SOLOV2Head",
            "num_classes": CLASSES,
            "in_channels": ours.in_channels,
            "feat_channels": ours.feat_channels,
            "stacked_convs": ours.stacked_convs,
            "strides": [8, 8, 16, 32, 32],
            "scale_ranges": RANGES,
            "pos_scale": 0.2,
            "num_grids": list(ours.num_grids),
            "norm_cfg": groups,
            "mask_feature_head": {
                "feat_channels": features.feat_channels,
                "start_level": 0,
                "end_level": 3,
                "out_channels": features.out_channels,
                "mask_stride": 4,
                "norm_cfg": groups,
            },
            "loss_mask": {"type": "DiceLoss", "use_sigmoid": True, "loss_weight": 3.0},
            "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
        },
        "test_cfg": {
            "nms_pre": 500,
            "score_thr": predict.score_threshold,
            "mask_thr": predict.mask_threshold,
            "filter_thr": 0.05,
            "kernel": "gaussian",
            "sigma": 2.0,
            "max_per_img": predict.max_per_image,
            **test,
        },
    }
    with DefaultScope.overwrite_default_scope("mmdet"):
        stock = SOLOv2(**ConfigDict(config))
    stock.mask_head.load_state_dict(ours.state_dict(), strict=True)
    stock.backbone, stock.neck = built.module.backbone, built.module.neck
    return stock.eval()


def meta(size: tuple[int, int], original: tuple[int, int], whole: tuple[int, int]) -> dict[str, Any]:
    return {
        "img_shape": size,
        "ori_shape": original,
        "scale_factor": (size[1] / original[1], size[0] / original[0]),
        "pad_shape": whole,
        "batch_input_shape": whole,
    }


def drawn_sample(boxes: list[tuple[int, int, int, int]], size: tuple[int, int], whole: tuple[int, int]) -> Any:
    """Return an mmdet sample whose objects fill their boxes (x1, y1, x2, y2); there may be none."""
    masks = np.zeros((len(boxes), *whole), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    truth = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.arange(len(boxes)) % CLASSES,
        masks=BitmapMasks(masks, *whole),
    )
    return DetDataSample(metainfo=meta(size, size, whole), gt_instances=truth)
