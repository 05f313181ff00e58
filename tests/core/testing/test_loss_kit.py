"""The conformance kit sees faults in losses, and in heads that offer slots for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_models import MASK_RCNN
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg import Head, HeadInput, HeadSpec, Loss, NoOptions
from fineseg.catalog import Catalog, Entry, load_catalog
from fineseg.parts import LossSlot
from fineseg.testing import CONFORMANCE
from fineseg.testing.kit import Verdict, checks_of, run_check
from fineseg.testing.loss import call_fault

ALONE = ("test_import_is_light", "test_options_are_described")
Function = Callable[[Tensor, Tensor], Tensor]


def failed(part: Loss) -> dict[str, str]:
    base = CONFORMANCE["loss"]
    kit = type(base.__name__, (base,), {"part": part.name, "entry": Entry(part, "toy", "fineseg-toy", "1.0")})
    verdicts = {name.removeprefix("test_"): run_check(kit, name) for name in checks_of(kit) if name not in ALONE}
    return {name: each.why for name, each in verdicts.items() if each.outcome == "failed"}


class Toy(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        return self.function(logits, truth)


class Remembering(Toy):
    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self.register_buffer("seen", torch.zeros(()))


def loss(function: Function, *slots: LossSlot, module: Any = Toy) -> Loss:
    return Loss("toy", "a toy", NoOptions, build=lambda options: module(function), serves=slots)


def cells(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / max(logits.numel(), 1)


def rows(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum") / max(len(logits), 1)


def pixels(logits: Tensor, labels: Tensor) -> Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
    return total / (labels != 255).sum().clamp(min=1)


def all_of_them(logits: Tensor, truth: Tensor) -> Tensor:
    if logits.shape == truth.shape:
        return cells(logits, truth)
    return pixels(logits, truth)


@pytest.mark.parametrize(
    "part",
    [
        loss(cells, "mask"),
        loss(rows, "class"),
        loss(pixels, "semantic"),
        loss(all_of_them, "mask", "class", "semantic"),
    ],
)
def test_sound_losses_pass(part: Loss) -> None:
    assert failed(part) == {}


def noisy(logits: Tensor, targets: Tensor) -> Tensor:
    return cells(logits, targets) * next(COUNT)


COUNT = iter(range(1, 999))


@pytest.mark.parametrize(
    ("part", "check", "said"),
    [
        (loss(cells), "serves", "serves is (); it must be some of"),
        (loss(cells, "masks"), "serves", "serves is ('masks',)"),  # type: ignore[arg-type]
        (loss(cells, "mask", module=Remembering), "no_state", "its state has seen; register buffers with persistent="),
        (loss(cells, "mask", module=lambda function: function), "no_state", "must be a torch module"),
        (
            loss(lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none"), "mask"),
            "gradients",
            "no scalar",
        ),
        (loss(lambda x, t: cells(x.detach(), t), "mask"), "gradients", "no gradient goes from the loss of logits"),
        (loss(lambda x, t: (cells(x, t) - 1).relu() * 0, "mask"), "gradients", "the gradient of mask logits is 0"),
        (loss(lambda x, t: -cells(x, t), "mask"), "right_below_wrong", "mask: right, undecided and wrong have losses"),
        (loss(F.binary_cross_entropy_with_logits, "mask"), "nothing_counts", "is nan, must be finite"),
        (loss(F.cross_entropy, "class"), "nothing_counts", "is nan, must be finite"),
        (loss(lambda x, t: cells(x, t) + x.sum().exp() * 0, "mask"), "huge_logits", "must be finite"),
        (
            loss(lambda x, t: cells(x, t) + x.square().sum() + 3 * x.sum(), "mask"),
            "right_below_wrong",
            "right, undecided and wrong",
        ),
        (
            loss(lambda x, t: pixels(x, t) + x.square().mean() * 1e-3, "semantic"),
            "nothing_counts",
            "where nothing counts the gradient must be 0",
        ),
        (
            loss(lambda x, t: pixels(x, t) + x.square().mean() * 1e-3, "semantic"),
            "ignored_pixels",
            "pixels of 255 change the loss",
        ),
        (loss(lambda x, t: pixels(x, t.clamp(max=3)), "semantic"), "ignored_pixels", "pixels of 255"),
        (loss(noisy, "mask"), "deterministic", "mask: the same logits gave"),
    ],
)
def test_faulty_losses(part: Loss, check: str, said: str) -> None:
    assert said in failed(part)[check]


def test_a_loss_that_climbs_is_seen() -> None:
    """Its value is right, and its gradient points the wrong way."""

    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
            return -slope

    part = loss(lambda x, t: Turned.apply(cells(x, t)), "mask")  # type: ignore[no-untyped-call]
    assert failed(part) == {"gradients": "a step against the gradient of mask logits raises the loss"}


# ----------------------------------------------------------- heads that offer slots


def verdict(change: Callable[[HeadInput], HeadInput], monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Verdict:
    """Return what comes of the check of Mask R-CNN's slots where its `build` is given something else."""
    catalog = load_catalog(warn=pytest.fail)
    entry = catalog.find("head", "mask-rcnn")
    part = entry.part
    assert isinstance(part, Head)

    def build(options: Any, given: HeadInput) -> HeadSpec:
        return part.build(options, change(given))

    changed = replace(entry, part=replace(part, build=build, **fields))
    others = tuple(each for each in catalog.entries if each is not entry)
    monkeypatch.setattr("fineseg.testing.head.installed", lambda: Catalog((*others, changed)))
    base = CONFORMANCE["head"]
    kit = type(base.__name__, (base,), {"part": "mask-rcnn", "options": MASK_RCNN, "entry": changed})
    return run_check(kit, "test_losses")


