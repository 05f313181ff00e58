"""Every head's slots: what a loss weighs there, and that the first-party losses are learnt from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from e_ups_cases import OPTIONS, STUFF, THINGS, drawn
from htc_cases import HEAD
from small_models import MASK_RCNN, POINTREND
from torch import Tensor, nn

from fineseg import Loss
from fineseg.catalog import Catalog, Entry, load_catalog
from fineseg.mm.losses import chosen_losses, loss_config
from fineseg.mm.model import build_model
from fineseg.parts import Config, LossSlot
from fineseg.profile.schema import ModelTable
from fineseg_losses import modules
from fineseg_losses.plugin import fineseg_losses

STAGES = (1.0, 0.5, 0.25)
CASCADE = {f"s{n}.loss_{name}": weight for n, weight in enumerate(STAGES) for name in ("mask", "cls")}
HEADS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "mask-rcnn": (MASK_RCNN, {"loss_mask": 1, "loss_cls": 1}),
    "mask-rcnn, scored": ({**MASK_RCNN, "mask_scoring": True}, {"loss_mask": 1, "loss_cls": 1}),
    "mask-rcnn, double": ({**MASK_RCNN, "box": {"double": True, "width": 32}}, {"loss_mask": 1, "loss_cls": 2}),
    "pointrend": (POINTREND, {"loss_mask": 1, "loss_point": 1, "loss_cls": 1}),
    "htc": (HEAD, CASCADE),
    "htc, semantic": ({**HEAD, "semantic": True}, {**CASCADE, "loss_semantic_seg": 0.2}),
    "lwl-htc": ({**HEAD, "semantic_weight": 0.7}, {**CASCADE, "loss_semantic_seg": 0.7}),
    "lwl-htc, deformable": ({**HEAD, "semantic": "deformable"}, {**CASCADE, "loss_semantic_seg": 0.2}),
    "e-ups": (OPTIONS, {"loss_mask": 1, "loss_cls": 1, "loss_semantic": 0.2}),
    "e-ups, lsh": (
        {**OPTIONS, "lsh": True, "semantic": {"width": 8, "full_resolution": False, "pixel_weight": 0.5}},
        {"loss_mask": 1, "loss_cls": 1, "loss_semantic": 0.5},
    ),
    "hrnet-deeplab": ({"width": 16, "detail": 8, "rates": [2]}, {"loss_semantic": 1}),
}
"""Head -> its options, and the losses that are in a slot, with what they weigh."""
SLOT_OF = {"mask": "mask", "point": "mask", "cls": "class", "semantic": "semantic", "semantic_seg": "semantic"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Return what is installed, with this tree's losses."""
    found = load_catalog(warn=lambda _: None)
    own = tuple(Entry(part, "losses", "fineseg-losses", "0.1.0") for part in fineseg_losses())
    return replace(found, entries=(*(e for e in found.entries if not isinstance(e.part, Loss)), *own))


def table(case: str, **losses: str) -> ModelTable:
    name = case.partition(",")[0]
    parts = {"backbone": {"name": "resnet", "depth": 18, "base_channels": 8}, "neck": {"name": "fpn", "channels": 16}}
    if name == "hrnet-deeplab":
        parts = {
            "backbone": {"name": "hrnet", "width": 8, "modules": [1, 1, 1], "blocks": 1},
            "neck": {"name": "hrnet-concat"},
        }
    head = {"name": name, **HEADS[case][0]}
    return ModelTable.model_validate({**parts, "head": head, "losses": losses})


