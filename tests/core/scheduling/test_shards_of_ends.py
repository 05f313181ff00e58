"""Shards of a model with ends, predicted in this process: a file for each end, and one pass for all of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from htc_cases import HEAD, spread
from small_models import MASK_RCNN, small_model

from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import predict_heads
from fineseg.predictions import read_instances
from fineseg.profile.schema import PartChoice, PredictTable
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
from fineseg.scheduling.prediction import ShardPredictor
from fineseg.store import read_rows
from fineseg_datasets.showroom import write_split

PREDICT: dict[str, Any] = {"long_side": 96, "short_side": 96, "score_threshold": 0.01, "max_per_image": 5}
BOARD = SimpleNamespace(post=SimpleNamespace(remote=lambda topic, state: None))
ENDS = {"one": PartChoice(name="mask-rcnn", **MASK_RCNN), "two": PartChoice(name="htc", **HEAD)}


@pytest.fixture
def predictor(tmp_path: Path) -> ShardPredictor:
    for split in ("train", "val"):
        write_split(tmp_path, split, 2, (80, 96), seed=1)
    dataset = {"name": "coco-instance", "annotations": "annotations/{split}.json", "images": "images"}
    tables = {
        "competition": {"name": "toy"},
        "data": {"dataset": dataset, "root": str(tmp_path), "train": "train", "validation": "val"},
        "train": {"epochs": 1, "lr": 0.1},
        "models": {"m": model().model_dump(mode="json")},
        "predict": PREDICT,
    }
    return ShardPredictor(PredictionSetting(tables, "toy.toml", str(tmp_path), 1), BOARD)


def model() -> Any:
    return small_model().model_copy(update={"head": None, "ends": ENDS})


def saved(predictor: ShardPredictor, weights: Path) -> BuiltModel:
    """Return a model that sees something, in eval mode, and save its weights."""
    torch.manual_seed(1)
    built = build_model(model(), predictor.catalog, len(predictor.splits.train.categories), weights_cache=None)
    for end in built.module.ends:  # type: ignore[union-attr]
        spread(end.roi_head)
    torch.save({"model": built.module.state_dict()}, weights)
    built.module.eval()
    return built


@pytest.mark.parametrize("ends", [("one", "two"), ("two",)])
def test_each_end_has_a_file(predictor: ShardPredictor, tmp_path: Path, ends: tuple[str, ...]) -> None:
    built = saved(predictor, tmp_path / "weights.pth")
    images = predictor.splits.validation.images
    files = {end: str(tmp_path / end / "00000.parquet") for end in ends}
    for file in files.values():
        Path(file).parent.mkdir()
    ids, first = tuple(image.id for image in images), next(iter(files.values()))
    predictor.predict(PredictionOrder("m", "m", str(tmp_path / "weights.pth"), "validation", ids, first, files))
    found = {end: read_instances([Path(file)]) for end, file in files.items()}
    for image in images:
        wanted = predict_heads(built, image, PredictTable(**PREDICT), torch.device("cpu"), ends=ends)
        assert wanted.keys() == found.keys()
        for end, instances in wanted.items():
            assert len(instances) == 5
            np.testing.assert_allclose(found[end][image.id].scores, instances.scores, rtol=1e-5)
    ledgers = list(tmp_path.glob("*/ledger.jsonl"))
    assert [ledger.parent.name for ledger in ledgers] == [ends[0]], "an image that is seen once counts once"
    assert [row["images"] for row in read_rows(ledgers[0])] == [2]


def test_an_order_of_one_head_has_one_file() -> None:
    assert PredictionOrder("a", "a", "w", "validation", (1,), "f").files == {"": "f"}