def test_a_head_that_uses_its_slots_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(lambda given: given, monkeypatch).outcome == "passed"
    assert verdict(lambda given: given, monkeypatch, losses=()).why == "it offers no slot for a loss"


def test_a_head_that_forgets_its_slots_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdict(lambda given: replace(given, losses={}), monkeypatch)
    assert found.outcome == "failed"
    assert found.why.startswith("losses.mask: with its options the model's head has no such loss")


def test_a_loss_that_is_called_and_not_learnt_from_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def muted(given: HeadInput) -> HeadInput:
        return replace(given, losses={slot: {**config, "type": Mute} for slot, config in given.losses.items()})

    from fineseg.mm.losses import MaskLoss

    class Mute(MaskLoss):
        def forward(self, masks: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
            return super().forward(masks, targets, labels).detach() + masks.sum() * 0

    found = verdict(muted, monkeypatch, losses=("mask",))
    assert found.why == "a loss in the slot 'mask' is called, and not learnt from"


@pytest.mark.parametrize(
    ("slot", "logits", "truth", "said"),
    [
        ("mask", torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), ""),
        ("mask", torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4), "logits (2, 3, 4, 4) and truth (2, 4, 4), not of one"),
        ("mask", torch.zeros(2, 4, 4), torch.full((2, 4, 4), 255.0), "targets that are not in 0..1"),
        ("mask", torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4), "torch.int64 logits"),
        ("class", torch.zeros(5, 4), torch.full((5,), 3), ""),
        ("class", torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64), "logits (5, 3) and truth (5,), for 4 classes"),
        ("class", torch.zeros(5, 4), torch.full((5,), 4), "labels that are not int64 in 0..3"),
        ("class", torch.zeros(5, 4), torch.zeros(5), "torch.float32 labels"),
        ("semantic", torch.zeros(2, 5, 3, 3), torch.full((2, 3, 3), 255), ""),
        ("semantic", torch.zeros(2, 5, 3, 3), torch.full((2, 3, 3), 5), "labels that are not int64 in 0..4"),
        ("semantic", torch.zeros(2, 5, 3, 3), torch.zeros(2, 6, 6, dtype=torch.int64), "for 5 classes"),
    ],
)
def test_calls_that_keep_to_no_promise(slot: LossSlot, logits: Tensor, truth: Tensor, said: str) -> None:
    found = call_fault(slot, logits, truth, 3, 2)
    assert (said in found) if said else not found
