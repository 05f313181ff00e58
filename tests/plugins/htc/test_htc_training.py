"""The head trains: losses and gradients as mmdet's, its mask scoring too, and images without objects."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from head_cases import training_images
from htc_cases import built_htc, small_htc, stock_htc
from mmdet.models.roi_heads import MaskScoringRoIHead
from pointrend_cases import draw_sampling
from torch import Tensor, nn

from fineseg import HeadInput
from fineseg.catalog import load_catalog
from fineseg.data.split import Split
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, PredictTable, TrainTable
from fineseg.store import read_rows

LOSSES = {f"s{stage}.loss_{what}" for stage in range(3) for what in ("cls", "bbox", "mask")}


def total(losses: dict[str, Any]) -> Tensor:
    parts = [
        part for name, loss in losses.items() if "loss" in name for part in (loss if type(loss) is list else [loss])
    ]
    return torch.stack([part.sum() for part in parts]).sum()


def one_step(module: Any, objects: int) -> tuple[dict[str, Any], dict[str, Tensor | None]]:
    module.train().zero_grad()
    torch.manual_seed(11)
    losses = module.loss(*training_images(objects=objects))
    total({name: loss for name, loss in losses.items() if "mask_iou" not in name}).backward()
    return losses, {name: weight.grad for name, weight in module.roi_head.named_parameters()}


@pytest.mark.parametrize("objects", [4, 0])
def test_losses_and_gradients_equal_mmdets(objects: int, built: BuiltModel) -> None:
    stock = stock_htc(built, PredictTable())
    expected, wanted = one_step(stock, objects)
    losses, gradients = one_step(built.module, objects)
    assert losses.keys() - expected.keys() == {"s2.loss_mask_iou"} and losses.keys() >= LOSSES
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss)
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient)
    assert (losses["s2.loss_mask"].sum() > 0) == (objects > 0)


@pytest.mark.parametrize("objects", [4, 0])
def test_one_step_reaches_every_weight(objects: int) -> None:
    module = built_htc().module.train()
    losses = module.loss(*training_images(objects=objects))
    assert torch.isfinite(total(losses))
    total(losses).backward()
    weights = dict(module.roi_head.named_parameters())
    assert {name.split(".")[1] for name in weights if name.startswith(("bbox", "mask_head"))} == {"0", "1", "2"}
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.isfinite().all()] == []
    still = {name for name, weight in weights.items() if not weight.grad.any()}
    of_objects = {name for name in weights if name.startswith("mask") or "fc_reg" in name}
    assert still == (set() if objects else of_objects)


class Cascade(nn.Module):
    """Three mask heads as one, for mmdet's head of a single stage."""

    def __init__(self, heads: nn.ModuleList) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, pooled: Tensor) -> Tensor:
        flow = self.heads[0](pooled, return_logits=False)
        flow = self.heads[1](pooled, flow, return_logits=False)
        logits: Tensor = self.heads[2](pooled, flow, return_feat=False)
        return logits

    def loss_and_target(self, *args: Any, **kwargs: Any) -> Any:
        return self.heads[2].loss_and_target(*args, **kwargs)


def test_mask_scoring_equals_mmdets_of_one_stage(built: BuiltModel) -> None:
    ours = built.module.roi_head
    single = MaskScoringRoIHead.__new__(MaskScoringRoIHead)
    nn.Module.__init__(single)
    single.mask_head, single.mask_iou_head = Cascade(ours.mask_head), ours.mask_iou_head
    single.mask_roi_extractor, single.share_roi_extractor = ours.mask_roi_extractor[2], False
    single.train_cfg = ours.train_cfg[2]
    generator = torch.Generator().manual_seed(0)
    levels = tuple(torch.randn(2, 16, side, side, generator=generator) for side in (40, 20, 10, 5, 3))
    drawn = [draw_sampling(number, 3, 160, 14, seed) for seed, number in enumerate((9, 4))]
    samplings, truth = [each[0] for each in drawn], [each[1] for each in drawn]
    expected = single.mask_loss(levels, samplings, None, truth)["loss_mask"]
    found = ours.mask_loss(2, levels, samplings, truth)["loss_mask"]
    assert found.keys() == expected.keys() == {"loss_mask", "loss_mask_iou"}
    assert found["loss_mask_iou"] > 0
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)
    for stage in (0, 1):
        assert ours.mask_loss(stage, levels, samplings, truth)["loss_mask"].keys() == {"loss_mask"}


def test_a_cell_is_mask_where_its_probability_is_above_a_half(built: BuiltModel) -> None:
    assert built.module.roi_head.train_cfg[2].mask_thr_binary == 0.0  # mmdet compares logits
    assert built.module.roi_head.mask_iou_head.loss_iou.loss_weight == 0.5


def test_trains_and_validates(rooms: Split, tmp_path: Path) -> None:
    train = TrainTable(epochs=1, lr=1e-3, batch=2, long_side=96, short_side=(64, 80), validate_every=1)
    predict = PredictTable(long_side=96, short_side=80, score_threshold=0.001)
    job = TrainingJob(small_htc(), train, predict, MetricTable(), rooms, rooms, tmp_path, tmp_path)
    seen: list[dict[str, Any]] = []
    events = TrainingEvents(lambda *_: None, lambda metrics, _: seen.append(dict(metrics)), None)
    train_model(job, load_catalog(warn=lambda _: None), events)
    assert "AP" in seen[-1]
    rows = [row for row in read_rows(tmp_path / "curve.jsonl") if "s2.loss_mask" in row]
    assert len(rows) == 2
    for row in rows:
        assert all(math.isfinite(row[name]) for name in (*LOSSES, "s2.loss_mask_iou")) and row["s2.loss_mask"] > 0


def test_the_winners_entry() -> None:
    from mmengine.config import ConfigDict

    from fineseg_htc.heads import htc
    from fineseg_htc.options import HTCOptions

    detector = ConfigDict(htc(HTCOptions(), HeadInput(256, (4, 8, 16, 32, 64), 34)).detector)
    roi = detector.roi_head
    assert roi.bbox_roi_extractor.roi_layer.output_size == 12 and roi.mask_roi_extractor.roi_layer.output_size == 32
    assert roi.bbox_roi_extractor.roi_layer.sampling_ratio == roi.mask_roi_extractor.roi_layer.sampling_ratio == 0
    assert [head.reg_class_agnostic for head in roi.bbox_head] == [True] * 3
    assert [each.mask_size for each in detector.train_cfg.rcnn] == [64] * 3
    assert roi.interleaved and roi.mask_info_flow


@pytest.mark.parametrize("mask_roi", [32, 28, 24])
def test_builds_at_full_size(mask_roi: int) -> None:
    table = ModelTable(
        backbone=PartChoice(name="res2net", depth=101, norm="sync-bn", norm_eval=False, dcn="v2", gc_block=True),
        neck=PartChoice(name="fpn", channels=256),
        head=PartChoice(name="htc", mask_roi=mask_roi),
    )
    with torch.device("meta"):
        built = build_model(table, load_catalog(warn=lambda _: None), 34, weights_cache=None, init=False)
    roi_head = built.module.roi_head
    assert roi_head.mask_iou_head.fcs[0].in_features == 256 * (mask_roi // 2) ** 2
    assert [head.fc_cls.out_features for head in roi_head.bbox_head] == [35] * 3
    assert [hasattr(head, "conv_res") for head in roi_head.mask_head] == [False, True, True]
    assert hasattr(built.predictor, "quality")
