"""HRNetV2 (arXiv 1908.07919): mmdet's net, which also returns the map after its first stage.

Letters: B images, H and W sides of the images.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from mmdet.models.backbones import hrnet
from torch import Tensor, nn

from fineseg_backbones.pretrained import bare_state
from fineseg_backbones.residual import recomputed

STAGE1 = 256
"""Channels of the first stage's map, whatever the width of the branches."""
BRANCHES = 4
HEADS = re.compile(r"(incre_modules|downsamp_modules|final_layer|last_layer)\.")
"""What published files have beyond the net itself: the way to ImageNet's classes, or to those of a data set."""


class HRNet(hrnet.HRNet):  # type: ignore[misc]
    """HRNetV2 as a backbone: images to stage 1 [B, 256, H / 4, W / 4], then to the branches, finest first.

    Branch i is [B, width * 2^i, H / 2^(i + 2), W / 2^(i + 2)].
    """

    def __init__(
        self,
        width: int,
        modules: Sequence[int],
        blocks: int,
        norm: type[nn.Module],
        norm_eval: bool,
        checkpointing: bool,
    ) -> None:
        stages = {f"stage{n}": _stage(count, n, blocks, width) for n, count in enumerate(modules, start=2)}
        first = {**_stage(1, 1, blocks, STAGE1 // 4), "block": "BOTTLENECK"}
        super().__init__({"stage1": first, **stages}, norm_cfg={"type": norm}, norm_eval=norm_eval)
        self.checkpointing = checkpointing

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images [B, 3, H, W] into the five maps."""
        x = self.relu(self.norm2(self.conv2(self.relu(self.norm1(self.conv1(images))))))
        first = self._through(self.layer1, x)
        maps = [first]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            maps = [maps[i] if layer is None else layer(maps[-1]) for i, layer in enumerate(transition)]
            for module in stage:
                maps = self._exchange(module, maps)
        return (first, *maps)

    def _exchange(self, module: Any, maps: list[Tensor]) -> list[Tensor]:
        """Take each map through its branch, then give each the sum of what all have seen, brought to its size."""
        seen = [self._through(branch, x) for branch, x in zip(module.branches, maps, strict=True)]
        return [
            module.relu(sum(x if layer is None else layer(x) for layer, x in zip(row, seen, strict=True)))
            for row in module.fuse_layers
        ]

    def _through(self, blocks: nn.Module, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return blocks(x)  # type: ignore[no-any-return]
        for block in blocks.children():
            x = recomputed(block, x)
        return x

    def train(self, mode: bool = True) -> Self:
        """Set the mode, fixed norms excepted; return the net, which mmdet's does not."""
        super().train(mode)
        return self


def _stage(modules: int, branches: int, blocks: int, width: int) -> dict[str, Any]:
    return {
        "num_modules": modules,
        "num_branches": branches,
        "block": "BASIC",
        "num_blocks": (blocks,) * branches,
        "num_channels": tuple(width * 2**i for i in range(branches)),
    }


def hrnet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map published weights, whose names are mmdet's already, to the net's: what stands on top of it goes."""
    return {key: value for key, value in bare_state(state).items() if not HEADS.match(key)}
