"""MobileNetV2 against timm, and TensorFlow's quantised weights against a plain numpy forward on photos."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg_backbones.builders import build_mobilenet_v2
from fineseg_backbones.mobilenet_v2 import MobileNetV2, SameConv2d, mobilenet_state
from fineseg_backbones.options import MobileNetV2Options

QUANTISED = "weights_mobilenet_v2_quant/mobilenet_v2_1.0_224_quant.npz"


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("norm", ["none", "bn"])
@pytest.mark.parametrize("size", [(64, 64), (65, 95)])
def test_forward(padding, norm, size) -> None:
    spec = build_mobilenet_v2(MobileNetV2Options(padding=padding, norm=norm))
    net = MODELS.build(ConfigDict(spec.config))
    net.init_weights()
    maps = net(torch.rand(1, 3, *size))
    for m, channels, stride in zip(maps, spec.channels, spec.strides, strict=True):
        assert m.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
    assert spec.channels == (24, 32, 96, 320)


def test_same_padding_by_hand() -> None:
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    even, odd = conv(torch.ones(1, 1, 4, 4)), conv(torch.ones(1, 1, 5, 5))
    # Even: windows start at 0 and 2, the padding lies right and below; odd: one pixel on either side.
    assert even[0, 0].tolist() == [[9, 6], [6, 4]]
    assert odd[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [64, 75])
def test_timm_weights_give_timm_features(padding, size) -> None:
    torch.manual_seed(0)
    pad_type = "same" if padding == "same" else ""
    peer = timm.create_model("mobilenetv2_100", features_only=True, out_indices=(1, 2, 3, 4), pad_type=pad_type)
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    peer.eval()
    net = MobileNetV2(padding, "bn").eval()
    net.load_state_dict(mobilenet_state({f"module.{k}": v for k, v in peer.state_dict().items()}))
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():
        for ours, theirs in zip(net(images), peer(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_torchvision_names_are_our_own() -> None:
    own = MobileNetV2().state_dict()
    file = {**own, "features.18.0.weight": torch.zeros(1), "classifier.1.weight": torch.zeros(1)}
    assert mobilenet_state(file).keys() == own.keys()


def test_what_is_unset_follows_the_weights() -> None:
    spec = build_mobilenet_v2(MobileNetV2Options(weights="tf.npz"))
    assert (spec.config["padding"], spec.config["norm"]) == ("same", "none")
    assert (spec.normalisation.mean[0], spec.normalisation.std[0], spec.normalisation.order) == (128, 128, "rgb")
    spec = build_mobilenet_v2(MobileNetV2Options(weights="torchvision.pth"))
    assert (spec.config["padding"], spec.config["norm"]) == ("symmetric", "bn")
    assert spec.normalisation.mean[0] == pytest.approx(123.675)


def test_frozen_stages() -> None:
    net = MobileNetV2(frozen_stages=1).train()
    frozen = {int(name.split(".")[1]) for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {0, 1, 2, 3}
    assert all(p.requires_grad for p in MobileNetV2(frozen_stages=-1).parameters())
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    free = MobileNetV2(norm_eval=False, frozen_stages=0).train()
    assert [free.features[i][1].training if i == 0 else free.features[i].conv[-1].training for i in (0, 2)] == [
        False,
        True,
    ]


def fit(net: nn.Module, lr: float, steps: int) -> list[float]:
    """Train towards a fixed random last map; return the losses."""
    torch.manual_seed(0)
    images, target = torch.rand(2, 3, 64, 64) * 2 - 1, torch.randn(2, 320, 2, 2)
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(net(images)[-1], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    return losses


def test_trains_without_batch_norm() -> None:
    torch.manual_seed(0)
    net = MobileNetV2("same", "none").train()
    net.init_weights()
    losses = fit(net, 0.01, 8)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


# ---------------------------------------------------------------- TensorFlow's weights on photos


class PlainForward:
    """The classifier in numpy, read off the file's own list of operations; maps are [C, H, W]."""

    def __init__(self, folder: Path) -> None:
        self.arrays = np.load(folder / "mobilenet_v2_1.0_224_quant.npz", allow_pickle=False)
        self.ops = json.loads((folder / "ops.json").read_text())

    def __call__(self, x: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the outputs of all blocks and the class scores [1001] of an image [3, H, W]."""
        blocks, last = [x], ""
        for op in self.ops:
            if op["op"] == "ADD":
                x = x + blocks[-2]
                blocks[-1] = x
            elif op["op"] == "AVERAGE_POOL_2D":
                x = x.mean(axis=(1, 2), keepdims=True)
            elif "CONV" in op["op"]:
                projection = last == "DEPTHWISE_CONV_2D"
                x = self.conv(x, op, linear=projection or op["index"] == 52)
                if projection:
                    blocks.append(x)
            last = op["op"]
        return blocks, x[:, 0, 0]

    def conv(self, x: np.ndarray, op: dict, linear: bool) -> np.ndarray:
        name, stride = f"{op['index']:02d}", op["stride"]
        q, scale, zero = (self.arrays[f"{name}.{part}"] for part in ("q", "scale", "zp"))
        kernel = (q.astype(np.float64) - zero) * scale  # [O, K, K, I], depthwise [1, K, K, C]
        side, (height, width) = kernel.shape[1], (-(-n // stride) for n in x.shape[1:])
        padding = [max((m - 1) * stride + side - n, 0) for m, n in zip((height, width), x.shape[1:], strict=True)]
        padded = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in padding)])
        out = 0.0
        for i in range(side):
            for j in range(side):
                window = padded[
                    :, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride
                ]
                weight = kernel[:, i, j]
                depthwise = op["op"] == "DEPTHWISE_CONV_2D"
                out = out + (weight[0][:, None, None] * window if depthwise else np.tensordot(weight, window, 1))
        out = out + self.arrays[f"{name}.bias"][:, None, None]
        return out if linear else np.clip(out, 0, 6)


@pytest.fixture(scope="module")
def plain(shared_data) -> PlainForward:
    return PlainForward((shared_data / QUANTISED).parent)


@pytest.fixture(scope="module")
def quantised(shared_data) -> nn.Module:
    spec = build_mobilenet_v2(MobileNetV2Options(weights=str(shared_data / QUANTISED)))
    with np.load(shared_data / QUANTISED, allow_pickle=False) as archive:
        file = {name: torch.from_numpy(np.array(archive[name])) for name in archive.files}
    net = MODELS.build(ConfigDict(spec.config))
    net.load_state_dict(spec.weights.map_state(file))
    return net.eval()


def photo(path: Path, size: int) -> np.ndarray:
    """Return a photo, resized, as the network's input [3, size, size]."""
    image = cv2.resize(cv2.imread(str(path)), (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]
    return (image.transpose(2, 0, 1).astype(np.float64) - 128) / 128


@pytest.mark.realdata
@pytest.mark.parametrize("size", [96, 75])
def test_quantised_weights_give_the_plain_forward_s_features(shared_data, plain, quantised, size) -> None:
    image = photo(sorted((shared_data / "furniture/images").glob("*.jpg"))[0], size)
    blocks, _ = plain(image)
    wanted = {block.shape[0]: block for block in blocks}  # the last block of each width
    with torch.no_grad():
        maps = quantised(torch.from_numpy(image[None]).float())
    for found in maps:
        np.testing.assert_allclose(found[0].numpy(), wanted[found.shape[1]], rtol=1e-3, atol=1e-3)


FURNITURE = re.compile(
    "studio couch|folding chair|dining table|quilt|desk|pedestal|four-poster|chest|cradle|barber chair|rocking chair|"
    "bookcase|bookshop|china cabinet|chiffonier|crib|entertainment center|file|medicine chest|wardrobe|throne|"
    "table lamp|lampshade|window shade|home theater|television|vase|pot,|bassinet|pillow|sliding door|shoji"
)


@pytest.mark.realdata
def test_photos_of_furniture_are_seen_as_such(shared_data, plain, quantised) -> None:
    labels = (shared_data / QUANTISED).with_name("imagenet_labels.txt").read_text().splitlines()
    paths = sorted((shared_data / "furniture/images").glob("*.jpg"))[::25]
    images = torch.from_numpy(np.stack([photo(path, 224) for path in paths])).float()
    with torch.no_grad():
        last = quantised(images)[-1].double().numpy()
    head, classifier = plain.ops[-5], plain.ops[-3]
    assert (head["index"], classifier["index"]) == (51, 52)
    hits = 0
    for features in last:
        pooled = plain.conv(features, head, linear=False).mean(axis=(1, 2), keepdims=True)
        scores = plain.conv(pooled, classifier, linear=True)[:, 0, 0]
        first = [labels[i] for i in np.argsort(-scores)[:3]]
        hits += any(FURNITURE.match(label) for label in first)
    assert hits / len(paths) > 0.75


@pytest.mark.realdata
def test_quantised_weights_can_be_trained_further(shared_data, quantised) -> None:
    net = MobileNetV2("same", "none", frozen_stages=1)
    net.load_state_dict(quantised.state_dict())
    losses = fit(net.train(), 0.01, 8)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
