"""A shard predicted in this process: what the profile says of views reaches the file."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from small_models import small_model

from fineseg import View
from fineseg.mm.model import build_model
from fineseg.mm.predict import predict_image
from fineseg.mm.views import Viewing
from fineseg.predictions import read_instances
from fineseg.profile.schema import PredictTable
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
from fineseg.scheduling.prediction import ShardPredictor
from fineseg_datasets.showroom import write_split

PREDICT: dict[str, Any] = {"long_side": 96, "short_side": 96, "score_threshold": 0.01, "max_per_image": 5}
BOARD = SimpleNamespace(post=SimpleNamespace(remote=lambda topic, state: None))


def test_views_of_a_profile_reach_the_file(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_split(tmp_path, split, 2, (80, 96), seed=1)
    model = small_model("mask-rcnn")
    dataset = {"name": "coco-instance", "annotations": "annotations/{split}.json", "images": "images"}
    tables = {
        "competition": {"name": "toy"},
        "data": {"dataset": dataset, "root": str(tmp_path), "train": "train", "validation": "val"},
        "train": {"epochs": 1, "lr": 0.1},
        "models": {"a": {**model.model_dump(mode="json"), "predict": {"long_side": 96, "tta": ["flip"]}}},
        "predict": {**PREDICT, "long_side": 48},
    }
    predictor = ShardPredictor(PredictionSetting(tables, "toy.toml", str(tmp_path), 1), BOARD)
    images = predictor.splits.validation.images
    torch.manual_seed(1)  # of other weights all scores may be as good as 1
    built = build_model(model, predictor.catalog, len(predictor.splits.train.categories), weights_cache=None)
    torch.nn.init.normal_(built.module.roi_head.bbox_head.fc_cls.weight)  # an untrained head says the same everywhere
    weights = tmp_path / "weights.pth"
    torch.save({"model": built.module.state_dict()}, weights)
    file = tmp_path / "shard" / "00000.parquet"
    file.parent.mkdir()
    predictor.predict(
        PredictionOrder("a validation", "a", str(weights), "validation", tuple(i.id for i in images), str(file))
    )
    built.module.eval()
    both = Viewing((View(), View(horizontal=True)))
    found = read_instances([file])
    for image in images:
        wanted = predict_image(built, image, PredictTable(**PREDICT), torch.device("cpu"), both)
        assert len(wanted) == 5
        np.testing.assert_allclose(found[image.id].scores, wanted.scores, rtol=1e-5)
        np.testing.assert_allclose(found[image.id].boxes, wanted.boxes, atol=1e-3)
        plain = predict_image(built, image, PredictTable(**PREDICT), torch.device("cpu"))
        assert not np.allclose(plain.scores, wanted.scores, rtol=1e-4)
