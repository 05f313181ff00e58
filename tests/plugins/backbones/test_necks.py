"""Necks: shapes for every backbone, BFP against plain loops, NAS-FPN at odd sizes."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg import BackboneSpec, FinesegError
from fineseg_backbones.bfp import BFP
from fineseg_backbones.neck_builders import build_fpn, build_fpn_bfp, build_nas_fpn
from fineseg_backbones.neck_options import FPNBFPOptions, FPNOptions, NASFPNOptions

BACKBONE = BackboneSpec({}, channels=(8, 16, 24, 40), strides=(4, 8, 16, 32))

VARIANTS = {
    "fpn": (build_fpn, FPNOptions(channels=16)),
    "fpn-4": (build_fpn, FPNOptions(channels=16, outputs=4)),
    "fpn-6-bn": (build_fpn, FPNOptions(channels=16, outputs=6, norm="bn")),
    "fpn-gn": (build_fpn, FPNOptions(channels=24, norm="gn")),
    "fpn-gap-bn": (build_fpn, FPNOptions(channels=16, norm="bn", gap=True)),
    "bfp": (build_fpn_bfp, FPNBFPOptions(channels=16)),
    "bfp-gap": (build_fpn_bfp, FPNBFPOptions(channels=16, gap=True)),
    "bfp-none": (build_fpn_bfp, FPNBFPOptions(channels=16, refine="none", refine_level=0)),
    "bfp-conv": (build_fpn_bfp, FPNBFPOptions(channels=16, refine="conv", refine_level=4)),
    "bfp-two-non-locals": (build_fpn_bfp, FPNBFPOptions(channels=16, non_locals=2)),
    "bfp-two-modules": (build_fpn_bfp, FPNBFPOptions(channels=16, modules=2)),
    "nas-fpn": (build_nas_fpn, NASFPNOptions(channels=16, stacks=2)),
    "nas-fpn-gn": (build_nas_fpn, NASFPNOptions(channels=16, stacks=1, norm="gn")),
    "nas-fpn-plain": (build_nas_fpn, NASFPNOptions(channels=16, stacks=1, norm="none")),
}


def backbone_maps(height: int, width: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(
        torch.randn(2, channels, math.ceil(height / stride), math.ceil(width / stride))
        for channels, stride in zip(BACKBONE.channels, BACKBONE.strides, strict=True)
    )


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_and_backward(variant, size) -> None:
    build, options = VARIANTS[variant]
    spec = build(options, BACKBONE)
    config = spec.config if isinstance(spec.config, list) else ConfigDict(spec.config)
    neck = MODELS.build(config)
    neck.init_weights()
    levels = neck(backbone_maps(*size))
    assert spec.strides == (4, 8, 16, 32, 64, 128)[: len(levels)]
    for level, stride in zip(levels, spec.strides, strict=True):
        assert level.shape == (2, spec.channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    sum(level.square().mean() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


def test_last_level_is_every_second_pixel() -> None:
    neck = MODELS.build(ConfigDict(build_fpn(FPNOptions(channels=16), BACKBONE).config))
    levels = neck(backbone_maps(160, 160))
    torch.testing.assert_close(levels[4], levels[3][:, :, ::2, ::2])


def test_gap_adds_a_linear_layer_of_the_mean_at_the_top() -> None:
    torch.manual_seed(0)
    options = FPNOptions(channels=16, gap=True)
    neck = MODELS.build(ConfigDict(build_fpn(options, BACKBONE).config))
    neck.init_weights()
    plain = MODELS.build(ConfigDict(build_fpn(FPNOptions(channels=16), BACKBONE).config))
    missing, unexpected = plain.load_state_dict(neck.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["lateral_convs.3.glance.weight", "lateral_convs.3.glance.bias"])
    maps = backbone_maps(64, 96)
    glance = neck.lateral_convs[3].glance
    nn.init.normal_(glance.bias)
    with torch.no_grad():
        means = maps[3].numpy().reshape(2, 40, -1).mean(axis=2)
        added = torch.from_numpy(means @ glance.weight.numpy().T + glance.bias.numpy())
        # The same at every pixel of the coarsest level, so the top-down pass carries it to all: as an extra bias would.
        for i, image in enumerate(added):
            plain.lateral_convs[3].conv.bias.copy_(neck.lateral_convs[3].conv.bias + image)
            wanted = plain(tuple(m[i : i + 1] for m in maps))
            for ours, theirs in zip(neck(maps), wanted, strict=True):
                torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-4, atol=1e-5)


def test_too_few_levels() -> None:
    with pytest.raises(FinesegError, match="outputs is 3, but the backbone has 4 maps: outputs = 4 or more"):
        build_fpn(FPNOptions(outputs=3), BACKBONE)


def test_too_many_maps() -> None:
    six = BackboneSpec({}, channels=(8,) * 6, strides=(2, 4, 8, 16, 32, 64))
    with pytest.raises(FinesegError, match="nas-fpn has 5 levels, but the backbone has 6 maps"):
        build_nas_fpn(NASFPNOptions(), six)


# ---------------------------------------------------------------- BFP in plain loops


def resized(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize [C, H, W]: the largest of each cell when shrinking, the nearest when growing."""
    channels, rows, columns = x.shape
    out = np.empty((channels, height, width))
    for i, j in itertools.product(range(height), range(width)):
        if rows >= height:
            top, bottom = i * rows // height, -(-(i + 1) * rows // height)
            left, right = j * columns // width, -(-(j + 1) * columns // width)
            out[:, i, j] = x[:, top:bottom, left:right].max(axis=(1, 2))
        else:
            out[:, i, j] = x[:, i * rows // height, j * columns // width]
    return out


def non_local(x: np.ndarray, block: nn.Module) -> np.ndarray:
    """Embedded-Gaussian non-local block (arXiv 1711.07971, equations 1 and 4), position by position."""
    channels, rows, columns = x.shape

    def linear(name: str, vector: np.ndarray) -> np.ndarray:
        conv = getattr(block, name).conv
        return conv.weight.detach().double().numpy()[:, :, 0, 0] @ vector + conv.bias.detach().double().numpy()

    points = [x[:, i, j] for i in range(rows) for j in range(columns)]
    theta, phi, g = ([linear(name, point) for point in points] for name in ("theta", "phi", "g"))
    out = np.empty((channels, len(points)))
    for i, point in enumerate(points):
        affinity = np.exp([theta[i] @ key for key in phi])
        mixed = sum(a * value for a, value in zip(affinity, g, strict=True)) / affinity.sum()
        out[:, i] = point + linear("conv_out", mixed)
    return out.reshape(channels, rows, columns)


def balanced(levels: list[np.ndarray], bfp: BFP) -> list[np.ndarray]:
    """BFP (arXiv 1904.02701, section 3.2) of one image."""
    size = levels[bfp.refine_level].shape[1:]
    mean = sum(resized(level, *size) for level in levels) / len(levels)
    for block in bfp.refine if bfp.refine_type else ():
        mean = non_local(mean, block)
    return [level + resized(mean, *level.shape[1:]) for level in levels]


@pytest.mark.parametrize("refine", [("none", 1), ("non-local", 1), ("non-local", 2)])
@pytest.mark.parametrize("level", [0, 2, 4])
def test_bfp_is_the_plain_loop(refine, level) -> None:
    torch.manual_seed(0)
    bfp = BFP(6, 5, level, refine=refine[0], non_locals=refine[1])
    bfp.init_weights()
    for parameter in bfp.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0, 0.1)
    levels = [torch.randn(1, 6, 2 ** (4 - i), 3 * 2 ** (4 - i) // 2 or 1) for i in range(5)]
    with torch.no_grad():
        found = bfp(tuple(levels))
    wanted = balanced([x[0].double().numpy() for x in levels], bfp)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-4, atol=1e-4)


def test_two_non_locals_run_one_after_the_other() -> None:
    torch.manual_seed(0)
    bfp = BFP(6, 5, non_locals=2)
    bfp.init_weights()
    first, second = bfp.refine
    assert first is not second
    x = torch.randn(1, 6, 3, 3)
    torch.testing.assert_close(bfp.refine(x), second(first(x)))
    assert not torch.allclose(bfp.refine(x), first(x))


def test_non_locals_start_from_xavier_throughout() -> None:
    bfp = BFP(32, 5)
    bfp.init_weights()
    bound = math.sqrt(6 / 64)
    for name, parameter in bfp.named_parameters():
        if name.endswith("weight"):
            assert bound * 0.9 < float(parameter.detach().abs().max()) <= bound, name


def test_two_modules_follow_each_other() -> None:
    spec = build_fpn_bfp(FPNBFPOptions(channels=16, modules=2), BACKBONE)
    assert [stage["type"].__name__ for stage in spec.config] == ["FPN", "BFP", "BFP"]
