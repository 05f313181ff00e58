"""Backbone and neck: mmdet's and timm's nets with the same weights, recomputed blocks, and what goes together."""

from collections.abc import Iterator

import pytest
import timm
import torch
from mmdet.models.backbones import HRNet as StockHRNet
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg import BackboneSpec, FinesegError
from fineseg.mm.weights import load_backbone, load_state
from fineseg_semantic.builders import concat, hrnet
from fineseg_semantic.hrnet import STAGE1, HRNet
from fineseg_semantic.options import HRNetOptions

SMALL = {"width": 4, "modules": (1, 2, 1), "blocks": 2}


def build(**options: object) -> HRNet:
    made = MODELS.build(ConfigDict(hrnet(HRNetOptions(**{**SMALL, **options})).config))
    assert isinstance(made, HRNet)
    return made


def randomise(net: nn.Module, seed: int = 0) -> None:
    """Give convs and batch norms, running statistics too, values of which none is zero or one."""
    torch.manual_seed(seed)
    for key, value in net.state_dict().items():
        if key.endswith(("running_var", "weight")) and value.ndim == 1:
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(0, 0.3)
        elif value.ndim == 4:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)


def stock() -> StockHRNet:
    def stage(modules: int, branches: int, block: str, width: int) -> dict[str, object]:
        widths = tuple(width * 2**i for i in range(branches))
        return {
            "num_modules": modules,
            "num_branches": branches,
            "block": block,
            "num_blocks": (2,) * branches,
            "num_channels": widths,
        }

    net = StockHRNet(
        {
            "stage1": stage(1, 1, "BOTTLENECK", 64),
            "stage2": stage(1, 2, "BASIC", 4),
            "stage3": stage(2, 3, "BASIC", 4),
            "stage4": stage(1, 4, "BASIC", 4),
        }
    )
    randomise(net)
    net.eval()  # returns nothing
    return net


@torch.no_grad()
def test_branches_are_those_of_mmdet_and_stage_1_comes_first() -> None:
    peer, net = stock(), build().eval()
    assert list(net.state_dict()) == list(peer.state_dict())
    net.load_state_dict(peer.state_dict())
    seen: list[Tensor] = []
    peer.layer1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 64, 96)
    wanted = peer(images)
    found = net(images)
    assert len(found) == 5 and len(wanted) == 4
    for mine, theirs in zip(found, (*seen, *wanted), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_maps_are_as_wide_and_large_as_the_spec_says() -> None:
    spec = hrnet(HRNetOptions(**SMALL))
    maps = build()(torch.randn(1, 3, 64, 96))
    assert [each.shape[1] for each in maps] == list(spec.channels)
    assert [(64 // each.shape[2], 96 // each.shape[3]) for each in maps] == [(s, s) for s in spec.strides]
    assert hrnet(HRNetOptions()).channels == (256, 48, 96, 192, 384)


def test_recomputed_blocks_change_nothing() -> None:
    images = torch.randn(2, 3, 64, 64)
    results = []
    for checkpointing in (False, True):
        net = build(norm_eval=False, checkpointing=checkpointing)
        randomise(net)
        net.train()
        maps = net(images)
        sum((each * each).mean() for each in maps).backward()
        gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
        statistics = {name: value for name, value in net.named_buffers() if "num_batches" not in name}
        results.append((dict(enumerate(maps)), gradients, statistics))
    for plain, recomputed in zip(*results, strict=True):
        assert plain.keys() == recomputed.keys()
        for name in plain:
            torch.testing.assert_close(plain[name], recomputed[name], msg=str(name))
    assert all(gradient.abs().sum() > 0 for gradient in results[1][1].values())


def norms(net: nn.Module) -> Iterator[nn.Module]:
    return (each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm))


def test_batch_norm() -> None:
    fixed, free = build().train(), build(norm_eval=False, norm="sync-bn").train()
    assert not any(each.training for each in norms(fixed))
    assert all(each.training for each in norms(free))
    assert {type(each) for each in norms(free)} == {nn.SyncBatchNorm}
    assert list(fixed.state_dict()) == list(free.state_dict())


# ----------------------------------------------------------- published weights


@pytest.mark.parametrize("width", [18, 32, 48])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_published_tensor_finds_its_place(width: int, prefix: str) -> None:
    """timm's names are the authors', which open-mmlab kept."""
    spec = hrnet(HRNetOptions(width=width, weights="w.pth"))
    with torch.device("meta"):
        peer, net = timm.create_model(f"hrnet_w{width}"), MODELS.build(ConfigDict(spec.config))
    assert spec.weights is not None
    mapped = spec.weights.map_state({prefix + key: value for key, value in peer.state_dict().items()})
    assert load_state(net, mapped, "w") == []
    assert len(mapped) == len(net.state_dict()) < len(peer.state_dict())


@torch.no_grad()
def test_published_weights_compute_what_they_did_there(tmp_path) -> None:
    peer = timm.create_model("hrnet_w18")
    randomise(peer)
    peer.eval()
    torch.save({"state_dict": peer.state_dict()}, tmp_path / "w.pth")
    spec = hrnet(HRNetOptions(width=18, weights=str(tmp_path / "w.pth")))
    net = MODELS.build(ConfigDict(spec.config)).eval()
    assert spec.weights is not None and load_backbone(net, spec.weights, tmp_path) == []
    images = torch.randn(1, 3, 64, 64)
    first = peer.layer1(peer.act2(peer.bn2(peer.conv2(peer.act1(peer.bn1(peer.conv1(images)))))))
    wanted = [first, *peer.stages(peer.act2(peer.bn2(peer.conv2(peer.act1(peer.bn1(peer.conv1(images)))))))]
    for mine, theirs in zip(net(images), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


# ------------------------------------------------------------------------ neck


def test_neck_lays_maps_side_by_side() -> None:
    spec = concat(hrnet(HRNetOptions(**SMALL)))
    maps = build()(torch.randn(2, 3, 64, 96))
    (joined,) = MODELS.build(ConfigDict(spec.config))(maps)
    assert joined.shape == (2, spec.channels, 16, 24) and spec.strides == (4,)
    start = 0
    for each in maps:
        large = F.interpolate(each, size=(16, 24), mode="bilinear", align_corners=False)
        torch.testing.assert_close(joined[:, start : start + each.shape[1]], large)
        start += each.shape[1]
    assert start == spec.channels == STAGE1 + 15 * 4
    assert concat(hrnet(HRNetOptions())).channels == 256 + 720


@pytest.mark.parametrize(("channels", "strides"), [((64, 128), (4, 8)), ((256, 512), (8, 16))])
def test_neck_wants_the_detail_of_an_hrnet(channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    said = rf"a map of 256 channels at 1/4 .*first has {channels[0]} at 1/{strides[0]}: use backbone 'hrnet'"
    with pytest.raises(FinesegError, match=said):
        concat(BackboneSpec({}, channels, strides))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 0}, "greater than 0"),
        ({"modules": [1, 4]}, "Field required"),
        ({"weights": "open-mmlab://msra/hrnetv2_w48"}, "a file path or an http(s) address, not open-mmlab://"),
        ({"norm": "gn"}, "Input should be 'bn' or 'sync-bn'"),
    ],
)
def test_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HRNetOptions(**given)
    assert said in str(caught.value)


def test_weights_can_be_taken_away() -> None:
    assert HRNetOptions(weights="none").weights is None
