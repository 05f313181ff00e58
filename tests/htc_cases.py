"""Small HTC detectors, and mmdet's own around the same weights."""

from pathlib import Path
from typing import Any

import mmdet
import torch
from mmdet.models.detectors import HybridTaskCascade
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fineseg.catalog import load_catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable

CLASSES, STUFF, WIDTH = 14, 5, 16
PUBLISHED = Path(mmdet.__file__).parent / ".mim" / "configs" / "htc"
HEAD = {
    "rpn": {"anchor_scale": 4, "train_proposals": 100, "test_proposals": 50, "samples": 32},
    "box": {"roi": 6, "width": 32, "samples": 32},
    "mask_roi": 8,
    "mask_convs": 2,
}


def small_htc(**options: Any) -> ModelTable:
    return ModelTable(
        backbone=PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False),
        neck=PartChoice(name="fpn", channels=WIDTH),
        head=PartChoice(name="htc", **{**HEAD, **options}),
    )


def built_htc(**options: Any) -> BuiltModel:
    """Build a small detector of 14 classes whose stages say different things."""
    torch.manual_seed(3)
    catalog = load_catalog(warn=lambda _: None)
    built = build_model(small_htc(**options), catalog, CLASSES, weights_cache=None, num_stuff=STUFF)
    spread(built.module.roi_head)
    return built


def spread(roi_head: nn.Module) -> None:
    """Give boxes, classes, masks and their quality the variety that training gives them."""
    for name, module in roi_head.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        gain = 4 if name.endswith("fc_cls") else 1
        nn.init.normal_(module.weight, std=gain * (2 / module.weight[0].numel()) ** 0.5)
        nn.init.normal_(module.bias, std=0.2)
        if name.endswith("fc_mask_iou"):
            nn.init.constant_(module.bias, 0.6)


def stock_htc(built: BuiltModel, predict: PredictTable) -> Any:
    """Build mmdet's detector from its published configuration, at our sizes, around the same weights."""
    ours = built.module.roi_head
    kind = "htc" if ours.with_semantic else "htc-without-semantic"
    model = Config.fromfile(PUBLISHED / f"{kind}_r50_fpn_1x_coco.py").model
    if ours.with_semantic:
        model.roi_head.semantic_roi_extractor.update(out_channels=WIDTH)
        model.roi_head.semantic_roi_extractor.roi_layer.update(output_size=8)
        branch = model.roi_head.semantic_head
        branch.update(in_channels=WIDTH, conv_out_channels=WIDTH, num_classes=CLASSES + STUFF)
        branch.loss_seg.update(avg_non_ignore=True)
    for box, mask in zip(model.roi_head.bbox_head, model.roi_head.mask_head, strict=True):
        box.update(in_channels=WIDTH, fc_out_channels=32, roi_feat_size=6, num_classes=CLASSES)
        mask.update(in_channels=WIDTH, conv_out_channels=WIDTH, num_convs=2, num_classes=CLASSES)
    for extractor, side in ((model.roi_head.bbox_roi_extractor, 6), (model.roi_head.mask_roi_extractor, 8)):
        extractor.update(out_channels=WIDTH)
        extractor.roi_layer.update(output_size=side)
    model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
    model.rpn_head.anchor_generator.update(scales=[4])
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=50)
    model.test_cfg.rcnn.update(score_thr=predict.score_threshold, max_per_img=predict.max_per_image)
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=100)
    for settings in (model.train_cfg.rpn, *model.train_cfg.rcnn):
        settings.sampler.num = 32
    for settings in model.train_cfg.rcnn:
        settings.mask_size = 16
    model.backbone.pop("init_cfg")
    assert model.pop("type") == "HybridTaskCascade"
    with DefaultScope.overwrite_default_scope("mmdet"):
        stock = HybridTaskCascade(**model)
    weights = {name: value for name, value in ours.state_dict().items() if not name.startswith("mask_iou_head")}
    stock.roi_head.load_state_dict(weights, strict=True)
    stock.rpn_head.load_state_dict(built.module.rpn_head.state_dict(), strict=True)
    stock.backbone, stock.neck = built.module.backbone, built.module.neck
    return stock.eval()


def meta(size: tuple[int, int]) -> dict[str, Any]:
    return {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0), "batch_input_shape": size}
