"""ImageNet weights as others publish them, full size: every tensor finds its place, or is named."""

from pathlib import Path

import mmdet.models.backbones as stock
import pytest
import timm
import torch
import torchvision
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg.mm.weights import load_backbone, load_state
from fineseg_backbones.builders import build_res2net, build_resnext
from fineseg_backbones.options import Res2NetOptions, ResNeXtOptions

RESNEXT = (build_resnext, ResNeXtOptions(weights="w.pth"))
RES2NET = (build_res2net, Res2NetOptions(weights="w.pth"))
STOCK_RES2NET = {"depth": 101, "scales": 4, "base_width": 26}
STOCK_RESNEXT = {"depth": 101, "groups": 64, "base_width": 4}


def authors_res2net() -> nn.Module:
    """Return timm's net, whose names are the authors'."""
    return timm.create_model("res2net101d")


PUBLISHED = {
    "timm resnext101_64x4d": (lambda: timm.create_model("resnext101_64x4d"), RESNEXT, "fc."),
    "torchvision resnext101_64x4d": (torchvision.models.resnext101_64x4d, RESNEXT, "fc."),
    "open-mmlab://resnext101_64x4d": (lambda: stock.ResNeXt(**STOCK_RESNEXT), RESNEXT, "none"),
    "res2net101_v1b_26w_4s of the authors": (authors_res2net, RES2NET, "fc."),
    "open-mmlab://res2net101_v1d_26w_4s": (lambda: stock.Res2Net(**STOCK_RES2NET), RES2NET, "none"),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_tensor_finds_its_place(name: str, prefix: str) -> None:
    make, (build, options), classifier = PUBLISHED[name]
    with torch.device("meta"):
        peer, net = make(), MODELS.build(ConfigDict(build(options).config))
    file = {prefix + key: value for key, value in peer.state_dict().items()}
    mapped = build(options).weights.map_state(file)
    assert {key: value.shape for key, value in mapped.items()} == {k: v.shape for k, v in net.state_dict().items()}
    assert len(file) - len(mapped) == sum(key.startswith(prefix + classifier) for key in file)
    assert load_state(net, mapped, name) == []


def test_a_res2net_with_a_plain_stem_is_named_where_it_differs() -> None:
    """timm's res2net101_26w_4s is the first version: a 7x7 in the stem, and a strided 1x1 in the shortcuts."""
    build, options = RES2NET
    with torch.device("meta"):
        peer, net = timm.create_model("res2net101_26w_4s"), MODELS.build(ConfigDict(build(options).config))
    notes = load_state(net, build(options).weights.map_state(peer.state_dict()), "r")
    named = {note.split(":")[0] for note in notes}
    assert {name for name in named if "downsample" not in name and not name.startswith("stem.")} == {
        "conv1.weight",
        *(f"bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    }
    own = {key for key in net.state_dict() if "num_batches_tracked" not in key}
    assert {key for key in own if key.startswith("stem.")} <= named
    assert {key for key in own if ".downsample." in key} <= named


def test_full_size_weights_compute_what_they_did_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    peer = timm.create_model("resnext101_64x4d", features_only=False).eval()
    torch.save({"state_dict": peer.state_dict(), "arch": "resnext101_64x4d"}, tmp_path / "w.pth")
    spec = build_resnext(ResNeXtOptions(weights=str(tmp_path / "w.pth")))
    net = MODELS.build(ConfigDict(spec.config)).eval()
    assert spec.weights is not None and load_backbone(net, spec.weights, tmp_path) == []
    x = images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = peer.maxpool(peer.act1(peer.bn1(peer.conv1(x))))
        for ours, layer in zip(net(images), (peer.layer1, peer.layer2, peer.layer3, peer.layer4), strict=True):
            x = layer(x)
            torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))
