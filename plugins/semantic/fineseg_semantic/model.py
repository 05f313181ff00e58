"""A model of the class of every pixel alone, for training and in the prediction protocol.

Letters: B images, C classes, H and W sides of the padded images, h and w sides of the scores.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F


class Concatenation(nn.Module):
    """All maps of a backbone, enlarged to the first one's size and laid side by side."""

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Turn maps [B, C_i, h_i, w_i] into one [B, sum of C_i, h, w]."""
        size = maps[0].shape[-2:]
        enlarged = (F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps[1:])
        return (torch.cat([maps[0], *enlarged], dim=1),)


class SemanticModel(BaseModel):  # type: ignore[misc]
    """Backbone, neck and a `semantic_head`, as mmengine trains it; without a neck the backbone's maps are read."""

    def __init__(self, backbone: Any, semantic_head: Any, neck: Any = None, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.neck = nn.Identity() if neck is None else MODELS.build(neck)
        self.semantic_head = MODELS.build(semantic_head)

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Turn images [B, 3, H, W] into what the head reads."""
        maps: Sequence[Tensor] = self.neck(self.backbone(images))
        return maps

    def loss(self, images: Tensor, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Return the loss of images [B, 3, H, W]. Samples need `gt_sem_seg` of the images' padded size."""
        truth = torch.stack([sample.gt_sem_seg.sem_seg[0] for sample in samples]).long()
        return {"loss_semantic": self.semantic_head.loss(self.encode(images), truth)}

    def forward(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Return the loss in mode "loss", as mmengine calls it in training, and else the scores [B, C, h, w]."""
        if mode == "loss" and data_samples is not None:
            return self.loss(inputs, data_samples)
        scores: Tensor = self.semantic_head(self.encode(inputs))
        return scores


class SemanticModelPredictor:
    """Prediction steps of a built `SemanticModel`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Turn images [B, 3, H, W] into what the head reads."""
        maps: Sequence[Tensor] = self.model.encode(images)
        return maps

    def semantic(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scores of all classes, logits [B, C, h, w]."""
        scores: Tensor = self.model.semantic_head(features)
        return scores
