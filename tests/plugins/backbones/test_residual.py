"""ResNet, ResNeXt and Res2Net against timm, and what they add to mmdet's."""

import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg import FinesegError
from fineseg_backbones.builders import build_res2net, build_resnet, build_resnext
from fineseg_backbones.options import Res2NetOptions, ResNetOptions, ResNeXtOptions

SMALL = {"base_channels": 16, "stage_blocks": (1, 1, 1, 1)}
SMALL_NEXT = {**SMALL, "depth": 50, "groups": 4, "base_width": 4}
SMALL_RES2 = {**SMALL, "depth": 50, "base_width": 6}

VARIANTS = {
    "resnet18": (build_resnet, ResNetOptions(depth=18, base_channels=16)),
    "resnet50": (build_resnet, ResNetOptions(**SMALL)),
    "resnet50-gn": (build_resnet, ResNetOptions(**SMALL, norm="gn")),
    "resnet50-sync-bn": (build_resnet, ResNetOptions(**SMALL, norm="sync-bn")),
    "resnet50d-gc": (build_resnet, ResNetOptions(**SMALL, deep_stem=True, avg_down=True, gc_block=True)),
    "resnet50d-gn": (build_resnet, ResNetOptions(**SMALL, deep_stem=True, norm="gn")),
    "resnet50-dcn-v1": (build_resnet, ResNetOptions(**SMALL, dcn="v1")),
    "resnet50-dcn-v2": (build_resnet, ResNetOptions(**SMALL, dcn="v2", dcn_stages=(True, True, True, True))),
    "resnext": (build_resnext, ResNeXtOptions(**SMALL_NEXT)),
    "resnext-gn": (build_resnext, ResNeXtOptions(**SMALL_NEXT, norm="gn")),
    "resnext-dcn-gc": (build_resnext, ResNeXtOptions(**SMALL_NEXT, dcn="v1", gc_block=True, checkpointing=True)),
    "resnext-dcn-v2": (build_resnext, ResNeXtOptions(**SMALL_NEXT, dcn="v2")),
    "res2net": (build_res2net, Res2NetOptions(**SMALL_RES2)),
    "res2net-gn": (build_res2net, Res2NetOptions(**SMALL_RES2, norm="gn")),
    "res2net-dcn-gc": (build_res2net, Res2NetOptions(**SMALL_RES2, dcn="v1", gc_block=True, checkpointing=True)),
    "res2net-dcn-v2": (build_res2net, Res2NetOptions(**SMALL_RES2, dcn="v2", scales=3)),
}


def built(build, options) -> nn.Module:
    torch.manual_seed(0)
    net = MODELS.build(ConfigDict(build(options).config))
    net.init_weights()
    return net


