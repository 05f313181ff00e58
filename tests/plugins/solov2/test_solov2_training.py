"""The head trains: losses as mmdet's, a gradient for every weight, and images without objects."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from solov2_cases import built_solov2, drawn_sample, small_solov2, stock_solov2

from fineseg import FinesegError, HeadInput
from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.profile.schema import MetricTable, PredictTable, TrainTable
from fineseg.store import read_rows
from fineseg_solov2.heads import cell_strides
from fineseg_solov2.options import SOLOv2Options

WHOLE = (96, 128)
IMAGES = {
    "objects of all sizes": [[(0, 0, 120, 90), (10, 10, 40, 50), (60, 60, 72, 72)], [(5, 5, 20, 20)]],
    "one level only": [[(30, 30, 34, 34)], [(60, 10, 63, 14)]],
    "one pixel, at an edge": [[(0, 0, 1, 1)], [(127, 95, 128, 96), (50, 50, 51, 51)]],
    "one image without": [[], [(10, 10, 40, 50)]],
    "none at all": [[], []],
}


@pytest.fixture(scope="module")
def built(catalog: Catalog) -> BuiltModel:
    return built_solov2(catalog, small_solov2())


def losses_and_gradients(module: Any, images: list[list[tuple[int, int, int, int]]]) -> tuple[dict[str, float], Any]:
    module.train().zero_grad()
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 16, WHOLE[0] // s, WHOLE[1] // s, generator=generator) for s in (4, 8, 16, 32)]
    levels.append(levels[-1][..., ::2, ::2].clone())
    levels = [level.requires_grad_() for level in levels]
    samples = [drawn_sample(boxes, WHOLE, WHOLE) for boxes in images]
    losses = module.mask_head.loss(tuple(levels), samples)
    sum(losses.values()).backward()
    gradients = {name: weight.grad for name, weight in module.mask_head.named_parameters()}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_losses_equal_mmdets_and_reach_every_weight(images: Any, built: BuiltModel) -> None:
    stock = stock_solov2(built, PredictTable())
    expected, wanted = losses_and_gradients(stock, images)
    losses, gradients = losses_and_gradients(built.module, images)
    assert losses == pytest.approx(expected, rel=1e-6)
    assert all(math.isfinite(loss) for loss in losses.values())
    assert (losses["loss_mask"] > 0) == any(images)
    for name, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all(), name
        if wanted[name] is not None:
            torch.testing.assert_close(gradient, wanted[name])
        else:
            assert not any(images) and not gradient.any(), name


def test_trains_and_validates(catalog: Catalog, rooms: Split, tmp_path: Path) -> None:
    train = TrainTable(epochs=2, lr=1e-3, batch=2, long_side=96, short_side=(64, 80), validate_every=2)
    predict = PredictTable(long_side=96, short_side=80, score_threshold=0.001)
    folder = tmp_path / "a"
    folder.mkdir()
    job = TrainingJob(small_solov2(), train, predict, MetricTable(), rooms, rooms, folder, folder)
    seen: list[dict[str, Any]] = []
    train_model(job, catalog, TrainingEvents(lambda *_: None, lambda metrics, _: seen.append(dict(metrics)), None))
    assert "AP" in seen[-1]
    rows = [row for row in read_rows(folder / "curve.jsonl") if "loss_mask" in row]
    assert len(rows) == 4 and all(math.isfinite(row["loss_cls"]) and row["loss_mask"] > 0 for row in rows)


@pytest.mark.parametrize("dcn", ["v1", "v2"])
def test_deformable_convolutions(dcn: str, catalog: Catalog) -> None:
    head = build_model(small_solov2(dcn=dcn), catalog, 14, weights_cache=None).module.mask_head
    assert all("Deform" in type(each.conv).__name__ for each in [*head.cls_convs, *head.kernel_convs])


def test_published_sizes(catalog: Catalog) -> None:
    """Parameters counted by hand: two towers, two predictions, and the mask features."""
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    part, options = catalog.choose("head", "solov2", {})
    assert not part.shares_proposals
    spec = part.build(options, HeadInput(256, (4, 8, 16, 32, 64), 34))
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(ConfigDict(spec.detector["mask_head"]))
    assert list(head.strides) == [8, 8, 16, 32, 32]
    conv, norm = 256 * 256 * 9, 2 * 256
    towers = 2 * 4 * (conv + norm) + 2 * 256 * 9
    predictions = (256 * 9 + 1) * (34 + 256)
    features = 4 * (256 * 128 * 9) + 2 * 128 * 9 + 3 * (128 * 128 * 9) + 7 * 2 * 128 + 128 * 256 + 2 * 256
    assert sum(weight.numel() for weight in head.parameters()) == towers + predictions + features


def test_cell_strides() -> None:
    assert cell_strides((4, 8, 16, 32, 64)) == (8, 8, 16, 32, 32)
    assert cell_strides((4, 8)) == (8, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grids": (8, 4)}, "grids has 2 levels, scale_ranges 5"),
        ({"scale_ranges": ((1, 96), (96, 48), (96, 384), (192, 768), (384, 2048))}, r"\[96, 48\] is not a range"),
        ({"mask_levels": 6}, "mask_levels is 6, but grids has 5"),
        ({"kernel": 3}, "kernel"),
    ],
)
def test_options_that_disagree_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SOLOv2Options.model_validate(options)


def test_a_pyramid_of_other_levels_is_refused(catalog: Catalog) -> None:
    table = small_solov2()
    neck = table.neck.model_copy(update={"outputs": 4})
    with pytest.raises(FinesegError, match="head: grids has 5 levels, but the neck has 4"):
        build_model(table.model_copy(update={"neck": neck}), catalog, 14, weights_cache=None)