def step(case: str, catalog: Catalog, losses: Mapping[LossSlot, Config]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a detector and its losses on two drawn images."""
    torch.manual_seed(0)
    built = build_model(table(case), catalog, THINGS, weights_cache=None, num_stuff=STUFF, losses=losses)
    detector: Any = built.module.train()
    torch.manual_seed(1)
    _, found = detector.parse_losses(detector.loss(*drawn(2)))
    return detector, dict(found)


class Four(nn.Module):
    """4, whatever is said."""

    def forward(self, logits: Tensor, _: Tensor) -> Tensor:
        return logits.sum() * 0 + 4


@pytest.mark.parametrize("case", HEADS)
def test_a_slot_keeps_its_weight_and_other_losses_stay(case: str, catalog: Catalog) -> None:
    weights = HEADS[case][1]
    own = step(case, catalog, {})[1]
    assert weights.keys() <= own.keys()
    for slot in {SLOT_OF[name.rpartition("loss_")[2]] for name in weights}:
        _, found = step(case, catalog, {slot: loss_config(slot, Four())})  # type: ignore[arg-type, dict-item]
        assert found.keys() == own.keys()
        mine = {name: weight for name, weight in weights.items() if SLOT_OF[name.rpartition("loss_")[2]] == slot}
        assert {name: found[name].item() for name in mine} == pytest.approx({n: 4 * w for n, w in mine.items()})
        others = [name for name in own if "loss" in name and name not in mine and name != "loss"]
        # Which RoIs of later stages and points are compared depends on nothing that a loss says in the first step.
        assert all(torch.equal(found[name], own[name]) for name in others)


CHOICES = [
    *(("mask", "dice", modules.MaskDice, case) for case in ("mask-rcnn", "pointrend", "htc", "lwl-htc", "e-ups")),
    *(("class", "focal", modules.SoftmaxFocal, case) for case in ("mask-rcnn", "pointrend", "htc", "lwl-htc", "e-ups")),
    *(
        ("semantic", "ohem", modules.HardestPixels, case)
        for case in ("htc, semantic", "lwl-htc", "lwl-htc, deformable", "e-ups", "hrnet-deeplab")
    ),
]


@pytest.mark.parametrize(("slot", "name", "kind", "case"), CHOICES, ids=[f"{row[1]} in {row[3]}" for row in CHOICES])
def test_its_value_is_learnt_from(
    slot: str, name: str, kind: Any, case: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the part says is what the step's losses are, and it moves weights that only this loss moves."""
    values: list[float] = []
    spied = kind.forward

    def forward(self: Any, logits: Tensor, truth: Tensor) -> Tensor:
        found: Tensor = spied(self, logits, truth)
        values.append(found.item())
        return found

    monkeypatch.setattr(kind, "forward", forward)
    losses = chosen_losses(table(case, **{slot: name}), catalog)
    detector, found = step(case, catalog, losses)
    mine = {n: weight for n, weight in HEADS[case][1].items() if SLOT_OF[n.rpartition("loss_")[2]] == slot}
    assert sorted(found[n].item() for n in mine) == pytest.approx(sorted(_weighed(values, mine)), rel=1e-5)
    assert len(values) == len(mine) and min(values) > 0
    total: Any = sum(found[n] for n in mine)
    total.backward()
    ends = {"mask": ("conv_logits", "fc_logits"), "class": ("fc_cls",), "semantic": ("conv_logits", "score")}[slot]
    moved = [n for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()]
    assert any(n.rpartition(".")[0].endswith(ends) for n in moved)
    assert any(n.startswith("backbone") for n in moved)


def _weighed(values: list[float], weights: Mapping[str, float]) -> list[float]:
    """Return values, in the order of the calls, times the weights in the order of the stages."""
    return [value * weight for value, weight in zip(values, weights.values(), strict=True)]


@pytest.mark.parametrize(
    ("slot", "name", "case"), [("mask", "dice", "mask-rcnn"), ("class", "focal", "htc"), ("semantic", "ohem", "e-ups")]
)
def test_a_few_steps_lower_it(slot: str, name: str, case: str, catalog: Catalog) -> None:
    losses = chosen_losses(table(case, **{slot: name}), catalog)
    torch.manual_seed(0)
    built = build_model(table(case), catalog, THINGS, weights_cache=None, num_stuff=STUFF, losses=losses)
    detector: Any = built.module.train()
    mine = [n for n in HEADS[case][1] if SLOT_OF[n.rpartition("loss_")[2]] == slot]
    optimiser = torch.optim.Adam(detector.parameters(), lr=3e-3)
    images, samples = drawn(2)
    curve = []
    for _ in range(8):
        torch.manual_seed(1)
        total, found = detector.parse_losses(detector.loss(images, samples))
        curve.append(sum(found[n].item() for n in mine))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert curve[-1] < 0.8 * curve[0]
