"""The whole model: what it is built of, its prediction steps, full size, and that it learns drawn rooms."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData, PixelData

from fineseg import FinesegError, HeadInput, SemanticPredictor, Split
from fineseg.catalog import Catalog, load_catalog
from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.metrics.semantic_iou import PixelCounts, count_pixels, semantic_result
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import load_trained, prepare_image
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, PredictTable, TrainTable
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic, read_panoptic_rooms
from fineseg_semantic.builders import hrnet_deeplab
from fineseg_semantic.options import HRNetDeepLabOptions
from fineseg_semantic.plugin import fineseg_heads

THINGS, STUFF, SIDE = 3, 2, 64
TABLE = ModelTable(
    backbone=PartChoice(name="hrnet", width=8, modules=(1, 1, 1), blocks=1, norm_eval=False),
    neck=PartChoice(name="hrnet-concat"),
    head=PartChoice(name="hrnet-deeplab", width=32, detail=16, rates=(2, 4)),
)
FULL = ModelTable(
    backbone=PartChoice(name="hrnet", norm="sync-bn"),
    neck=PartChoice(name="hrnet-concat"),
    head=PartChoice(name="hrnet-deeplab", norm="sync-bn"),
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(warn=pytest.fail)


@pytest.fixture
def built(catalog: Catalog) -> BuiltModel:
    torch.manual_seed(2)
    return build_model(TABLE, catalog, THINGS, weights_cache=None, num_stuff=STUFF)


def test_offered() -> None:
    (head,) = fineseg_heads()
    assert (head.name, head.options, head.gives) == ("hrnet-deeplab", HRNetDeepLabOptions, ("semantic",))
    assert not head.shares_proposals


def test_training_reads_the_class_of_every_pixel_and_no_masks() -> None:
    spec = hrnet_deeplab(HRNetDeepLabOptions(), HeadInput(976, (4,), 80, 53))
    assert spec.needs_semantic and not spec.needs_masks
    assert spec.detector["semantic_head"]["num_classes"] == 133
    assert spec.detector["semantic_head"]["in_channels"] - spec.detector["semantic_head"]["first"] == 720


@torch.no_grad()
def test_it_may_stand_on_features_that_others_share() -> None:
    """Then what stands in its backbone's place gives the neck's map, and there is no neck."""
    spec = hrnet_deeplab(HRNetDeepLabOptions(width=8, rates=(2,)), HeadInput(316, (4,), THINGS, STUFF))
    model = MODELS.build(ConfigDict({**spec.detector, "backbone": {"type": torch.nn.Identity}})).eval()
    shared = (torch.randn(2, 316, 8, 9),)
    torch.testing.assert_close(model(shared), model.semantic_head(shared))


@pytest.mark.parametrize(
    ("head_input", "said"),
    [
        (HeadInput(256, (4, 8, 16, 32, 64), 80, 53), "reads one map, not 5 of 256 channels each: use neck 'hrnet-conc"),
        (HeadInput(256, (4,), 80, 53), "use neck 'hrnet-concat'"),
        (HeadInput(976, (4,), 80), "the data have no stuff classes: use panoptic data"),
    ],
)
def test_refused(head_input: HeadInput, said: str) -> None:
    with pytest.raises(FinesegError, match=said):
        hrnet_deeplab(HRNetDeepLabOptions(), head_input)


def test_full_size_takes_an_image(catalog: Catalog) -> None:
    """HRNetV2-W48 and 133 classes, on torch's device without numbers."""
    with torch.device("meta"):
        full = build_model(FULL, catalog, 80, weights_cache=None, init=False, num_stuff=53)
    full.module.eval()
    image = torch.empty(1, 3, 800, 1344, device="meta")
    assert isinstance(full.predictor, SemanticPredictor)
    assert full.predictor.semantic(full.predictor.encode(image)).shape == (1, 133, 200, 336)
    assert 66e6 < sum(p.numel() for p in full.module.backbone.parameters()) + 1e6 < 68e6


# ----------------------------------------------------------------- a small one


def spread(module: torch.nn.Module) -> None:
    """Let scores differ as those of a trained model do."""
    torch.manual_seed(1)
    for key, value in module.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("score.weight"):
            value.normal_()


