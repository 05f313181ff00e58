"""The semantic branch: torchvision's deformable convs, its scores level by level, both losses in plain loops."""

import math

import numpy as np
import pytest
import torch
from e_ups_loops import bilinear, cross_entropy
from torch import nn
from torchvision.ops import deform_conv2d
from torchvision.ops import roi_align as peer_align

from fineseg_e_ups.deform import sampled_conv
from fineseg_e_ups.semantic import DeformConv, SemanticHead, pixel_loss, roi_loss, roi_truth

WIDTH, CHANNELS, CLASSES = 4, 6, 5


def head(**options: object) -> SemanticHead:
    torch.manual_seed(0)
    made = SemanticHead(CHANNELS, CLASSES, WIDTH, **options)
    made.init_weights()
    for module in made.subnet:
        if isinstance(module, DeformConv):
            nn.init.normal_(module.conv_offset.weight, std=0.1)
            nn.init.normal_(module.conv_offset.bias, std=0.7)
            nn.init.normal_(module.bias, std=0.3)
    nn.init.normal_(made.score.weight, std=0.5)
    nn.init.normal_(made.score.bias)
    return made


def levels(height: int = 64, width: int = 96, images: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(images, CHANNELS, math.ceil(height / s), math.ceil(width / s)) for s in (4, 8, 16, 32, 64)]


@pytest.mark.parametrize("size", [(7, 9), (2, 5), (1, 1)])
def test_deformable_conv_is_torchvision_s(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = DeformConv(3, 5)
    for parameter in conv.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 3, *size)
    wanted = deform_conv2d(x, conv.conv_offset(x), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 9), (2, 5), (1, 1)])
def test_gradients_of_the_sampled_conv_are_torchvision_s(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    drawn = torch.randn(2, 3, *size), torch.randn(2, 18, *size) * 2, torch.randn(5, 3, 3, 3)  # some lie far outside
    given = [each.double().requires_grad_() for each in drawn]
    mine, theirs = sampled_conv(*given), deform_conv2d(*given, padding=1)
    torch.testing.assert_close(mine, theirs)
    weights = torch.randn_like(mine)
    found = torch.autograd.grad((mine * weights).sum(), given)
    torch.testing.assert_close(found, torch.autograd.grad((theirs * weights).sum(), given))


def test_it_starts_as_a_plain_conv() -> None:
    conv = DeformConv(3, 5)
    conv.init_weights()
    x = torch.randn(2, 3, 8, 9)
    torch.testing.assert_close(conv(x), nn.functional.conv2d(x, conv.weight, padding=1), rtol=1e-4, atol=1e-5)


def test_published_widths() -> None:
    """Three 3x3 with their offsets, 256 -> 256 -> 128 -> 128, and a 1x1 of 512 to 133 classes."""
    with torch.device("meta"):
        full = SemanticHead(256, 133)
    convs = sum(i * o * 9 + o + i * 18 * 9 + 18 for i, o in ((256, 256), (256, 128), (128, 128)))
    assert sum(p.numel() for p in full.parameters()) == convs + 512 * 133 + 133


def test_scores_are_those_of_each_level_enlarged() -> None:
    made, pyramid = head(), levels()
    with torch.no_grad():
        scores = made(pyramid)
        assert scores.shape == (2, CLASSES, 16, 24)
        wanted = made.score.bias.double().numpy()[:, None, None] + np.zeros((CLASSES, 16, 24))
        for number, level in enumerate(pyramid[:4]):
            seen = made.subnet(level)[1].double().numpy()
            large = np.stack([bilinear(plane, 16, 24) for plane in seen])
            weight = made.score.weight.double().numpy()[:, number * WIDTH : (number + 1) * WIDTH, 0, 0]
            wanted = wanted + np.einsum("cw,whj->chj", weight, large)
        np.testing.assert_allclose(scores[1].numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_the_coarsest_level_is_not_read() -> None:
    made, pyramid = head(), levels()
    torch.testing.assert_close(made(pyramid), made([*pyramid[:4], torch.full((2, CHANNELS, 1, 2), torch.nan)]))


# ---------------------------------------------------------------------- losses


def truth_and_boxes() -> tuple[torch.Tensor, list[torch.Tensor]]:
    draw = np.random.default_rng(0)
    coarse = draw.choice([0, 1, 2, 3, 4, 255], (2, 16, 24))
    truth = torch.from_numpy(coarse.repeat(4, axis=1).repeat(4, axis=2))
    truth[:, 1::3, 2::5] = 2
    boxes = [torch.tensor([[3.2, 5.7, 40.4, 60.6], [0.0, 0.0, 96.0, 64.0], [70.1, 8.4, 70.3, 30.0]]), torch.zeros(0, 4)]
    return truth, boxes


@pytest.mark.parametrize("full", [True, False])
def test_losses(full: bool) -> None:
    made, pyramid = head(full_resolution=full, pixel_weight=0.5, roi_weight=0.25), levels()
    truth, boxes = truth_and_boxes()
    with torch.no_grad():
        scores, losses = made.loss(pyramid, truth, boxes)
        torch.testing.assert_close(scores, made(pyramid))
        entropies: list[float] = []
        for planes, labels in zip(scores.double().numpy(), truth.numpy(), strict=True):
            if full:
                entropies += cross_entropy(np.stack([bilinear(p, 64, 96) for p in planes]), labels, ignored=255)
            else:
                entropies += cross_entropy(planes, labels[::4, ::4], ignored=255)
        assert float(losses["loss_semantic"]) == pytest.approx(0.5 * sum(entropies) / len(entropies), rel=1e-4)

        pooled = peer_align(made.features(pyramid), boxes, 28, 1 / 4, 2, aligned=False)
        inside = made.score(pooled).double().numpy()
        total = 0.0
        for planes, box in zip(inside, boxes[0].tolist(), strict=True):
            left, top, right, bottom = (round(x) for x in box)
            crop = truth[0].numpy()[top : bottom + 1, left : right + 1]
            small = np.array(
                [[crop[i * crop.shape[0] // 28, j * crop.shape[1] // 28] for j in range(28)] for i in range(28)]
            )
            total += sum(cross_entropy(planes, small, ignored=255))
        assert float(losses["loss_semantic_roi"]) == pytest.approx(0.25 * total / (3 * 28 * 28), rel=1e-4)


def test_nothing_counts() -> None:
    logits = torch.randn(1, CLASSES, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_no_box() -> None:
    made, pyramid = head(), levels()
    truth, _ = truth_and_boxes()
    _, losses = made.loss(pyramid, truth, [torch.zeros(0, 4)] * 2)
    assert losses["loss_semantic_roi"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_crops_stay_inside_the_image() -> None:
    truth = torch.arange(6).view(2, 3)
    boxes = torch.tensor([[-4.0, -4, 9, 9], [2.4, 1.4, 9, 9], [2.0, 1, 2, 1], [5.0, 5, 5, 5]])
    crops = roi_truth(truth, boxes)
    assert crops.shape == (4, 28, 28)
    assert crops[0].unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert (crops[1:] == 5).all()


def test_ignored_cells_are_among_all() -> None:
    logits, crops = torch.zeros(1, 2, 28, 28), torch.zeros(1, 28, 28, dtype=torch.long)
    crops[:, :14] = 255
    assert float(roi_loss(logits, crops)) == pytest.approx(math.log(2) / 2)


def test_all_weights_learn() -> None:
    made, pyramid = head(), levels()
    _, losses = made.loss(pyramid, *truth_and_boxes())
    for loss in losses.values():
        gradients = torch.autograd.grad(loss, list(made.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
