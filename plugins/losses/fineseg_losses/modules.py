"""The losses as torch modules without state.

Letters: N objects or rows, C classes of things, K of all, B images, h and w sides of the scores.
"""

import math

import torch
from mmdet.models.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg.data.panoptic import IGNORED
from fineseg_losses.options import DiceOptions, FocalOptions, OHEMOptions


class MaskDice(nn.Module):
    """Binary cross entropy, its mean over all cells, plus 1 minus the dice coefficient, its mean over the masks.

    Mask2Former (arXiv 2112.01527, "Loss weights") has both with equal weights; a mask's dice coefficient is
    (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) as in its code, so that a mask without any cell teaches too.
    """

    def __init__(self, options: DiceOptions) -> None:
        super().__init__()
        self.weights = (options.cross_entropy, options.dice)
        self.dice = DiceLoss(use_sigmoid=True, naive_dice=True, eps=1.0)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits [N, ...] and targets of that shape in 0..1; N may be 0: the loss is 0."""
        if not logits.numel():
            return logits.sum()
        cells, overlap = self.weights
        cross_entropy = F.binary_cross_entropy_with_logits(logits, targets)
        found: Tensor = cells * cross_entropy + overlap * self.dice(logits, targets)
        return found


class SoftmaxFocal(nn.Module):
    """Focal loss (arXiv 1708.02002, equation 4) of a softmax: the mean over rows of -(1 - p)^gamma log(p)."""

    def __init__(self, options: FocalOptions) -> None:
        super().__init__()
        self.gamma = options.gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits [N, C + 1] and labels [N]; N may be 0: the loss is 0."""
        if not logits.numel():
            return logits.sum()
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        # 1 - p without cancellation; at least the smallest number, as a power below 1 has no slope at 0.
        doubt = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(logits.dtype).tiny)
        return (doubt**self.gamma * cross_entropy).mean()


class HardestPixels(nn.Module):
    """The mean cross entropy of pixels whose class has a low probability, and of a part of all pixels at least.

    The rule of HRNet's authors, `OhemCrossEntropy` of github.com/HRNet/HRNet-Semantic-Segmentation (lib/core/
    criterion.py), whose least number of pixels is a part of those that count here: it goes with the size of a step.
    """

    def __init__(self, options: OHEMOptions) -> None:
        super().__init__()
        self.hard, self.least = -math.log(options.threshold), options.least

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits [B, K, h, w] and labels [B, h, w], 255 where nothing counts; 0 if none does."""
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")[labels != IGNORED]
        if not len(losses):
            return logits.sum() * 0
        kept = max(int((losses > self.hard).sum()), math.ceil(self.least * len(losses)))
        return losses.topk(kept, sorted=False).values.mean()
