"""A backbone and a neck as small as can be, that heads are checked on; and the losses of one step of training.

Letters: B images, H and W sides of the network's input; W' and so on as the classes say.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg import __version__
from fineseg.catalog import Catalog, Entry
from fineseg.parts import Backbone, BackboneSpec, Neck, NeckSpec, NoOptions

CHANNELS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)
WIDTH = 32
PYRAMID = (*STRIDES, 64)


class TinyBackbone(nn.Module):
    """Four convolutions: images [B, 3, H, W] to maps of `CHANNELS` at 1/4 to 1/32 of their sides."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        steps = (4, 2, 2, 2)
        self.stages = nn.ModuleList(
            nn.Conv2d(before, after, step + 1, stride=step, padding=step // 2)
            for before, after, step in zip(widths[:-1], widths[1:], steps, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        maps = []
        for stage in self.stages:
            images = stage(images).relu()
            maps.append(images)
        return tuple(maps)


class NotedLoss(nn.Module):
    """A loss for any slot, that notes what it is called with; logits learn to be 0."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor]] = []

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the logits' mean square."""
        logits.retain_grad()
        self.calls.append((logits, truth))
        return logits.square().sum() / max(logits.numel(), 1)


class TinyNeck(nn.Module):
    """A feature pyramid: five maps `WIDTH` wide, each told of the coarser ones."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in CHANNELS)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps, finest first; the last is every second pixel of the one before."""
        levels = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)]
        for fine in range(len(levels) - 2, -1, -1):
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], size=levels[fine].shape[-2:])
        return (*levels, levels[-1][..., ::2, ::2])


def _backbone(_: Any) -> BackboneSpec:
    return BackboneSpec({"type": TinyBackbone}, CHANNELS, STRIDES)


def _neck(*_: Any) -> NeckSpec:
    return NeckSpec({"type": TinyNeck}, WIDTH, PYRAMID)


BACKBONE, NECK = (
    Entry(part, "testing", "fineseg", __version__)
    for part in (
        Backbone("fineseg.testing-backbone", "four convolutions", NoOptions, _backbone),
        Neck("fineseg.testing-neck", "a small feature pyramid", NoOptions, _neck),
    )
)


def with_tiny(catalog: Catalog) -> Catalog:
    """Return a catalog that has the tiny backbone and neck too."""
    return Catalog((*catalog.entries, BACKBONE, NECK), catalog.broken, catalog.disabled)


def step_losses(module: Any, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Return the losses of one step of training on mmdet samples, the total of them as `loss`, all scalars."""
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    data = module.data_preprocessor(batch, training=True)
    _, logs = module.parse_losses(module(**data, mode="loss"))
    found: dict[str, Tensor] = dict(logs)
    return found


def gradient_faults(module: nn.Module, untrained: Sequence[str]) -> list[str]:
    """Return which trainable parameters no gradient has reached, or one that is not finite."""
    faults = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad or any(name.startswith(beginning) for beginning in untrained):
            continue
        if parameter.grad is None:
            faults.append(f"no gradient reaches {name}")
        elif not torch.isfinite(parameter.grad).all():
            faults.append(f"the gradient of {name} is not finite")
    return faults
