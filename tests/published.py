"""Checkpoints as others publish them: mmdet's own detectors at small width, saved by mmengine's own runner."""

import warnings
from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from fineseg.profile.schema import ModelTable, PartChoice

POINTREND = "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py"
MASK_RCNN = "mask_rcnn/mask-rcnn_x101-64x4d_fpn_1x_coco.py"
STOCK_BOX = {"width": 32, "sampling": 0, "aligned": True, "class_agnostic": False}
OURS = {
    POINTREND: ModelTable(
        backbone=PartChoice(name="resnet", depth=50, base_channels=8, style="caffe"),
        neck=PartChoice(name="fpn", channels=16),
        head=PartChoice(
            name="pointrend",
            levels="p2",
            box=STOCK_BOX,
            coarse={"grid": 14, "convs": 0, "width": 16, "fc_width": 32},
            points={"width": 16, "train": 14, "test": 28},
        ),
    ),
    MASK_RCNN: ModelTable(
        backbone=PartChoice(name="resnext", depth=101, base_channels=8, groups=4, base_width=2),
        neck=PartChoice(name="fpn", channels=16),
        head=PartChoice(name="mask-rcnn", box=STOCK_BOX, mask_width=16),
    ),
}
"""The same detectors as profiles state them."""


def stock_config(name: str) -> Any:
    """Return one of mmdet's own configurations with narrower layers."""
    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / name)
    model = config.model
    model.backbone.update(base_channels=8, init_cfg=None)
    if model.backbone.type == "ResNeXt":
        model.backbone.update(groups=4, base_width=2)
    model.neck.update(in_channels=[32, 64, 128, 256], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    heads = model.roi_head
    heads.bbox_roi_extractor.out_channels = heads.mask_roi_extractor.out_channels = 16
    heads.bbox_head.update(in_channels=16, fc_out_channels=32)
    heads.mask_head.update(in_channels=16, conv_out_channels=16)
    if "point_head" in heads:
        heads.mask_head.update(fc_out_channels=32)
        heads.point_head.update(in_channels=16, fc_channels=16)
    return config


def stock(name: str) -> nn.Module:
    """Build one of mmdet's detectors with weights of which none is zero or one."""
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope("mmdet"):
        net = MODELS.build(stock_config(name).model)
    for key, value in net.state_dict().items():
        if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(0, 0.1)
        elif value.ndim:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
    net._is_init = True  # or mmengine's runner draws them anew
    return net.eval()


def save_as_mmengine(net: nn.Module, name: str, folder: Path, *, averaged: bool = False) -> Path:
    """Train a step at no rate, so that mmengine's own hook writes the checkpoint, history of the losses included."""
    packed = demo_mm_inputs(2, [[3, 64, 64], [3, 64, 64]], num_classes=80, with_mask=True)
    images = [dict(zip(packed, item, strict=True)) for item in zip(*packed.values(), strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = Runner(
            net,
            str(folder),
            train_dataloader={
                "batch_size": 2,
                "dataset": images,
                "sampler": {"type": DefaultSampler},
                "collate_fn": {"type": pseudo_collate},
            },
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"type": OptimWrapper, "optimizer": {"type": torch.optim.SGD, "lr": 0.0, "momentum": 0.9}},
            custom_hooks=[{"type": EMAHook}] if averaged else [],
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
            cfg=stock_config(name),
            log_level="ERROR",
            experiment_name=folder.name,
            env_cfg={"mp_cfg": {"mp_start_method": "spawn"}},
        )
        runner.message_hub.update_scalar("val/coco_AP", np.float64(0.4))
        runner.train()
    net.eval()
    return folder / "epoch_1.pth"
