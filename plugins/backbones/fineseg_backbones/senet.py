"""SENet-154 (arXiv 1709.01507, section 6.5), named as its published weights are (`layer0.conv1`, `se_module.fc1`, ...).

Letters: B images, C channels, H and W sides, p `base_channels`, doubled in every stage after the first.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from fineseg_backbones.pretrained import bare_state
from fineseg_backbones.residual import recomputed

EXPANSION = 4
"""A block's width outside, in p."""
REDUCTION = 16
"""A block's width outside over that of its squeezed features."""
LAYERS = ("layer0", "layer1", "layer2", "layer3", "layer4")
"""The stem (at 1/2), then the stages (1/4, 1/8, 1/16, 1/32)."""


class SEModule(nn.Module):
    """Squeeze and excitation: each channel is multiplied by a gate in 0..1 that depends on the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        squeezed = self.fc1(x.mean((2, 3), keepdim=True)).relu()
        gated: Tensor = x * self.fc2(squeezed).sigmoid()
        return gated


class SEBottleneck(nn.Module):
    """1x1 to 2 p, 3x3 in groups to 4 p, 1x1, squeeze and excitation; the shortcut is a 1x1 or 3x3 where widths differ.

    `shortcut` is the side of that conv. Both it and the grouped 3x3 have the stride.
    """

    def __init__(self, inputs: int, planes: int, groups: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        inner, outputs = planes * 2, planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, outputs, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3 = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SEModule(outputs)
        self.downsample = None
        if shortcut is not None:
            conv = nn.Conv2d(inputs, outputs, shortcut, stride, shortcut // 2, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, 4 p, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se_module(self.bn3(self.conv3(out)))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)  # type: ignore[no-any-return]


class SENet(nn.Module):
    """SENet as a backbone: images to the maps at 1/4, 1/8, 1/16 and 1/32 of their side, 4 p to 32 p wide.

    `frozen_stages`: -1 trains all, 0 freezes the stem, n also the first n stages. Sides of images should be even.
    """

    def __init__(
        self,
        stage_blocks: Sequence[int] = (3, 8, 36, 3),
        base_channels: int = 64,
        groups: int = 64,
        frozen_stages: int = -1,
        norm_eval: bool = True,
        norm_trainable: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.frozen_stages, self.norm_eval, self.checkpointing = frozen_stages, norm_eval, checkpointing
        self.layer0 = _stem(base_channels)
        self.pool0 = nn.MaxPool2d(3, 2, ceil_mode=True)  # not padded: its published weights come from Caffe
        inputs = base_channels * 2
        for stage, count in enumerate(stage_blocks):
            planes = base_channels * 2**stage
            stride, shortcut = (2, 3) if stage else (1, 1)
            rest = (SEBottleneck(planes * EXPANSION, planes, groups, 1, None) for _ in range(count - 1))
            first = SEBottleneck(inputs, planes, groups, stride, shortcut)
            self.add_module(LAYERS[stage + 1], nn.Sequential(first, *rest))
            inputs = planes * EXPANSION
        if not norm_trainable:
            for norm in _norms(self):
                norm.requires_grad_(False)
        self._freeze()

    def init_weights(self) -> None:
        """Draw convs from He's normal distribution (fan out); biases are zero, batch norm is the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images [B, 3, H, W] into maps [B, C, H / stride, W / stride], strides 4, 8, 16, 32."""
        x = self.pool0(self.layer0(images))
        recompute = self.checkpointing and torch.is_grad_enabled()
        maps = []
        for name in LAYERS[1:]:
            for block in getattr(self, name):
                x = recomputed(block, x) if recompute else block(x)
            maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages and, with `norm_eval`, all batch norms stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            for norm in _norms(self):
                norm.eval()
        return self

    def _freeze(self) -> None:
        for name in LAYERS[: self.frozen_stages + 1]:
            getattr(self, name).eval().requires_grad_(False)


def _stem(base: int) -> nn.Sequential:
    """Three 3x3, the first of them at every second pixel."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for number, (outputs, stride) in enumerate(((base, 2), (base, 1), (base * 2, 1)), start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        inputs = outputs
    return nn.Sequential(layers)


def _norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def senet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map the published weights (the authors' port for torch, or timm's `legacy_senet154`) to the module's state."""
    return {key: value for key, value in bare_state(state).items() if not key.startswith("last_linear.")}
