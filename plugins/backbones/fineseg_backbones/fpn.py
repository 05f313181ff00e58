"""Feature pyramid (arXiv 1612.03144) with a glance at the whole image on top (as in UPSNet, arXiv 1901.03784)."""

from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.necks import fpn
from torch import Tensor, nn


class GlobalLateral(ConvModule):  # type: ignore[misc]
    """A 1x1 lateral conv plus, at every pixel, a linear layer of the map's mean."""

    def __init__(self, inputs: int, outputs: int, norm_cfg: Any) -> None:
        super().__init__(inputs, outputs, 1, norm_cfg=norm_cfg, act_cfg=None, inplace=False)
        self.glance = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, I, H, W] to [B, O, H, W]."""
        lateral: Tensor = super().forward(x)
        glance: Tensor = self.glance(x.mean((2, 3)))
        return lateral + glance[:, :, None, None]


class FPN(fpn.FPN):  # type: ignore[misc]
    """mmdet's FPN; with `gap` its topmost lateral conv is a `GlobalLateral`, which starts from Xavier's as all do."""

    def __init__(self, in_channels: list[int], out_channels: int, num_outs: int, gap: bool, norm_cfg: Any) -> None:
        xavier = {"type": "Xavier", "layer": ["Conv2d", "Linear"], "distribution": "uniform"}
        super().__init__(in_channels, out_channels, num_outs, norm_cfg=norm_cfg, init_cfg=xavier)
        if gap:
            self.lateral_convs[-1] = GlobalLateral(in_channels[-1], out_channels, norm_cfg)
