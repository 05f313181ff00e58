"""Small E-UPS detectors, and drawn images with everything true about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from fineseg import HeadInput, ImageInfo, PanopticFrame, PanopticPredictor
from fineseg.catalog import load_catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.quiet import quiet
from fineseg.profile.schema import ModelTable, PartChoice
from fineseg_backbones.builders import build_resnet
from fineseg_backbones.neck_builders import build_fpn
from fineseg_backbones.neck_options import FPNOptions
from fineseg_backbones.options import ResNetOptions
from fineseg_e_ups.heads import e_ups
from fineseg_e_ups.options import EUPSOptions
from fineseg_e_ups.predictor import EUPSPredictor

THINGS, STUFF, SIDE = 3, 2, 64
OPTIONS = {
    "rpn": {"anchor_scale": 4, "train_proposals": 100, "test_proposals": 50, "samples": 64},
    "box": {"width": 32, "samples": 32},
    "mask_roi": 7,
    "mask_convs": 1,
    "semantic": {"width": 8},
}


def built_e_ups(seed: int = 3, **options: Any) -> EUPSPredictor:
    """Build a small detector of 3 thing and 2 stuff classes."""
    backbone = build_resnet(ResNetOptions(depth=18, base_channels=8, norm_eval=False))
    neck = build_fpn(FPNOptions(channels=16), backbone)
    head = e_ups(EUPSOptions(**{**OPTIONS, **options}), HeadInput(neck.channels, neck.strides, THINGS, STUFF))
    parts = {"backbone": backbone.config, "neck": neck.config, "data_preprocessor": {"type": DetDataPreprocessor}}
    torch.manual_seed(seed)
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"):
        detector: TwoStageDetector = MODELS.build(ConfigDict({**head.detector, **parts}))
        detector.init_weights()
    predictor = head.predictor(detector)
    assert isinstance(predictor, EUPSPredictor)
    return predictor


def found_maps(
    predictor: PanopticPredictor, features: Sequence[torch.Tensor], frames: Sequence[PanopticFrame]
) -> Sequence[Any]:
    """Go all steps from features to segments, as `fineseg.mm` does."""
    sizes = [frame.size for frame in frames]
    proposals = [boxes for boxes, _ in predictor.proposals(features, sizes)]
    judged = predictor.boxes(features, proposals, sizes)
    return predictor.panoptic(features, judged, predictor.semantic(features), frames)


def spread(detector: nn.Module, seed: int = 0) -> None:
    """Give boxes, classes, masks and scores the variety that training gives them."""
    torch.manual_seed(seed)
    for part in (detector.roi_head, detector.semantic_head.score):
        for name, module in part.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                gain = {"fc_reg": 0.5, "": 0.5}.get(name.rpartition(".")[2], 1.5)
                nn.init.normal_(module.weight, std=gain * (2 / module.weight[0].numel()) ** 0.5)
                nn.init.normal_(module.bias, std=0.2)
                if name.endswith("conv_logits"):
                    nn.init.constant_(module.bias, 2.0)
    detector.eval()


def drawn(images: int = 4, objects: int = 3, seed: int = 0) -> tuple[torch.Tensor, list[DetDataSample]]:
    """Draw images [B, 3, 64, 64] whose colours tell the class: rectangles on two kinds of ground; and their truth."""
    generator = np.random.default_rng(seed)
    pictures, samples = [], []
    colours = generator.normal(0, 1.5, (THINGS + STUFF, 3))
    for _ in range(images):
        semantic = np.full((SIDE, SIDE), THINGS)
        semantic[generator.integers(20, 44) :] = THINGS + 1
        masks = np.zeros((objects, SIDE, SIDE), np.uint8)
        corners = generator.integers(2, 34, (objects, 2))
        ends = corners + generator.integers(14, 28, (objects, 2))
        labels = generator.integers(0, THINGS, objects)
        for number in range(objects):
            (x1, y1), (x2, y2) = corners[number], ends[number]
            masks[:, y1:y2, x1:x2] = 0  # the later object hides the earlier ones
            masks[number, y1:y2, x1:x2] = 1
            semantic[y1:y2, x1:x2] = labels[number]
        picture = colours[semantic].transpose(2, 0, 1) + generator.normal(0, 0.1, (3, SIDE, SIDE))
        semantic[:2] = 255
        seen = masks.any(axis=(1, 2))
        sizes = {"img_shape": (SIDE, SIDE), "pad_shape": (SIDE, SIDE), "batch_input_shape": (SIDE, SIDE)}
        sample = DetDataSample(metainfo={**sizes, "ori_shape": (SIDE, SIDE), "scale_factor": (1.0, 1.0)})
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(np.concatenate([corners, ends], axis=1)[seen]).float(),
            labels=torch.from_numpy(labels[seen]),
            masks=BitmapMasks(masks[seen], SIDE, SIDE),
        )
        sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(semantic)[None])
        pictures.append(torch.from_numpy(picture).float())
        samples.append(sample)
    return torch.stack(pictures), samples


def total(losses: dict[str, Any]) -> torch.Tensor:
    """Add all losses as mmengine does: what is named so, lists of levels too."""
    flat = [each for name, value in losses.items() if "loss" in name for each in _listed(value)]
    return torch.stack([each.mean() for each in flat]).sum()


def _listed(value: Any) -> list[torch.Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def whole_model() -> BuiltModel:
    """Build a small model as a run does, and spread its weights so that it finds objects and stuff."""
    head = PartChoice(name="e-ups", **OPTIONS, panoptic={"score": 0.2, "stuff_area": 30})
    backbone = PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False)
    table = ModelTable(backbone=backbone, neck=PartChoice(name="fpn", channels=16), head=head)
    torch.manual_seed(1)
    made = build_model(table, load_catalog(warn=print), THINGS, weights_cache=None, num_stuff=STUFF)
    spread(made.module, 5)
    return made


def write_blotches(folder: Path) -> ImageInfo:
    """Write an image of soft blotches, 120 x 100."""
    pixels = np.random.default_rng(2).integers(0, 255, (60, 50, 3), np.uint8)
    cv2.imwrite(str(folder / "x.png"), cv2.resize(pixels, (100, 120), interpolation=cv2.INTER_CUBIC))
    return ImageInfo(4, folder / "x.png", 100, 120)
