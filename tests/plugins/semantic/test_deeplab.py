"""ASPP, decoder and loss in plain sums and loops."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from e_ups_loops import bilinear, cross_entropy
from torch import Tensor, nn

from fineseg_semantic.deeplab import ASPP, DeepLabHead, separable

INPUTS, FIRST, CLASSES = 10, 4, 5
OPTIONS: dict[str, Any] = {"width": 6, "detail": 3, "rates": (2, 5), "norm": "bn", "full_resolution": True}


def randomise(module: nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for key, value in module.state_dict().items():
        if key.endswith(("running_var", "weight")) and value.ndim == 1:
            value.uniform_(0.5, 1.5)
        elif value.ndim:
            value.normal_(0, 0.5)


def head(**options: object) -> DeepLabHead:
    made = DeepLabHead(INPUTS, FIRST, CLASSES, **{**OPTIONS, **options})
    randomise(made)
    return made.eval()


# ----------------------------------------------- the layers, as sums over arrays


def plain_norm(norm: Any, x: np.ndarray) -> np.ndarray:
    mean, var, weight, bias = (
        each.detach().double().numpy()[None, :, None, None]
        for each in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + norm.eps) * weight + bias


def plain_point(conv: Any, x: np.ndarray) -> np.ndarray:
    found = np.einsum("oi,bihw->bohw", conv.weight.detach().double().numpy()[:, :, 0, 0], x)
    return found if conv.bias is None else found + conv.bias.detach().double().numpy()[None, :, None, None]


def plain_conv(layers: Any, x: np.ndarray) -> np.ndarray:
    return np.maximum(plain_norm(layers[1], plain_point(layers[0], x)), 0)


def plain_separable(layers: Any, rate: int, x: np.ndarray) -> np.ndarray:
    """Nine shifted copies of each channel, weighed; then as a 1x1."""
    height, width = x.shape[2:]
    wide = np.pad(x, ((0, 0), (0, 0), (rate, rate), (rate, rate)))
    weight = layers[0].weight.detach().double().numpy()
    found = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            shifted = wide[:, :, i * rate : i * rate + height, j * rate : j * rate + width]
            found += weight[None, :, 0, i, j, None, None] * shifted
    return plain_conv(layers[3:], np.maximum(plain_norm(layers[1], found), 0))


def plain_aspp(aspp: ASPP, rates: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    whole = np.maximum(plain_point(aspp.whole, x.mean(axis=(2, 3), keepdims=True)), 0)
    parts = [
        plain_conv(aspp.pixel, x),
        *(plain_separable(layers, rate, x) for layers, rate in zip(aspp.around, rates, strict=True)),
        np.broadcast_to(whole, (*whole.shape[:2], *x.shape[2:])),
    ]
    return plain_conv(aspp.joined, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("rate", [1, 3, 9])
def test_separable_conv(rate: int) -> None:
    layers = separable(4, 7, rate, "bn")
    randomise(layers)
    x = torch.randn(2, 4, 8, 11)
    wanted = plain_separable(layers, rate, x.double().numpy())
    np.testing.assert_allclose(layers.eval()(x).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rates", [(1,), (2, 5), (3, 6, 40)])
def test_aspp(rates: tuple[int, ...]) -> None:
    aspp = ASPP(4, 7, rates, "bn")
    randomise(aspp)
    x = torch.randn(2, 4, 8, 11)
    wanted = plain_aspp(aspp, rates, x.double().numpy())
    np.testing.assert_allclose(aspp.eval()(x).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_scores() -> None:
    """The first channels are the detail: they go round ASPP."""
    made, x = head(), torch.randn(2, INPUTS, 8, 11)
    array = x.double().numpy()
    context = plain_aspp(made.aspp, (2, 5), array[:, FIRST:])
    joined = np.concatenate([context, plain_conv(made.detail, array[:, :FIRST])], axis=1)
    decoded = plain_separable(made.decoder[1], 1, plain_separable(made.decoder[0], 1, joined))
    wanted = plain_point(made.score, decoded)
    np.testing.assert_allclose(made([x]).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_published_widths() -> None:
    """ASPP of 256 on HRNetV2-W48's 720 channels, stage 1 brought to 48, and a decoder of two 3x3 of 256."""
    with torch.device("meta"):
        full = DeepLabHead(256 + 720, 256, 133, 256, 48, (24, 48, 72), "bn", True)

    def conv(inputs: int, outputs: int) -> int:
        return inputs * outputs + 2 * outputs

    def apart(inputs: int, outputs: int) -> int:
        return 9 * inputs + 2 * inputs + conv(inputs, outputs)

    aspp = conv(720, 256) + 3 * apart(720, 256) + 720 * 256 + 256 + conv(5 * 256, 256)
    rest = conv(256, 48) + apart(304, 256) + apart(256, 256) + 256 * 133 + 133
    assert sum(p.numel() for p in full.parameters()) == aspp + rest


