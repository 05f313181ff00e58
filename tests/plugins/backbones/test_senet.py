"""SENet-154 against timm, its parameters by hand, and what it adds: frozen stages and recomputed blocks."""

import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg_backbones.builders import build_senet
from fineseg_backbones.options import SENetOptions

SMALL = {"base_channels": 8, "groups": 4, "stage_blocks": (2, 2, 1, 1)}
LAYERS = ("layer1", "layer2", "layer3", "layer4")


def built(**options) -> nn.Module:
    torch.manual_seed(0)
    net = MODELS.build(ConfigDict(build_senet(SENetOptions(**options)).config))
    net.init_weights()
    return net


def scramble(net: nn.Module) -> nn.Module:
    """Give batch norm statistics and parameters that are neither zero nor one."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# ---------------------------------------------------------------- against timm


@pytest.fixture(scope="module")
def peer() -> nn.Module:
    torch.manual_seed(0)
    return scramble(timm.create_model("legacy_senet154")).eval()


@pytest.mark.parametrize(("prefix", "size"), [("", (75, 64)), ("module.", (32, 97))])
def test_published_names_give_timm_s_features(peer, prefix, size) -> None:
    spec = build_senet(SENetOptions(weights="a.pth"))
    assert spec.weights is not None
    state = spec.weights.map_state({prefix + key: value for key, value in peer.state_dict().items()})
    net = MODELS.build(ConfigDict(spec.config)).eval()
    net.load_state_dict(state)
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        x = peer.pool0(peer.layer0(images))
        for ours, name, channels in zip(net(images), LAYERS, spec.channels, strict=True):
            x = getattr(peer, name)(x)
            assert x.shape[1] == channels
            torch.testing.assert_close(ours, x, rtol=0, atol=1e-5 * float(x.abs().max()))


def by_hand() -> int:
    """Count the weights from the layout of the published net: (3, 8, 36, 3) blocks of p = 64, 128, 256, 512."""
    stem = 3 * 64 * 9 + 64 * 64 * 9 + 64 * 128 * 9 + 2 * (64 + 64 + 128)
    total, inputs = stem, 128
    for stage, count in enumerate((3, 8, 36, 3)):
        inner, outer = 2 * 64 * 2**stage, 4 * 64 * 2**stage
        shortcut = inputs * outer * (9 if stage else 1) + 2 * outer
        for _ in range(count):
            convs = inputs * inner + inner // 64 * outer * 9 + outer * outer
            gate = 2 * outer * (outer // 16) + outer // 16 + outer
            total += convs + 2 * (inner + 2 * outer) + gate
            inputs = outer
        total += shortcut
    return total


def test_full_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        ours = MODELS.build(ConfigDict(build_senet(SENetOptions()).config))
        theirs = timm.create_model("legacy_senet154")
    assert parameters(ours) == by_hand() == parameters(theirs) - (2048 * 1000 + 1000)
    assert parameters(ours) == 113_039_984
    assert parameters(theirs) == 115_088_984


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("norm_eval", [True, False])
@pytest.mark.parametrize("frozen", [-1, 1, 2])
def test_checkpointing_changes_nothing(frozen, norm_eval) -> None:
    images = torch.rand(2, 3, 64, 64)
    outcomes = []
    for checkpointing in (False, True):
        net = built(**SMALL, frozen_stages=frozen, norm_eval=norm_eval, checkpointing=checkpointing)
        scramble(net).double().train()
        maps = net(images.double())
        sum(m.square().mean() for m in maps).backward()
        gradients = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
        assert all(gradient is not None for gradient in gradients.values())
        statistics = {name: buffer for name, buffer in net.named_buffers() if "running" in name}
        outcomes.append((maps, gradients, statistics))
    torch.testing.assert_close(*outcomes, rtol=1e-6, atol=1e-9)


def test_checkpointing_keeps_fewer_activations() -> None:
    kept = []
    for checkpointing in (False, True):
        net = built(**SMALL | {"stage_blocks": (2, 2, 6, 2)}, checkpointing=checkpointing).train()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            net(torch.rand(1, 3, 64, 64))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize("frozen", [-1, 0, 1, 4])
def test_frozen_stages(frozen) -> None:
    net = built(**SMALL, frozen_stages=frozen, norm_eval=False).train()
    still = {f"layer{i}" for i in range(frozen + 1)}
    assert {name.split(".")[0] for name, p in net.named_parameters() if not p.requires_grad} == still
    assert {name.split(".")[0] for name, m in net.named_modules() if name and not m.training} == still


def test_norms() -> None:
    net = built(**SMALL, norm_trainable=False).train()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training or norm.weight.requires_grad or norm.bias.requires_grad for norm in norms)
    assert all(p.requires_grad for name, p in net.named_parameters() if "conv" in name or "fc" in name)
    free = built(**SMALL, norm_eval=False).train()
    assert all(module.training for module in free.modules())


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_small_variant(size) -> None:
    spec = build_senet(SENetOptions(**SMALL))
    maps = built(**SMALL).train()(torch.rand(2, 3, *size))
    assert spec.channels == (32, 64, 128, 256)
    for m, channels, stride in zip(maps, spec.channels, (4, 8, 16, 32), strict=True):
        assert m.shape == (2, channels, size[0] // stride, size[1] // stride)
