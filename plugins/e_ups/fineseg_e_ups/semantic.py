"""The semantic branch of UPSNet (arXiv 1901.03784, section 3.1): one deformable subnet on the four finest levels.

Letters: B images, C classes, D channels of the pyramid, h and w sides at 1/4 of the image's H and W, N objects of an
image, R of all.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg.data.panoptic import IGNORED
from fineseg_e_ups.deform import deform_conv

STRIDE = 4
"""Of the finest level, which the scores lie on."""
LEVELS = 4
ROI_SIDE, ROI_SAMPLES = 28, 2


class DeformConv(nn.Module):
    """Deformable 3x3 (arXiv 1703.06211) with a bias; its offsets come from a 3x3 of its own, which starts at zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.conv_offset = nn.Conv2d(inputs, 2 * 9, 3, padding=1)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the conv from He's normal distribution (fan out); offsets and biases are zero."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        for parameter in (*self.conv_offset.parameters(), self.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H, W]."""
        return deform_conv(x, self.conv_offset(x), self.weight) + self.bias[:, None, None]


class SemanticHead(nn.Module):
    """Scores of every class at 1/4: three deformable convs, shared by the levels, then a 1x1 over all levels together.

    The convs end `width` channels wide, the first is as wide as the pyramid. `full_resolution` says where the pixel
    loss is taken; both weights multiply their loss. `loss` is the config of what stands for the pixels' cross entropy.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 128,
        full_resolution: bool = True,
        pixel_weight: float = 0.2,
        roi_weight: float = 0.04,
        loss: Any = None,
    ) -> None:
        super().__init__()
        self.full_resolution, self.pixel_weight, self.roi_weight = full_resolution, pixel_weight, roi_weight
        self.criterion = pixel_loss if loss is None else MODELS.build(loss)
        widths = (in_channels, in_channels, width, width)
        layers = ((DeformConv(*pair), nn.ReLU(inplace=True)) for pair in pairwise(widths))
        self.subnet = nn.Sequential(*(part for layer in layers for part in layer))
        self.score = nn.Conv2d(LEVELS * width, num_classes, 1)

    def init_weights(self) -> None:
        """Draw the scores' weights from N(0, 0.01); the deformable convs initialise themselves."""
        for module in self.subnet:
            if isinstance(module, DeformConv):
                module.init_weights()
        for parameter in self.score.parameters():
            nn.init.normal_(parameter, std=0.01 if parameter.dim() > 1 else 0.0)

    def features(self, levels: Sequence[Tensor]) -> Tensor:
        """Turn the pyramid, finest first, into features [B, 4 * width, h, w]."""
        side = levels[0].shape[-2:]
        seen = (self.subnet(level) for level in levels[:LEVELS])
        return torch.cat([F.interpolate(x, size=side, mode="bilinear", align_corners=False) for x in seen], dim=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Turn the pyramid into logits [B, C, h, w]."""
        logits: Tensor = self.score(self.features(levels))
        return logits

    def compare(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of the pixels, without a weight, of logits [B, C, h, w] and labels [B, 4 h, 4 w]."""
        if self.full_resolution:
            logits = F.interpolate(logits, scale_factor=STRIDE, mode="bilinear", align_corners=False)
        else:
            truth = truth[:, ::STRIDE, ::STRIDE]
        found: Tensor = self.criterion(logits, truth)
        return found

    def loss(
        self, levels: Sequence[Tensor], truth: Tensor, boxes: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits [B, C, h, w] and both losses.

        truth [B, 4 h, 4 w] are labels, 255 where nothing counts; `boxes` are each image's true boxes [N, 4] in pixels.
        """
        features = self.features(levels)
        logits: Tensor = self.score(features)
        pixel = self.compare(logits, truth)
        crops = torch.cat([roi_truth(one, each) for one, each in zip(truth, boxes, strict=True)])
        pooled = roi_align(features, _rois(boxes), ROI_SIDE, 1 / STRIDE, ROI_SAMPLES, "avg", False)
        inside = roi_loss(self.score(pooled), crops)
        return logits, {"loss_semantic": pixel * self.pixel_weight, "loss_semantic_roi": inside * self.roi_weight}


def pixel_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the cross entropy of logits [B, C, H, W] and labels [B, H, W], its mean over the pixels that count."""
    total = F.cross_entropy(logits, truth, ignore_index=IGNORED, reduction="sum")
    return total / (truth != IGNORED).sum().clamp(min=1)


def roi_loss(logits: Tensor, crops: Tensor) -> Tensor:
    """Return the cross entropy of logits [R, C, S, S] and labels [R, S, S], its mean over all cells.

    A cell that does not count adds nothing, but is one of all. R may be 0: the loss is 0, and so is its gradient.
    """
    return F.cross_entropy(logits, crops, ignore_index=IGNORED, reduction="sum") / max(crops.numel(), 1)


def roi_truth(truth: Tensor, boxes: Tensor) -> Tensor:
    """Return labels [N, S, S] of S x S cells of boxes [N, 4] of an image [H, W]: the pixel that a cell begins at.

    A crop goes from the box's first pixel to its last: whole pixels, one at least, none outside the image.
    """
    height, width = truth.shape
    cells = torch.arange(ROI_SIDE, device=truth.device)
    left, top, right, bottom = boxes.round().long().unbind(1)

    def places(first: Tensor, last: Tensor, side: int) -> Tensor:
        first = first.clamp(0, side - 1)
        count = (last.clamp(max=side - 1) - first + 1).clamp(min=1)
        return first[:, None] + cells * count[:, None] // ROI_SIDE

    rows, columns = places(top, bottom, height), places(left, right, width)
    return truth[rows[:, :, None], columns[:, None, :]]


def _rois(boxes: Sequence[Tensor]) -> Tensor:
    """Return boxes of all images as [R, 5], the image's number first."""
    return torch.cat([F.pad(each, (1, 0), value=float(image)) for image, each in enumerate(boxes)])
