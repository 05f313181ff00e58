"""MobileNetV2 (arXiv 1801.04381), width 1.0, with TensorFlow's or PyTorch's padding, with or without batch norm.

Letters: B images, C channels, O and I output and input channels, H and W sides.
Submodules are named as torchvision's (`features.N`, without the last 1x1 and the classifier).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg_backbones.pretrained import bare_state

CHANNELS = (24, 32, 96, 320)
"""Widths of the maps at 1/4, 1/8, 1/16 and 1/32: the last projection before every stride, not the 1280-wide head."""

ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride: table 2 of the paper."""

STEM = 32
STAGE_ENDS = (2, 4, 7, 14, 18)
"""`features` up to these (exclusive) are the stem (at 1/2) and the four maps."""

DEPTH = STAGE_ENDS[-1]


class SameConv2d(nn.Conv2d):
    """Strided conv with TensorFlow's SAME padding: an odd pixel of padding goes to the bottom and the right."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, I, H, W] to [B, O, ceil(H / stride), ceil(W / stride)]."""
        sides = zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        top_bottom, left_right = (_same(size, kernel, stride) for size, kernel, stride in sides)
        return super().forward(F.pad(x, (*left_right, *top_bottom)))


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after a side of `size` pixels."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Layers:
    """Makes the convs of one net: its padding and normalisation are the same everywhere."""

    def __init__(self, padding: str, norm: str) -> None:
        self.padding = padding
        self.norm = norm

    def conv(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """Return a conv; at stride 1 both paddings are equal."""
        bias = self.norm == "none"
        if stride > 1 and self.padding == "same":
            return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=bias)
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)

    def normed(self, channels: int) -> nn.Module:
        """Return what follows a conv."""
        return nn.BatchNorm2d(channels) if self.norm == "bn" else nn.Identity()

    def active(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
        """Return a conv with normalisation and ReLU6."""
        return nn.Sequential(
            self.conv(inputs, outputs, kernel, stride, groups), self.normed(outputs), nn.ReLU6(inplace=True)
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; with a shortcut where shapes allow."""

    def __init__(self, layers: Layers, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [layers.active(inputs, inner)] if expansion > 1 else []
        depthwise = layers.active(inner, inner, 3, stride, groups=inner)
        self.conv = nn.Sequential(*expand, depthwise, layers.conv(inner, outputs), layers.normed(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, I, H, W] to [B, O, H / stride, W / stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV2(nn.Module):
    """MobileNetV2 as a backbone: images to the maps at 1/4, 1/8, 1/16 and 1/32 of their side.

    `frozen_stages`: -1 trains all, 0 freezes the layers up to 1/2, n also the first n maps.
    """

    def __init__(
        self, padding: str = "symmetric", norm: str = "bn", norm_eval: bool = True, frozen_stages: int = -1
    ) -> None:
        super().__init__()
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        layers = Layers(padding, norm)
        self.features = nn.Sequential(layers.active(3, STEM, 3, 2), *_blocks(layers))
        self._freeze()

    def init_weights(self) -> None:
        """Draw convs from He's normal distribution (fan out); biases are zero, batch norm is the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images [B, 3, H, W] into maps [B, C, H / stride, W / stride], strides 4, 8, 16, 32."""
        x = self.features[: STAGE_ENDS[0]](images)
        maps = []
        for start, end in pairwise(STAGE_ENDS):
            x = self.features[start:end](x)
            maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> "MobileNetV2":
        """Set the mode; frozen stages and, with `norm_eval`, all batch norms stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = self.features[: STAGE_ENDS[self.frozen_stages]]
        frozen.eval()
        frozen.requires_grad_(False)


def _blocks(layers: Layers) -> Iterator[InvertedResidual]:
    inputs = STEM
    for expansion, outputs, count, stride in ROWS:
        for i in range(count):
            yield InvertedResidual(layers, inputs, outputs, stride if i == 0 else 1, expansion)
            inputs = outputs


# ---------------------------------------------------------------- published weights


def mobilenet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map torchvision's or timm's weights, or TensorFlow's quantised ones (`NN.q`, ...), to the module's state."""
    if "00.q" in state:
        return dequantised_state(state)
    bare = bare_state(state)
    if "conv_stem.weight" in bare:
        bare = _timm_names(bare)
    return {key: value for key, value in bare.items() if not key.startswith(f"features.{DEPTH}.")}


def dequantised_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn quantised layers into convs' weights and biases: weight = (q - zero point) * scale.

    Layer NN has `NN.q` uint8 [O, H, W, I], depthwise [1, H, W, C], `NN.scale`, `NN.zp` and `NN.bias` [O]; batch norm is
    folded in. The layers beyond the last projection (head and classifier) are left out.
    """
    found = {}
    for index, name in enumerate(_conv_names()):
        q, scale, zero = (state[f"{index:02d}.{part}"] for part in ("q", "scale", "zp"))
        weight = (q.to(torch.float32) - zero.to(torch.float32)) * scale.to(torch.float32)
        depthwise = weight.shape[0] == 1
        found[f"{name}.weight"] = weight.permute((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)).contiguous()
        found[f"{name}.bias"] = state[f"{index:02d}.bias"].to(torch.float32)
    return found


def _conv_names() -> Iterator[str]:
    """Yield the names of the 51 convs in the order of execution."""
    yield "features.0.0"
    yield from ("features.1.conv.0.0", "features.1.conv.1")
    for i in range(2, DEPTH):
        yield from (f"features.{i}.conv.0.0", f"features.{i}.conv.1.0", f"features.{i}.conv.2")


TIMM_FIRST = {"conv_dw": "conv.0.0", "bn1": "conv.0.1", "conv_pw": "conv.1", "bn2": "conv.2"}
TIMM_LATER = {
    "conv_pw": "conv.0.0",
    "bn1": "conv.0.1",
    "conv_dw": "conv.1.0",
    "bn2": "conv.1.1",
    "conv_pwl": "conv.2",
    "bn3": "conv.3",
}


def _timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    starts = [1]
    for _, _, count, _ in ROWS:
        starts.append(starts[-1] + count)
    found = {}
    for key, value in state.items():
        block = re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(\w+)$", key)
        if block:
            number = starts[int(block[1])] + int(block[2])
            layer = (TIMM_FIRST if number == 1 else TIMM_LATER)[block[3]]
            found[f"features.{number}.{layer}.{block[4]}"] = value
        elif key.startswith(("conv_stem.", "bn1.")):
            found[key.replace("conv_stem.", "features.0.0.").replace("bn1.", "features.0.1.")] = value
    return found
