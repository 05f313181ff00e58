"""Small detectors with some options more, and images with truth to train them on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from small_models import small_model

from fineseg.catalog import load_catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.profile.layers import merge
from fineseg.profile.schema import PartChoice

CLASSES, SIDE = 14, 96


def build_small(head: str, options: Mapping[str, Any]) -> BuiltModel:
    """Build a small detector of 14 classes with `options` laid over its head's."""
    torch.manual_seed(3)
    table = small_model(head)
    choice = PartChoice(name=head, **merge(table.head.options, options))
    table = table.model_copy(update={"head": choice})
    return build_model(table, load_catalog(warn=lambda _: None), CLASSES, weights_cache=None)


def training_images(*, objects: int) -> tuple[torch.Tensor, list[DetDataSample]]:
    """Return two images [2, 3, 96, 96] and their truth: rectangles without corners, as many in each."""
    generator = np.random.default_rng(objects)
    samples = []
    for _ in range(2):
        corners = generator.integers(4, 40, (objects, 2))
        boxes = np.concatenate([corners, corners + generator.integers(20, 50, (objects, 2))], axis=1)
        masks = np.zeros((objects, SIDE, SIDE), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1:x2] = 1
            mask[y1 : y1 + 5, x1 : x1 + 5] = 0
        sample = DetDataSample(
            metainfo={"img_shape": (SIDE, SIDE), "pad_shape": (SIDE, SIDE), "batch_input_shape": (SIDE, SIDE)}
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(boxes).float(),
            labels=torch.from_numpy(generator.integers(0, CLASSES, objects)),
            masks=BitmapMasks(masks, SIDE, SIDE),
        )
        samples.append(sample)
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), samples
