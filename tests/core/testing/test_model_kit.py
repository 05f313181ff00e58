"""The conformance kit sees faults in networks: backbones, necks, task balancers and heads."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import MASK_RCNN
from torch import Tensor, nn

from fineseg import (
    Backbone,
    BackboneSpec,
    FinesegError,
    Head,
    HeadInput,
    HeadSpec,
    Neck,
    NeckSpec,
    NoOptions,
    TaskBalancer,
    make_instances,
)
from fineseg.catalog import Catalog, Entry, load_catalog
from fineseg.mm.panoptic import PanopticAnswer
from fineseg.parts import Part
from fineseg.semantic_store import SemanticScores
from fineseg.testing import CONFORMANCE, HeadConformance
from fineseg.testing.kit import Verdict, checks_of, run_check
from fineseg.testing.tiny import CHANNELS, PYRAMID, STRIDES, WIDTH, TinyBackbone, TinyNeck

ALONE = ("test_import_is_light", "test_options_are_described")


def verdicts(part: Part, **settings: Any) -> dict[str, Verdict]:
    base = CONFORMANCE[part.kind]
    entry = Entry(part, "toy", "fineseg-toy", "1.0")
    kit = type(base.__name__, (base,), {"part": part.name, "entry": entry, **settings})
    return {name.removeprefix("test_"): run_check(kit, name) for name in checks_of(kit) if name not in ALONE}


def failed(part: Part, **settings: Any) -> dict[str, str]:
    return {name: each.why for name, each in verdicts(part, **settings).items() if each.outcome == "failed"}


# ------------------------------------------------------------- backbones and necks


class Spare(TinyBackbone):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(1, 1, 1)


class Random(TinyBackbone):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(each + torch.rand(()) for each in super().forward(images))


class Fewer(TinyBackbone):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images)[1:]


class Double(TinyBackbone):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(each.double() for each in super().forward(images))


class Endless(TinyBackbone):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(each / 0 for each in super().forward(images))


def backbone(module: Any = TinyBackbone, channels: tuple[int, ...] = CHANNELS, **fields: Any) -> Backbone:
    spec = BackboneSpec({"type": module}, channels, STRIDES, **fields)
    return Backbone("toy", "convolutions", NoOptions, build=lambda options: spec)


def test_a_sound_backbone_and_neck_pass() -> None:
    assert failed(backbone()) == {}
    neck = Neck("toy", "a pyramid", NoOptions, build=lambda *_: NeckSpec({"type": TinyNeck}, WIDTH, PYRAMID))
    assert failed(neck, channels=CHANNELS) == {}


@pytest.mark.parametrize(
    ("part", "check", "said"),
    [
        (backbone(Spare), "gradients", "no gradient reaches spare.weight, no gradient reaches spare.bias"),
        (backbone(Random), "deterministic", "the same input gives another output in eval mode"),
        (backbone(Fewer), "shapes", "3 maps come out; the spec says 4"),
        (backbone(Double), "shapes", "map 0 is torch.float64, must be float32"),
        (backbone(Endless), "shapes", "map 0 has numbers that are not finite"),
        (backbone(channels=(8, 16, 24, 40)), "shapes", "map 3 of (64, 96) is of shape (2, 32, 2, 3)"),
        (backbone("ResNet"), "spec", "type = 'ResNet' is a registry's name"),
    ],
)
def test_faulty_backbones(part: Backbone, check: str, said: str) -> None:
    assert said in failed(part)[check]


def test_frozen_parameters_need_no_gradient() -> None:
    assert "gradients" not in failed(backbone(Spare), untrained=("spare",))


class Deaf(TinyNeck):
    def forward(self, maps: Any) -> tuple[Tensor, ...]:
        return super().forward([maps[0].detach(), *maps[1:]])


def test_a_neck_that_cuts_off_its_input_is_seen() -> None:
    neck = Neck("toy", "a pyramid", NoOptions, build=lambda *_: NeckSpec({"type": Deaf}, WIDTH, PYRAMID))
    assert failed(neck, channels=CHANNELS)["gradients"] == "no gradient reaches input 0"


# ------------------------------------------------------------------ task balancers


def balancer(total: Callable[[dict[str, Tensor], Tensor], Tensor], lost: str = "") -> TaskBalancer:
    class Toy(nn.Module):
        def __init__(self, tasks: tuple[str, ...]) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.tasks = tasks

        def forward(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            return total(losses, self.weight), {task: torch.ones(()) for task in self.tasks if task != lost}

    return TaskBalancer("toy", "weights", NoOptions, build=lambda options, tasks: Toy(tasks))


def added(losses: dict[str, Tensor], weight: Tensor) -> Tensor:
    return weight * torch.stack(list(losses.values())).sum()


def test_a_sound_balancer_passes() -> None:
    assert failed(balancer(added)) == {}


@pytest.mark.parametrize(
    ("part", "check", "said"),
    [
        (balancer(added, lost="mask"), "total_and_weights", "weights are told of ['box', 'rpn']"),
        (balancer(lambda losses, w: w * losses["box"]), "gradients", "must raise the total: mask, rpn"),
        (balancer(lambda losses, w: -added(losses, w)), "gradients", "must raise the total: box, mask, rpn"),
        (balancer(lambda losses, w: added(losses, w.detach())), "gradients", "no gradient reaches weight"),
        (balancer(lambda losses, w: added(losses, w).log()), "zero_losses", "a total that is not finite"),
        (replace(balancer(added), build=lambda *_: added), "gradients", "must be a torch module"),
    ],
)
def test_faulty_balancers(part: TaskBalancer, check: str, said: str) -> None:
    assert said in failed(part)[check]


def test_a_balancer_that_remembers_is_seen() -> None:
    calls = iter(range(99))
    part = balancer(lambda losses, weight: added(losses, weight) + next(calls))
    assert failed(part)["deterministic"].startswith("the same losses gave")


# --------------------------------------------------------------------------- heads


@pytest.fixture
def head_verdicts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Return what fails of Mask R-CNN with changes."""
    catalog = load_catalog(warn=pytest.fail)
    entry = catalog.find("head", "mask-rcnn")

    def run(check: str, **changes: Any) -> Verdict:
        changed = replace(entry, part=replace(entry.part, **changes))
        others = tuple(each for each in catalog.entries if each is not entry)
        monkeypatch.setattr("fineseg.testing.head.installed", lambda: Catalog((*others, changed)))
        base = CONFORMANCE["head"]
        kit = type(base.__name__, (base,), {"part": "mask-rcnn", "options": MASK_RCNN, "entry": changed})
        return run_check(kit, f"test_{check}")

    return run  # type: ignore[return-value]


