"""Values and gradients of the losses, against sums by hand, torchvision, and the rule that HRNet's authors publish."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from fineseg_losses.options import DiceOptions, FocalOptions, OHEMOptions
from fineseg_losses.plugin import build_dice, build_focal, build_ohem, fineseg_losses


def drawn(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def labels(classes: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_offered() -> None:
    assert {part.name: part.serves for part in fineseg_losses()} == {
        "dice": ("mask",),
        "focal": ("class",),
        "ohem": ("semantic",),
    }


# ---------------------------------------------------------------------------- dice


def dice_by_hand(logits: Tensor, targets: Tensor, cells: float, overlap: float) -> float:
    """Add cell by cell."""
    entropy, missed, count = 0.0, 0.0, 0
    for mask, target in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        both, either = 0.0, 0.0
        for x, t in zip(mask, target, strict=True):
            p = 1 / (1 + math.exp(-x))
            entropy -= t * math.log(p) + (1 - t) * math.log(1 - p)
            both, either, count = both + p * t, either + p + t, count + 1
        missed += 1 - (2 * both + 1) / (either + 1)
    return cells * entropy / count + overlap * missed / len(logits)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (5.0, 2.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("shape", [(4, 6, 6), (3, 11), (1, 1, 1)])
def test_dice(shape: tuple[int, ...], weights: tuple[float, float]) -> None:
    loss = build_dice(DiceOptions(cross_entropy=weights[0], dice=weights[1]))
    soft = drawn(*shape, seed=2).sigmoid()
    for targets in (soft, soft.round(), soft * 0, soft * 0 + 1):
        logits = drawn(*shape)
        found = loss(logits, targets)
        assert found.item() == pytest.approx(dice_by_hand(logits, targets, *weights), rel=1e-6)
        assert gradcheck(loss, (logits.requires_grad_(), targets))


def test_dice_of_masks_that_are_right_or_wrong() -> None:
    targets = labels(2, 3, 8, 8).double()
    right = build_dice(DiceOptions(cross_entropy=0))
    assert right((targets - 0.5) * 100, targets).item() == pytest.approx(0, abs=1e-9)
    assert right((0.5 - targets) * 100, targets).item() == pytest.approx(1 - 1 / 65, abs=1e-9)  # 64 cells, 0 in common


def test_one_of_two_terms_must_count() -> None:
    with pytest.raises(ValidationError, match="cross_entropy and dice are both 0: one must count"):
        DiceOptions(cross_entropy=0, dice=0)


# --------------------------------------------------------------------------- focal


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal(gamma: float) -> None:
    logits, truth = drawn(20, 5), labels(5, 20)
    odds = np.exp(logits.numpy())
    p = (odds / odds.sum(axis=1, keepdims=True))[np.arange(20), truth.numpy()]
    loss = build_focal(FocalOptions(gamma=gamma))
    assert loss(logits, truth).item() == pytest.approx(float(np.mean(-((1 - p) ** gamma) * np.log(p))), rel=1e-9)
    assert gradcheck(loss, (logits.requires_grad_(), truth))


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_of_two_classes_is_the_sigmoids(gamma: float) -> None:
    """The softmax of two is the sigmoid of their difference."""
    logits, truth = drawn(50, 2, scale=4).requires_grad_(), labels(2, 50)
    found = build_focal(FocalOptions(gamma=gamma))(logits, truth)
    other = logits.detach().requires_grad_()
    difference = other[:, 1] - other[:, 0]
    wanted = sigmoid_focal_loss(difference, truth.double(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(found, wanted)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(logits.grad, other.grad)


def test_focal_without_focus_is_the_cross_entropy() -> None:
    logits, truth = drawn(9, 4).float(), labels(4, 9)
    torch.testing.assert_close(build_focal(FocalOptions(gamma=0))(logits, truth), F.cross_entropy(logits, truth))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("sure", [0.0, 5.0, 17.0, 90.0, 1e4])
def test_focal_of_the_sure(gamma: float, sure: float) -> None:
    """In single precision log p is 0 from a logit of 17 on."""
    logits = torch.tensor([[sure, 0.0], [0.0, sure]], requires_grad=True)
    found = build_focal(FocalOptions(gamma=gamma))(logits, torch.tensor([0, 1]))
    found.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    doubt = 1 / (1 + math.exp(min(sure, 700)))
    assert found.item() == pytest.approx(-(doubt**gamma) * math.log1p(-doubt), rel=1e-5, abs=1e-7)


# ---------------------------------------------------------------------------- ohem


def hardest_by_hand(logits: Tensor, truth: Tensor, threshold: float, least: int) -> float:
    """The published rule: sort by probability; below the threshold, or that of the pixel numbered `least`, counts."""
    rows = []
    for image, row, column in np.ndindex(*truth.shape):
        label = int(truth[image, row, column])
        if label != 255:
            odds = [math.exp(x) for x in logits[image, :, row, column].tolist()]
            rows.append(odds[label] / sum(odds))
    rows.sort()
    limit = max(rows[min(least, len(rows) - 1)], threshold)
    kept = [-math.log(p) for p in rows if p < limit]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("least", [1, 10, 60])
@pytest.mark.parametrize("scale", [0.5, 6.0])
def test_ohem(threshold: float, least: int, scale: float) -> None:
    logits, truth = drawn(2, 4, 7, 9, scale=scale), labels(4, 2, 7, 9)
    truth[:, :2] = 255
    truth[1, 4, 1:4] = 255
    count = int((truth != 255).sum())
    loss = build_ohem(OHEMOptions(threshold=threshold, least=(least - 0.5) / count))
    assert loss(logits, truth).item() == pytest.approx(hardest_by_hand(logits, truth, threshold, least), rel=1e-9)
    assert gradcheck(loss, (logits.requires_grad_(), truth))


def test_ohem_of_all_pixels_is_the_cross_entropy() -> None:
    logits, truth = drawn(2, 4, 7, 9), labels(4, 2, 7, 9)
    truth[0] = 255
    wanted = F.cross_entropy(logits, truth, ignore_index=255)
    for options in ({"threshold": 1.0}, {"least": 1.0}):
        torch.testing.assert_close(build_ohem(OHEMOptions(**options))(logits, truth), wanted)


def test_ohem_of_ties_above_the_threshold() -> None:
    """All alike and none hard: the published rule keeps no pixel then, whose mean is no number."""
    logits, truth = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    logits[:, 0] = 3.0
    found = build_ohem(OHEMOptions())(logits, truth)
    assert found.item() == pytest.approx(math.log1p(math.exp(-3)))


def test_ohem_keeps_one_pixel_at_least() -> None:
    logits, truth = drawn(1, 3, 2, 2, scale=9), torch.full((1, 2, 2), 255)
    truth[0, 1, 1] = 2
    found = build_ohem(OHEMOptions(threshold=1e-6, least=1e-6))(logits, truth)
    torch.testing.assert_close(found, F.cross_entropy(logits[:, :, 1, 1], truth[:, 1, 1]))


# --------------------------------------------------------------- nothing that counts

NOTHING: list[tuple[Any, tuple[int, ...], Tensor]] = [
    (build_dice(DiceOptions()), (0, 8, 8), torch.zeros(0, 8, 8)),
    (build_focal(FocalOptions()), (0, 4), torch.zeros(0, dtype=torch.int64)),
    (build_ohem(OHEMOptions()), (2, 4, 3, 3), torch.full((2, 3, 3), 255)),
]


@pytest.mark.parametrize(("loss", "shape", "truth"), NOTHING, ids=["dice", "focal", "ohem"])
def test_nothing_counts(loss: Any, shape: tuple[int, ...], truth: Tensor) -> None:
    logits = torch.randn(shape, requires_grad=True)
    found = loss(logits, truth)
    found.backward()
    assert found.item() == 0 and logits.grad is not None and not logits.grad.any()
