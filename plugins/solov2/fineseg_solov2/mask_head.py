"""mmdet's SOLOv2 head, whose every weight is reached by every loss."""

from typing import Any

from mmdet.models.dense_heads import SOLOV2Head
from torch import Tensor


class SOLOv2MaskHead(SOLOV2Head):  # type: ignore[misc]
    """mmdet's head in configuration, weights and losses.

    Where no cell of any image is to paint a mask, the kernel branch, and the mask scorer if there is one, get zeros
    as gradients, not none: processes that train together wait for every weight's gradient.
    """

    def loss_by_feat(self, mlvl_kernel_preds: list[Tensor], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return `{"loss_mask": ..., "loss_cls": ...}` of kernels [B, E, S, S] a level, and mmdet's other inputs."""
        losses: dict[str, Tensor] = super().loss_by_feat(mlvl_kernel_preds, *args, **kwargs)
        nothing = sum(each.sum() for each in [*mlvl_kernel_preds, *self.loss_mask.parameters()]) * 0
        return {**losses, "loss_mask": losses["loss_mask"] + nothing}