def head_build(change: Callable[[HeadSpec], HeadSpec]) -> Callable[[Any, HeadInput], HeadSpec]:
    part = load_catalog(warn=pytest.fail).find("head", "mask-rcnn").part
    assert isinstance(part, Head)
    return lambda options, given: change(part.build(options, given))


def wrapped(**steps: Any) -> Callable[[HeadSpec], HeadSpec]:
    """Replace steps of the predictor."""

    def change(spec: HeadSpec) -> HeadSpec:
        def predictor(module: Any) -> Any:
            built: Any = spec.predictor(module)
            for name, make in steps.items():
                setattr(built, name, make(getattr(built, name)))
            return built

        return replace(spec, predictor=predictor)

    return change


def shouted(step: Any) -> Any:
    return lambda *arguments: [(boxes, scores + 5) for boxes, scores in step(*arguments)]


def jittered(step: Any) -> Any:
    return lambda *arguments: [(boxes + torch.rand(()), scores) for boxes, scores in step(*arguments)]


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        ("spec", {"build": lambda options, given: 1 // 0}, "ZeroDivisionError"),
        ("instances", {"build": head_build(wrapped(boxes=lambda step: 1 // 0))}, "ZeroDivisionError"),
        ("prediction_only", {"prediction_only": ("rpn.nothing",)}, "prediction_only names 'rpn.nothing'"),
        ("spec", {"gives": ("instances", "semantic")}, "has no step `semantic`, which it gives"),
        ("instances", {"build": head_build(wrapped(boxes=shouted))}, "scores must lie in 0..1"),
        (
            "instances",
            {"build": head_build(wrapped(boxes=jittered))},
            "a second look at the image gave other instances",
        ),
    ],
)
def test_faulty_heads(check: str, changes: dict[str, Any], said: str, head_verdicts: Any) -> None:
    verdict = head_verdicts(check, **changes)
    assert verdict.outcome == "failed" and said in verdict.why


def refusing(options: Any, given: HeadInput) -> HeadSpec:
    raise FinesegError("wants a wider neck")


def test_a_head_that_refuses_the_tiny_neck_is_skipped(head_verdicts: Any) -> None:
    verdict = head_verdicts("spec", build=refusing)
    assert verdict.outcome == "skipped" and "it wants another neck" in verdict.why


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full((5, 2, 2), 0.2), ""),
        (np.full((5, 2, 2), np.float16(0.2)), ""),
        (np.full((4, 2, 2), 0.25), "scores are of shape (4, 2, 2), not [5, h, w]"),
        (np.full((5, 2, 2), np.nan), "scores are not finite"),
        (np.array([1.5, -0.5, 0, 0, 0])[:, None, None], "scores must lie in 0..1"),
        (np.full((5, 2, 2), 0.9), "scores of a pixel must add up to 1; they are off by 3.5"),
        (np.zeros((5, 2, 2)), "scores of a pixel must add up to 1; they are off by 1"),
    ],
)
def test_scores_that_are_no_probabilities_are_seen(scores: np.ndarray, said: str) -> None:
    entry = load_catalog(warn=pytest.fail).find("head", "mask-rcnn")
    entry = replace(entry, part=replace(entry.part, gives=("instances", "semantic")))
    kit: Any = type("Kit", (HeadConformance,), {"part": "mask-rcnn", "options": MASK_RCNN, "entry": entry})()
    if not said:
        kit.expect_probabilities(scores)
        return
    with pytest.raises(AssertionError, match=re.escape(said)):
        kit.expect_probabilities(scores)


def test_a_head_whose_scores_are_missing_or_of_other_classes_is_seen(
    head_verdicts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores: list[Any] = [None, SemanticScores(np.full((3, 16, 24), 1 / 3, np.float32), (64, 96))]
    empty = make_instances(1, (64, 96), [], [], [], [])
    monkeypatch.setattr("fineseg.mm.panoptic.predict_panoptic", lambda *_: PanopticAnswer(empty, None, scores.pop(0)))
    for said in ("it gives 'semantic', and no scores came", "scores are of shape (3, 16, 24)"):
        verdict = head_verdicts("scores_of_pixels", gives=("instances", "semantic"))
        assert verdict.outcome == "failed" and said in verdict.why


def test_parameters_that_nothing_teaches_are_seen(head_verdicts: Any) -> None:
    def idle(spec: HeadSpec) -> HeadSpec:
        roi_head = {**spec.detector["roi_head"]}
        roi_head["bbox_head"] = {**roi_head["bbox_head"], "type": IdleBoxHead}
        return replace(spec, detector={**spec.detector, "roi_head": roi_head})

    from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead

    class IdleBoxHead(ConvFCBBoxHead):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.idle = nn.Linear(1, 1)

    assert (
        "no gradient reaches roi_head.bbox_head.idle.weight"
        in head_verdicts("training_step", build=head_build(idle)).why
    )
