"""Our predictions against mmdet's own SOLOv2 with the same weights."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from solov2_cases import NECKS, built_solov2, meta, small_solov2, stock_solov2
from torch import Tensor

from fineseg import Instances, View, concatenate
from fineseg.catalog import Catalog
from fineseg.data.masks import decode, encode
from fineseg.data.split import ImageInfo, Split
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import predict_image, prepare_image
from fineseg.mm.views import Viewing
from fineseg.profile.schema import PredictTable
from fineseg_solov2 import predictor
from fineseg_solov2.predictor import Painter, mask_quality, peaks

CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=128, short_side=112, score_threshold=0.1, max_per_image=30)


@pytest.fixture(scope="module", params=list(NECKS))
def built(request: pytest.FixtureRequest, catalog: Catalog) -> BuiltModel:
    return built_solov2(catalog, small_solov2(request.param))


@torch.no_grad()
def stock_predict(built: BuiltModel, image: ImageInfo, predict: PredictTable, **test: Any) -> Any:
    size = fit_size(image.height, image.width, predict.long_side, predict.short_side)
    tensor = prepare_image(read_image(image.file), size, built.normalisation)
    sample = DetDataSample(metainfo=meta(size, (image.height, image.width), tuple(tensor.shape[-2:])))
    return stock_solov2(built, predict, **test).predict(tensor, [sample], rescale=True)[0].pred_instances


def assert_same(ours: Instances, stock: Any) -> None:
    """Hold instances equal: labels, scores to 1e-5, and the encoded masks to the last byte."""
    assert ours.labels.tolist() == stock.labels.tolist()
    np.testing.assert_allclose(ours.scores, stock.scores.numpy(), atol=1e-5)
    assert list(ours.masks) == [encode(mask) for mask in stock.masks.numpy()]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as published": ({}, {}),
    "linear": ({"nms_kernel": "linear"}, {"kernel": "linear"}),
    "few candidates": ({"nms_pre": 25, "nms_sigma": 0.5}, {"nms_pre": 25, "sigma": 0.5}),
    "all scores": ({"update_threshold": 0.0}, {"filter_thr": -1}),
    "wide mask features": ({"mask_width": 32}, {}),
}


@pytest.mark.parametrize("number", range(2))
def test_equals_stock_mmdet(built: BuiltModel, rooms: Split, number: int) -> None:
    image = rooms.images[number]
    ours = predict_image(built, image, PREDICT, CPU)
    assert_same(ours, stock_predict(built, image, PREDICT))
    assert len(ours) == PREDICT.max_per_image and len(set(ours.labels.tolist())) > 1
    areas = [decode(counts, image.height, image.width).sum() for counts in ours.masks]
    assert len(set(areas)) > 10


@pytest.mark.parametrize(("options", "test"), CASES.values(), ids=CASES)
def test_equals_stock_mmdet_under_options(
    options: dict[str, Any], test: dict[str, Any], catalog: Catalog, rooms: Split
) -> None:
    built = built_solov2(catalog, small_solov2(**options), seed=4)
    predict = PREDICT.model_copy(update={"mask_threshold": 0.4, "score_threshold": 0.02, "max_per_image": 100})
    ours = predict_image(built, rooms.images[0], predict, CPU)
    assert_same(ours, stock_predict(built, rooms.images[0], predict, **test))
    assert len(ours) > 5


def test_images_of_two_sizes_in_one_batch(built: BuiltModel, rooms: Split) -> None:
    sizes = [(112, 128), (70, 90)]
    tensors = [prepare_image(read_image(rooms.images[0].file), size, built.normalisation) for size in sizes]
    batch = torch.zeros(2, 3, 128, 128)
    for one, tensor in zip(batch, tensors, strict=True):
        one[:, : tensor.shape[2], : tensor.shape[3]] = tensor[0]
    settings = {"score_threshold": 0.1, "mask_threshold": 0.5, "max_per_image": 30}
    samples = [DetDataSample(metainfo=meta(size, (80, 96), (128, 128))) for size in sizes]
    with torch.no_grad():
        found = built.predictor.instances(built.predictor.encode(batch), sizes, **settings)
        stock = stock_solov2(built, PREDICT).predict(batch, samples, rescale=True)
    for (labels, scores, maps), sample in zip(found, stock, strict=True):
        assert maps.shape[1:] == (32, 32)
        assert torch.equal(labels, sample.pred_instances.labels)
        torch.testing.assert_close(scores, sample.pred_instances.scores, atol=1e-5, rtol=0)


def test_nothing_found(built: BuiltModel, rooms: Split) -> None:
    for change in ({"score_threshold": 1 - 1e-9}, {"mask_threshold": 1 - 1e-9}):
        found = predict_image(built, rooms.images[0], PREDICT.model_copy(update=change), CPU)
        assert len(found) == 0 and found.boxes.shape == (0, 4)


def test_a_mirrored_view_is_the_mirrored_image(catalog: Catalog, rooms: Split, tmp_path: Path) -> None:
    built = built_solov2(catalog, small_solov2())
    image = rooms.images[1]
    file = tmp_path / "mirrored.png"
    cv2.imwrite(str(file), np.ascontiguousarray(read_image(image.file)[:, ::-1]))
    mirrored = predict_image(built, ImageInfo(image.id, file, image.width, image.height), PREDICT, CPU)
    found = predict_image(built, image, PREDICT, CPU, Viewing((View(horizontal=True),)))
    assert len(found) and np.array_equal(found.scores, mirrored.scores)
    for counts, others in zip(found.masks, mirrored.masks, strict=True):
        upright = decode(others, image.height, image.width)[:, ::-1]
        assert (decode(counts, image.height, image.width) != upright).mean() < 1e-3


def test_views_are_pooled(catalog: Catalog, rooms: Split) -> None:
    built = built_solov2(catalog, small_solov2())
    views = (View(), View(scale=0.5, vertical=True))
    alone = [predict_image(built, rooms.images[0], PREDICT, CPU, Viewing((view,))) for view in views]
    pooled = predict_image(built, rooms.images[0], PREDICT, CPU, Viewing(views, concatenate))
    wanted = concatenate(alone)
    assert np.array_equal(pooled.scores, wanted.scores) and np.array_equal(pooled.masks, wanted.masks)
    assert len(alone[1])


# --------------------------------------------------------------- from grids to candidates


def test_peaks_are_those_of_loops() -> None:
    scores = torch.randint(0, 5, (2, 3, 6, 6), generator=torch.Generator().manual_seed(0)) / 5
    found = peaks(scores)
    for index in np.ndindex(*scores.shape):
        *plane, y, x = index
        around = [scores[(*plane, v, u)] for v in (y - 1, y) for u in (x - 1, x) if v >= 0 and u >= 0]
        assert found[index] == (scores[index] if scores[index] >= max(around) else 0)


def drawn_candidates(seed: int) -> tuple[Tensor, Painter, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(60, 3, generator=generator) * (torch.rand(60, 3, generator=generator) > 0.3)
    painter = Painter(
        torch.randn(60, 4, generator=generator) * 2, torch.randn(4, 5, 6, generator=generator) - 0.3, threshold=0.5
    )
    return scores, painter, torch.full((60,), 8.0)


@pytest.mark.parametrize("number", [1, 7, 50, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_leaving_cells_out_changes_no_candidate(number: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "CELLS", 4)
    scores, painter, least = drawn_candidates(seed)
    every = mask_quality(scores, painter, least, 10_000)
    some = mask_quality(scores, painter, least, number)
    probabilities = painter.probabilities(torch.arange(60))
    for cell, quality in enumerate(every.tolist()):
        inside = probabilities[cell][probabilities[cell] > 0.5]
        wanted = inside.mean().item() if len(inside) > 8 and scores[cell].max() > 0 else 0
        assert quality == pytest.approx(wanted, abs=1e-6)
    best = (scores * every[:, None]).flatten().sort(descending=True, stable=True)
    found = (scores * some[:, None]).flatten().sort(descending=True, stable=True)
    assert torch.equal(found.values[:number], best.values[:number])
    assert torch.equal(
        found.indices[:number][found.values[:number] > 0], best.indices[:number][best.values[:number] > 0]
    )
    assert number > 7 or (some > 0).sum() < (every > 0).sum()


def test_equal_candidates_are_all_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "CELLS", 4)
    same = Painter(torch.ones(60, 4), torch.ones(4, 5, 6), threshold=0.5)
    quality = mask_quality(torch.full((60, 1), 0.5), same, torch.full((60,), 8.0), 10_000)
    assert (quality > 0).all() and len(quality.unique()) == 1
