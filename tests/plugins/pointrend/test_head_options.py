"""Mask scoring and DoubleHead, alone and together, in both heads: they train, predict, and build at full size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from head_cases import build_small, training_images

from fineseg import View
from fineseg.catalog import load_catalog
from fineseg.data.coco import read_coco
from fineseg.mm.model import build_model
from fineseg.mm.predict import predict_image
from fineseg.mm.views import Viewing
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable
from fineseg_datasets.showroom import write_split

OPTIONS = {
    "double": {"box": {"double": True}},
    "scored": {"mask_scoring": True},
    "double, scored": {"box": {"double": True}, "mask_scoring": True},
}
EVERY = [(head, options) for head in ("mask-rcnn", "pointrend") for options in OPTIONS.values()]
NAMES = [f"{head}, {name}" for head in ("mask-rcnn", "pointrend") for name in OPTIONS]


@pytest.mark.parametrize(("head", "options"), EVERY, ids=NAMES)
def test_one_step_reaches_every_weight(head: str, options: dict[str, Any]) -> None:
    module = build_small(head, options).module.train()
    losses = module.loss(*training_images(objects=4))
    assert ("loss_mask_iou" in losses) == options.get("mask_scoring", False)
    each = {name: loss if isinstance(loss, list) else [loss] for name, loss in losses.items() if "loss" in name}
    total = torch.stack([part.sum() for loss in each.values() for part in loss]).sum()
    assert torch.isfinite(total)
    total.backward()
    weights = dict(module.roi_head.named_parameters())
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(("head", "options"), EVERY, ids=NAMES)
def test_two_equal_views_say_what_one_says(head: str, options: dict[str, Any], tmp_path: Path) -> None:
    write_split(tmp_path, "train", 1, (96, 96), seed=1)
    image = read_coco(tmp_path / "annotations" / "train.json", tmp_path / "images", "train").images[0]
    built = build_small(head, options)
    for name, weight in built.module.named_parameters():
        if "fc_cls" in name or "logits" in name:
            torch.nn.init.normal_(weight, std=0.5)  # spread the answers: untrained heads say the same everywhere
        if "fc_mask_iou.bias" in name:
            weight.data = torch.linspace(0.4, 0.9, len(weight))
    built.module.eval()
    table = PredictTable(long_side=96, short_side=96, score_threshold=0.02, max_per_image=12)
    one = predict_image(built, image, table, torch.device("cpu"))
    two = predict_image(built, image, table, torch.device("cpu"), Viewing((View(), View())))
    assert len(one) == 12 and len(set(one.scores.tolist())) > 3 and one.scores.min() > 0
    assert (one.scores[1:] <= one.scores[:-1]).all()
    for key in ("labels", "scores", "boxes"):
        found, wanted = (torch.from_numpy(getattr(each, key)) for each in (two, one))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", ["mask-rcnn", "pointrend"])
def test_defaults_build_neither(head: str) -> None:
    names = build_small(head, {}).module.state_dict().keys()
    assert not [name for name in names if "mask_iou" in name or "branch" in name]
    asked = build_small(head, OPTIONS["double, scored"]).module.state_dict().keys()
    assert [name for name in asked if "mask_iou" in name] and [name for name in asked if "branch" in name]


@pytest.mark.parametrize("head", [{"name": "pointrend"}, {"name": "pointrend", "levels": "p2-p5"}, "mask-rcnn"])
def test_both_build_at_full_size(head: Any) -> None:
    choice = PartChoice.model_validate(head)
    table = ModelTable(
        backbone=PartChoice(name="resnext", depth=101, groups=64, base_width=4, dcn="v1"),
        neck=PartChoice(name="fpn", channels=256),
        head=PartChoice(name=choice.name, **choice.options, mask_scoring=True, box={"double": True}),
    )
    with torch.device("meta"):
        built = build_model(table, load_catalog(warn=lambda _: None), 34, weights_cache=None, init=False)
    roi_head = built.module.roi_head
    assert roi_head.mask_iou_head.fcs[0].in_features == 256 * 7 * 7  # of 13 cells, or of 14
    assert len(roi_head.bbox_head.conv_branch) == 4 and len(roi_head.bbox_head.fc_branch) == 2
    assert hasattr(built.predictor, "quality")
    assert len(built.module.rpn_head.anchor_generator.strides) == 5
