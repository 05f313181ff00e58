"""Balanced feature pyramid (arXiv 1904.02701, section 3.2) with one or several non-local blocks."""

from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import NonLocal2d
from mmdet.models.necks import bfp
from torch import nn


class BFP(bfp.BFP):  # type: ignore[misc]
    """mmdet's BFP whose refinement may be several non-local blocks (embedded Gaussian, unscaled) in sequence.

    All convs start from Xavier's distribution, those that close the non-local blocks too, as in mmdet 1: the stack of
    blocks is a plain `nn.Sequential`, so that the blocks' own start (zero at the end) does not replace it.
    """

    def __init__(
        self, in_channels: int, num_levels: int, refine_level: int = 2, refine: str = "non-local", non_locals: int = 1
    ) -> None:
        super().__init__(in_channels, num_levels, refine_level, refine_type=None)
        if refine == "conv":
            self.refine = nn.Sequential(ConvModule(in_channels, in_channels, 3, padding=1))
        elif refine == "non-local":
            blocks = (NonLocal2d(in_channels, reduction=1, use_scale=False) for _ in range(non_locals))
            self.refine = nn.Sequential(*blocks)
        self.refine_type = None if refine == "none" else refine