@pytest.mark.parametrize(
    ("norm", "kind"), [("bn", nn.BatchNorm2d), ("sync-bn", nn.SyncBatchNorm), ("gn", nn.GroupNorm)]
)
def test_a_step_of_one_image(norm: str, kind: type[nn.Module]) -> None:
    """Batch norm of the whole image's one number a channel would have no spread to divide by."""
    made = head(norm=norm).train()
    made.init_weights()
    loss = made.loss([torch.randn(1, INPUTS, 8, 11)], torch.randint(0, CLASSES, (1, 32, 44)))
    loss.backward()
    assert math.isfinite(loss) and all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    own = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm)
    assert {type(each) for each in made.modules() if isinstance(each, own)} == {kind}


def test_it_starts_undecided() -> None:
    made = head()
    made.init_weights()
    logits = made.train()([torch.randn(2, INPUTS, 8, 11)])
    assert logits.abs().max() < 0.5 and logits.std() > 0


# ------------------------------------------------------------------------ loss


def truth() -> Tensor:
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 2, 3, 4, 255], (2, 6, 7)).repeat(4, axis=1).repeat(4, axis=2)
    labels[:, 1::3, 2::5] = 2
    labels[1, 3:] = 255  # most of the second image
    return torch.from_numpy(labels)


@pytest.mark.parametrize("full", [True, False])
def test_loss_is_the_mean_of_the_pixels_that_count(full: bool) -> None:
    made, x, labels = head(full_resolution=full), torch.randn(2, INPUTS, 6, 7), truth()
    logits = made([x]).detach().double().numpy()
    entropies: list[float] = []
    for planes, each in zip(logits, labels.numpy(), strict=True):
        if full:
            entropies += cross_entropy(np.stack([bilinear(p, 24, 28) for p in planes]), each, ignored=255)
        else:
            entropies += cross_entropy(planes, each[::4, ::4], ignored=255)
    counted = labels if full else labels[:, ::4, ::4]
    assert 0 < len(entropies) == int((counted != 255).sum()) < counted.numel()
    assert float(made.loss([x], labels)) == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)


def test_nothing_counts() -> None:
    made = head()
    loss = made.loss([torch.randn(1, INPUTS, 6, 7)], torch.full((1, 24, 28), 255))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and (p.grad == 0).all() for p in made.parameters())


def test_pixels_that_do_not_count_teach_nothing() -> None:
    labels = torch.full((1, 24, 28), 255)
    labels[:, :8] = 1
    made = head(full_resolution=False)
    scores: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        scores.append(output)

    made.score.register_forward_hook(keep)
    made.loss([torch.randn(1, INPUTS, 6, 7)], labels).backward()
    assert scores[0].grad is not None
    assert (scores[0].grad[:, :, 2:] == 0).all() and (scores[0].grad[:, :, :2] != 0).all()


def test_all_weights_learn() -> None:
    made = head().train()
    made.loss([torch.randn(2, INPUTS, 6, 7)], truth()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