def scramble(net: nn.Module) -> nn.Module:
    """Give all normalisation layers statistics and parameters that are neither zero nor one."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_and_backward(variant) -> None:
    build, options = VARIANTS[variant]
    spec = build(options)
    net = built(build, options).train()
    maps = net(torch.rand(2, 3, 64, 64))
    assert tuple(m.shape[1] for m in maps) == spec.channels
    assert tuple(64 // m.shape[2] for m in maps) == spec.strides == (4, 8, 16, 32)
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert spec.channels[0] == 16 * (4 if options.bottleneck else 1)


# ---------------------------------------------------------------- against timm


def timm_maps(net: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    x = net.maxpool(net.act1(net.bn1(net.conv1(images))))
    maps = []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = layer(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("resnet18", build_resnet, ResNetOptions(depth=18, weights="a.pth")),
        ("resnet50d", build_resnet, ResNetOptions(depth=50, deep_stem=True, avg_down=True, weights="a.pth")),
        ("resnext50_32x4d", build_resnext, ResNeXtOptions(depth=50, groups=32, weights="a.pth")),
        ("res2net50d", build_res2net, Res2NetOptions(depth=50, weights="a.pth")),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_timm_weights_give_timm_features(name, build, options, prefix) -> None:
    torch.manual_seed(0)
    peer = scramble(timm.create_model(name)).eval()
    spec = build(options)
    assert spec.weights is not None
    file = {prefix + key: value for key, value in peer.state_dict().items()} | {"neck.weight": torch.zeros(1)}
    state = spec.weights.map_state(file) if prefix else spec.weights.map_state(peer.state_dict())
    net = MODELS.build(ConfigDict(spec.config)).eval()
    net.load_state_dict(state)
    images = torch.rand(1, 3, 75, 64)
    with torch.no_grad():
        for ours, theirs in zip(net(images), timm_maps(peer, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("resnext101_64x4d", build_resnext, ResNeXtOptions()),
        ("res2net101d", build_res2net, Res2NetOptions()),
        ("resnet152", build_resnet, ResNetOptions(depth=152)),
    ],
)
def test_full_size_has_timm_s_parameters(name, build, options) -> None:
    with torch.device("meta"):
        peer = timm.create_model(name, num_classes=0)
        ours = MODELS.build(ConfigDict(build(options).config))
    assert parameters(ours) == parameters(peer)


def test_full_size_deformable_adds_only_offsets() -> None:
    with torch.device("meta"):
        plain = MODELS.build(ConfigDict(build_resnext(ResNeXtOptions()).config))
        deformable = MODELS.build(ConfigDict(build_resnext(ResNeXtOptions(dcn="v1")).config))
    widths = {512: 4, 1024: 23, 2048: 3}  # of the 3x3 in c3, c4, c5, and how many there are
    offsets = sum(count * (width * 9 * 18 + 18) for width, count in widths.items())
    assert parameters(deformable) - parameters(plain) == offsets


# ---------------------------------------------------------------- deformable convs and context blocks


@pytest.mark.parametrize(
    ("build", "options", "small"),
    [
        (build_resnet, ResNetOptions, SMALL),
        (build_resnext, ResNeXtOptions, SMALL_NEXT),
        (build_res2net, Res2NetOptions, SMALL_RES2),
    ],
)
@pytest.mark.parametrize("added", [{"dcn": "v1"}, {"gc_block": True}])
def test_added_modules_start_by_changing_nothing(build, options, small, added) -> None:
    plain = scramble(built(build, options(**small))).eval()
    extended = built(build, options(**small, **added)).eval()
    missing, unexpected = extended.load_state_dict(plain.state_dict(), strict=False)
    assert missing and all("conv_offset" in key or "context_block" in key for key in missing)
    assert not unexpected
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(extended(images), plain(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_second_version_starts_at_half_the_conv() -> None:
    block = built(build_resnet, ResNetOptions(**SMALL, dcn="v2")).layer2[0]
    x = torch.rand(1, 32, 9, 9)
    plain = nn.functional.conv2d(x, block.conv2.weight, stride=2, padding=1)
    torch.testing.assert_close(block.conv2(x), plain / 2)


def test_deformable_stages() -> None:
    net = built(build_resnet, ResNetOptions(**SMALL, dcn="v1", dcn_stages=(False, False, True, False)))
    assert {name.split(".")[0] for name, _ in net.named_parameters() if "conv_offset" in name} == {"layer3"}


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("norm_eval", [True, False])
@pytest.mark.parametrize("variant", ["resnet50", "resnext", "res2net"])
def test_checkpointing_changes_nothing(variant, norm_eval) -> None:
    build, options = VARIANTS[variant]
    images = torch.rand(2, 3, 64, 64)
    gradients, statistics = [], []
    for checkpointing in (False, True):
        changed = options.model_copy(update={"checkpointing": checkpointing, "norm_eval": norm_eval})
        net = scramble(built(build, changed)).train()
        sum(m.square().mean() for m in net(images)).backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
        statistics.append({name: b for name, b in net.named_buffers() if "running" in name})
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(statistics[0], statistics[1])


def test_checkpointing_keeps_fewer_activations() -> None:
    kept = []
    for checkpointing in (False, True):
        net = built(build_resnet, ResNetOptions(**SMALL, checkpointing=checkpointing)).train()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            net(torch.rand(1, 3, 64, 64))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_frozen_stages_and_norms() -> None:
    net = built(build_resnet, ResNetOptions(**SMALL, frozen_stages=1, norm_trainable=False)).train()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("conv1", "bn1", "layer1")) or ".bn" in name for name in trained)
    assert any(name.startswith("layer2") for name in trained)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    free = built(build_resnet, ResNetOptions(**SMALL, norm_eval=False)).train()
    assert all(m.training for m in free.modules())


def test_weights_of_another_net_are_told_apart() -> None:
    from fineseg.mm.weights import load_state

    net = built(build_resnet, ResNetOptions(**SMALL))
    with pytest.raises(FinesegError, match="none of its 1 tensors fits"):
        load_state(net, build_resnet(ResNetOptions(weights="x.pth")).weights.map_state({"head.w": torch.zeros(1)}), "x")
