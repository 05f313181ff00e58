"""ResNet, ResNeXt and Res2Net: mmdet's nets with free block counts, sound initialisation and checkpointing.

Letters: B images, C channels, H and W sides of a map.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Self

import torch
from mmcv.cnn.bricks import ContextBlock
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from mmdet.models.backbones import res2net, resnet, resnext
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class _Residual(resnet.ResNet):  # type: ignore[misc]
    """What the three nets gain over mmdet's; stands before one of them among the bases."""

    arch_settings: dict[int, tuple[type[nn.Module], tuple[int, ...]]]

    def __init__(
        self, *, depth: int, stage_blocks: Sequence[int] | None = None, checkpointing: bool = False, **kwargs: Any
    ) -> None:
        if stage_blocks is not None:
            block, _ = self.arch_settings[depth]
            self.arch_settings = {depth: (block, tuple(stage_blocks))}
        self.checkpointing = checkpointing
        super().__init__(depth=depth, **kwargs)

    def init_weights(self) -> None:
        """Initialise as mmdet does, then let offsets and context blocks start at zero.

        mmdet draws every `Conv2d` from a normal distribution, also those inside deformable convs and context blocks,
        whose zero start is what lets them be added to pretrained weights.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, DeformConv2dPack | ModulatedDeformConv2dPack):
                nn.init.zeros_(module.conv_offset.weight)
                nn.init.zeros_(module.conv_offset.bias)
            elif isinstance(module, ContextBlock):
                module.reset_parameters()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images [B, 3, H, W] into the four maps c2 to c5, [B, C, H / stride, W / stride]."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().forward(images)  # type: ignore[no-any-return]
        x = self.maxpool(self.stem(images) if self.deep_stem else self.relu(self.norm1(self.conv1(images))))
        maps = []
        for name in self.res_layers:
            for block in getattr(self, name):
                x = recomputed(block, x)
            maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, frozen stages and fixed norms excepted; return the net, which mmdet's does not."""
        super().train(mode)
        return self


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block whose inner activations are computed again in the backward pass."""
    if not any(parameter.requires_grad for parameter in block.parameters()) and not x.requires_grad:
        return block(x)  # type: ignore[no-any-return]
    contexts = partial(_contexts, block)
    return checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)  # type: ignore[no-any-return]


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let the second pass leave batch norm's running statistics alone: the first has counted this batch."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class ResNet(_Residual):
    """ResNet 18 to 152."""


class ResNeXt(_Residual, resnext.ResNeXt):  # type: ignore[misc]
    """ResNeXt 50 to 152."""


class PooledBottle2neck(res2net.Bottle2neck):  # type: ignore[misc]
    """Res2Net block whose last split is pooled in every first block of a stage, as in the authors' code.

    mmdet leaves this pool out where the stride is 1 (first block of c2), which published weights were not trained for.
    """

    def __init__(self, inplanes: int, planes: int, stage_type: str = "normal", **kwargs: Any) -> None:
        super().__init__(inplanes, planes, stage_type=stage_type, **kwargs)
        first = stage_type == "stage"
        self.pool = nn.AvgPool2d(3, self.conv2_stride, padding=1) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, 4 * planes, H / stride, W / stride]."""
        out = self.relu(self.norm1(self.conv1(x)))
        splits = torch.split(out, self.width, 1)
        outs: list[Tensor] = []
        for split, conv, norm in zip(splits[:-1], self.convs, self.bns, strict=True):
            source = split if self.stage_type == "stage" or not outs else outs[-1] + split
            outs.append(self.relu(norm(conv(source.contiguous()))))
        out = self.norm3(self.conv3(torch.cat([*outs, self.pool(splits[-1])], 1)))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv3_plugin_names)
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)  # type: ignore[no-any-return]


class Res2Net(_Residual, res2net.Res2Net):  # type: ignore[misc]
    """Res2Net v1b 50 and 101."""

    arch_settings = {  # noqa: RUF012 (mmdet's name and form)
        50: (PooledBottle2neck, (3, 4, 6, 3)),
        101: (PooledBottle2neck, (3, 4, 23, 3)),
    }
