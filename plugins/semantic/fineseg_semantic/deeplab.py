"""ASPP and decoder of DeepLabV3+ (arXiv 1802.02611, sections 3.1 and 3.2) on one map at 1/4 of the image's side.

Letters: B images, C classes, I and O input and output channels, H and W sides of the padded images, h and w sides at
1/4.
"""

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg.data.panoptic import IGNORED

STRIDE = 4
GROUPS = 32


def normed(norm: str, channels: int) -> nn.Module:
    """Return a normalisation layer."""
    if norm == "gn":
        return nn.GroupNorm(gcd(GROUPS, channels), channels)
    return nn.SyncBatchNorm(channels) if norm == "sync-bn" else nn.BatchNorm2d(channels)


def conv(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Return a 1x1 conv with normalisation and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), normed(norm, outputs), nn.ReLU(inplace=True))


def separable(inputs: int, outputs: int, rate: int, norm: str) -> nn.Sequential:
    """Return a 3x3 conv of each channel by itself, dilated by `rate`, and a 1x1 conv; both normalised, with ReLU."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=rate, dilation=rate, groups=inputs, bias=False)
    return nn.Sequential(depthwise, normed(norm, inputs), nn.ReLU(inplace=True), *conv(inputs, outputs, norm))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: each pixel alone, its surroundings at several rates, and the whole image.

    The part of the whole image has a bias and no normalisation: it is one number a channel, of which a training step of
    one image has no spread.
    """

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], norm: str) -> None:
        super().__init__()
        self.pixel = conv(inputs, outputs, norm)
        self.around = nn.ModuleList(separable(inputs, outputs, rate, norm) for rate in rates)
        self.whole = nn.Conv2d(inputs, outputs, 1)
        self.joined = conv(outputs * (len(rates) + 2), outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, I, h, w] to [B, O, h, w]."""
        whole = F.relu(self.whole(x.mean((2, 3), keepdim=True))).expand(-1, -1, *x.shape[-2:])
        joined: Tensor = self.joined(torch.cat([self.pixel(x), *(each(x) for each in self.around), whole], dim=1))
        return joined


class DeepLabHead(nn.Module):
    """Scores of every class at 1/4: ASPP on a map's later channels, joined in a decoder by its first, the detail.

    `first` of the map's `in_channels` are detail, and are brought to `detail` channels before the decoder's two
    separable 3x3 convs. `full_resolution` says where the loss is taken; `loss` is the config of what stands for the
    cross entropy.
    """

    def __init__(
        self,
        in_channels: int,
        first: int,
        num_classes: int,
        width: int,
        detail: int,
        rates: Sequence[int],
        norm: str,
        full_resolution: bool,
        loss: Any = None,
    ) -> None:
        super().__init__()
        self.first, self.full_resolution = first, full_resolution
        self.criterion = cross_entropy if loss is None else MODELS.build(loss)
        self.aspp = ASPP(in_channels - first, width, rates, norm)
        self.detail = conv(first, detail, norm)
        self.decoder = nn.Sequential(separable(width + detail, width, 1, norm), separable(width, width, 1, norm))
        self.score = nn.Conv2d(width, num_classes, 1)

    def init_weights(self) -> None:
        """Draw convs from He's normal distribution (fan in), those of the scores from N(0, 0.01); biases are zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.score.weight, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn one map [B, in_channels, h, w] into logits [B, C, h, w]."""
        (x,) = maps
        detail, context = x[:, : self.first], x[:, self.first :]
        logits: Tensor = self.score(self.decoder(torch.cat([self.aspp(context), self.detail(detail)], dim=1)))
        return logits

    def loss(self, maps: Sequence[Tensor], truth: Tensor) -> Tensor:
        """Return the loss with labels [B, H, W], 255 where nothing counts."""
        logits = self(maps)
        if self.full_resolution:
            logits = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
        else:
            truth = truth[:, ::STRIDE, ::STRIDE]
        found: Tensor = self.criterion(logits, truth)
        return found


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the cross entropy of logits [B, C, H, W] and labels [B, H, W], its mean over the pixels that count."""
    total = F.cross_entropy(logits, truth, ignore_index=IGNORED, reduction="sum")
    return total / (truth != IGNORED).sum().clamp(min=1)