@torch.no_grad()
def test_two_images_are_twice_one(built: BuiltModel) -> None:
    spread(built.module.eval())
    predictor = built.predictor
    assert isinstance(predictor, SemanticPredictor)
    images = torch.randn(2, 3, SIDE, 96)
    both = predictor.semantic(predictor.encode(images))
    assert both.shape == (2, THINGS + STUFF, SIDE // 4, 96 // 4)
    for image, found in zip(images, both, strict=True):
        torch.testing.assert_close(predictor.semantic(predictor.encode(image[None]))[0], found, rtol=1e-4, atol=1e-4)
    assert both.std() > 0.1
    torch.testing.assert_close(built.module(images), both)


def samples(images: int) -> list[dict[str, Any]]:
    """Return samples of different sizes, as the training's dataset makes them, without objects."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(images):
        size = (50 + 6 * number, 60 - 8 * number)
        sample = DetDataSample(metainfo={"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
        sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        labels = draw.integers(0, THINGS + STUFF, (1, *size)).astype(np.uint8)
        sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(labels))
        pixels = torch.from_numpy(draw.integers(0, 256, (3, *size)).astype(np.uint8))
        made.append({"inputs": pixels, "data_samples": sample})
    return made


def batch(module: Any, made: list[dict[str, Any]]) -> dict[str, Any]:
    packed = {key: [each[key] for each in made] for key in ("inputs", "data_samples")}
    prepared: dict[str, Any] = module.data_preprocessor(packed, True)
    return prepared


def test_loss_reaches_every_part(built: BuiltModel) -> None:
    module = built.module.train()
    losses = module(**batch(module, samples(2)), mode="loss")
    assert set(losses) == {"loss_semantic"}
    losses["loss_semantic"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    moved = {name.split(".")[0] for name, p in module.named_parameters() if p.grad.abs().sum() > 0}
    assert moved == {"backbone", "semantic_head"}


def test_padding_does_not_count(built: BuiltModel) -> None:
    """The truth is padded with 255: other scores there leave the loss as it is."""
    module = built.module.eval()
    prepared = batch(module, samples(2))
    truth = torch.stack([each.gt_sem_seg.sem_seg[0] for each in prepared["data_samples"]])
    assert truth.shape == (2, 64, 64) and (truth[0, 50:] == 255).all() and (truth[1, :, 52:] == 255).all()
    head = module.semantic_head
    with torch.no_grad():
        maps = module.encode(prepared["inputs"])
        loss = module.loss(prepared["inputs"], prepared["data_samples"])["loss_semantic"]
        large = torch.nn.functional.interpolate(head(maps), size=(64, 64), mode="bilinear").permute(0, 2, 3, 1)
        inside = torch.nn.functional.cross_entropy(large[truth != 255], truth[truth != 255].long())
    torch.testing.assert_close(loss, inside)


# -------------------------------------------------------------------- training

TRAIN = TrainTable(
    epochs=20,
    lr=1e-2,
    batch=4,
    long_side=SIDE,
    short_side=(SIDE, SIDE),
    optimiser={"name": "adamw"},
    schedule={"warmup": 5},
)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Drawn rooms, of which a training may read the maps alone."""
    options = ShowroomOptions(train=16, size=SIDE)
    folder: Path = tmp_path_factory.mktemp("rooms")
    generate_panoptic(options, folder, "train", lambda *_: None)
    return replace(read_panoptic_rooms(options, folder, "train"), objects={})


def mean_iou(built: BuiltModel, split: Split) -> float:
    built.module.eval()
    classes = len(split.panoptic_categories)
    total = PixelCounts.none(classes)
    for image in split.images:
        size = (image.height, image.width)
        pixels = prepare_image(cv2.imread(str(image.file)), size, built.normalisation)
        with torch.no_grad():
            scores = built.module(pixels)
        large = torch.nn.functional.interpolate(scores, size=size, mode="bilinear")[0].argmax(0).numpy()
        total += count_pixels(semantic_labels(load_map(split.panoptic[image.id], image)), large, classes)
    return semantic_result(total).miou


def test_it_learns_rooms_of_which_no_object_is_known(rooms: Split, catalog: Catalog, tmp_path: Path) -> None:
    steps: list[int] = []

    validated: list[Mapping[str, Any]] = []

    def checkpoint(metrics: Mapping[str, Any], folder: Path | None) -> None:
        assert folder is not None
        validated.append(metrics)
        shutil.copytree(folder, tmp_path / "last", dirs_exist_ok=True)

    train, predict = TRAIN.model_copy(update={"validate_every": 20}), PredictTable(long_side=SIDE, short_side=SIDE)
    gives = {"": ("semantic",)}
    job = TrainingJob(TABLE, train, predict, MetricTable(), rooms, rooms, tmp_path, tmp_path, gives=gives)
    train_model(job, catalog, TrainingEvents(lambda step, total, note: steps.append(step), checkpoint))
    assert steps[-1] == 20 * 4  # all 16 rooms count
    torch.manual_seed(2)
    trained = build_model(
        TABLE, catalog, len(rooms.categories), weights_cache=None, init=True, num_stuff=len(rooms.stuff)
    )
    assert mean_iou(trained, rooms) < 10
    load_trained(trained, tmp_path / "last" / "weights.pth")
    reached = mean_iou(trained, rooms)
    assert reached > 28  # 36 with two seeds
    assert validated[-1].keys() == {"epoch", "step", "mIoU"}
    assert validated[-1]["mIoU"] == pytest.approx(reached, abs=1)
