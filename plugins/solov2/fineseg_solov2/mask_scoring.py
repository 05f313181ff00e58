"""Mask scoring (arXiv 1903.00241) as YOLACT++ (arXiv 1912.06218) does it: a small network reads how good a mask is.

Letters: N masks, h and w their rows and columns.
"""

from typing import Any

from mmdet.models.losses import DiceLoss
from torch import Tensor, nn

WIDTHS = (8, 16, 32, 64, 128)


class MaskScorer(nn.Module):
    """Predicts the IoU of a mask with its object from the mask alone, the same way for all classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(WIDTHS[-1], 1, 1))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return IoUs [N] in 0..1 of mask probabilities [N, h, w]."""
        logits: Tensor = self.layers(probabilities[:, None])
        return logits.flatten(1).amax(dim=1).sigmoid()

    def init_weights(self) -> None:
        """Start as the layers themselves do: mmdet's heads start all their convolutions near zero."""
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()


class ScoredDiceLoss(DiceLoss):  # type: ignore[misc]
    """Dice loss, and the squared error of the scorer's IoUs; masks learn nothing from the latter."""

    def __init__(self, score_weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score_weight = score_weight
        self.scorer = MaskScorer()

    def init_weights(self) -> None:
        """Start the scorer's weights."""
        self.scorer.init_weights()

    def forward(self, pred: Tensor, target: Tensor, **kwargs: Any) -> Tensor:
        """Return losses [N] of mask logits [N, h, w] and true masks [N, h, w] in 0 or 1."""
        dice: Tensor = super().forward(pred, target, **kwargs)
        probabilities = pred.detach().sigmoid()
        error = self.scorer(probabilities) - ious(probabilities > 0.5, target > 0)
        total: Tensor = dice + self.score_weight * error.square()
        return total


def ious(masks: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU [N] of bool masks [N, h, w] and true ones of the same shape; 0 for two empty ones."""
    shared: Tensor = (masks & truth).flatten(1).sum(dim=1)
    together: Tensor = (masks | truth).flatten(1).sum(dim=1)
    return shared / together.clamp(min=1)


def scorer_of(mask_head: Any) -> MaskScorer | None:
    """Return the scorer of a head that was built with one."""
    return mask_head.loss_mask.scorer if isinstance(mask_head.loss_mask, ScoredDiceLoss) else None
