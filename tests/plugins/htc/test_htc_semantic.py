"""The semantic branch: losses, boxes and masks as mmdet's, and a training on drawn and on real panoptic data."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_cases import SIDE, training_images
from htc_cases import CLASSES, STUFF, WIDTH, built_htc, meta, small_htc, stock_htc
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import PixelData

from fineseg import FinesegError, HeadInput, View
from fineseg.catalog import load_catalog
from fineseg.data.panoptic_json import read_panoptic
from fineseg.data.split import Split
from fineseg.mm.dataset import TrainingImages
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import predict_image
from fineseg.mm.training import TrainingJob, train_model
from fineseg.mm.training_hook import TrainingEvents
from fineseg.mm.views import Viewing
from fineseg.profile.schema import MetricTable, PredictTable, TrainTable
from fineseg.store import read_rows
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic, read_panoptic_rooms
from fineseg_htc.heads import htc
from fineseg_htc.options import HTCOptions

SIZES = [(96, 96), (80, 90)]
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.05, max_per_image=20)


@pytest.fixture(scope="module")
def semantic() -> BuiltModel:
    return built_htc(mask_scoring=False, semantic=True)


def losses_of(module: Any, objects: int) -> dict[str, Any]:
    images, samples = training_images(objects=objects)
    generator = torch.Generator().manual_seed(2)
    for sample in samples:
        labels = torch.randint(CLASSES + STUFF, (1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        labels[:, :20] = 255
        sample.gt_sem_seg = PixelData(sem_seg=labels)
    torch.manual_seed(11)
    losses: dict[str, Any] = module.train().loss(images, samples)
    return losses


@pytest.mark.parametrize("objects", [4, 0])
def test_losses_equal_mmdets(objects: int, semantic: BuiltModel) -> None:
    expected = losses_of(stock_htc(semantic, PredictTable()), objects)
    found = losses_of(semantic.module, objects)
    assert found.keys() == expected.keys() and found["loss_semantic_seg"] > 0
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)


@torch.no_grad()
def test_boxes_and_masks_equal_mmdets(semantic: BuiltModel) -> None:
    stock = stock_htc(semantic, PREDICT)
    semantic.module.eval()
    found = semantic.predictor.encode(torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    *pyramid, embedding = found
    assert embedding.shape == (2, WIDTH, 12, 12)
    torch.testing.assert_close(embedding, stock.roi_head.semantic_head(pyramid)[1])
    proposals = semantic.predictor.proposals(found, SIZES)
    results = stock.rpn_head.predict(pyramid, [DetDataSample(metainfo=meta(size)) for size in SIZES], rescale=False)
    metas = [meta(size) for size in SIZES]
    expected = stock.roi_head.predict_bbox(pyramid, metas, results, None, semantic_feat=embedding)
    boxes = semantic.predictor.boxes(found, [each for each, _ in proposals], SIZES)
    for (mine, scores), wanted in zip(boxes, expected, strict=True):
        torch.testing.assert_close(mine, wanted.bboxes)
        torch.testing.assert_close(scores, wanted.scores)
    chosen = [mine[:7] for mine, _ in boxes]
    labels = [torch.arange(7), torch.arange(7) + 3]
    rois, label = bbox2roi(chosen), torch.cat(labels)
    stages = [
        stock.roi_head._mask_forward(stage, pyramid, rois, embedding)["mask_preds"][torch.arange(14), label].sigmoid()
        for stage in range(3)
    ]
    masks = torch.cat(semantic.predictor.masks(found, chosen, labels))
    torch.testing.assert_close(masks, torch.stack(stages).mean(dim=0))
    blind = semantic.predictor.masks((*pyramid, torch.zeros_like(embedding)), chosen, labels)
    assert (torch.cat(blind) - masks).abs().max() > 1e-3


def test_quality_sees_what_the_masks_see() -> None:
    built = built_htc(semantic=True)
    built.module.eval()
    with torch.no_grad():
        found = built.predictor.encode(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
        boxes, labels = [torch.tensor([[4.0, 4, 60, 70]])], [torch.tensor([3])]
        masks = built.predictor.masks(found, boxes, labels)
        pooled = built.module.roi_head.mask_roi_extractor[2](found[:4], bbox2roi(boxes))
        pooled = pooled + built.module.roi_head.semantic_roi_extractor([found[-1]], bbox2roi(boxes))
        expected = built.module.roi_head.mask_iou_head(pooled, masks[0].logit())[:, 3].clamp(0, 1)
        torch.testing.assert_close(built.predictor.quality(found, boxes, labels, masks)[0], expected)  # type: ignore[attr-defined]


def test_two_equal_views_say_what_one_says(rooms: Split) -> None:
    built = built_htc(semantic=True)
    built.module.eval()
    one, two = (
        predict_image(built, rooms.images[1], PREDICT, torch.device("cpu"), Viewing(views))
        for views in ((View(),), (View(), View()))
    )
    assert len(one) == len(two) == 20
    for key in ("labels", "scores", "boxes"):
        found, wanted = (torch.from_numpy(getattr(each, key)) for each in (two, one))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_data_without_stuff_are_refused() -> None:
    with pytest.raises(FinesegError, match="head htc: semantic = true learns the class of every pixel, but the data"):
        htc(HTCOptions(semantic=True), HeadInput(256, (4, 8, 16, 32, 64), 34))
    assert not htc(HTCOptions(), HeadInput(256, (4, 8, 16, 32, 64), 34, 5)).needs_semantic


def test_padding_is_not_known() -> None:
    built = built_htc(semantic=True)
    samples, images = [], []
    for height, width in ((60, 90), (96, 64)):
        image, ((first, *_),) = torch.zeros(3, height, width, dtype=torch.uint8), [training_images(objects=1)[1]]
        first.set_metainfo({"img_shape": (height, width)})
        first.gt_instances.masks = first.gt_instances.masks.crop(np.array([0, 0, width, height]))
        first.gt_sem_seg = PixelData(sem_seg=torch.full((1, height, width), 7, dtype=torch.uint8))
        images.append(image)
        samples.append(first)
    data = built.module.data_preprocessor({"inputs": images, "data_samples": samples}, training=True)
    assert data["inputs"].shape == (2, 3, 96, 96)
    for sample, (height, width) in zip(data["data_samples"], ((60, 90), (96, 64)), strict=True):
        padded = sample.gt_sem_seg.sem_seg[0]
        assert padded.shape == (96, 96) and (padded[:height, :width] == 7).all()
        assert (padded == 255).sum() == 96 * 96 - height * width


# -------------------------------------------------------------------- training


def semantic_losses(split: Split, folder: Path) -> list[float]:
    """Train on a split of a few images; return the branch's loss of each step."""
    train = TrainTable(
        epochs=10, lr=0.02, batch=2, long_side=128, short_side=(96, 96), schedule={"name": "step", "warmup": 0}
    )
    model = small_htc(mask_scoring=False, semantic=True)
    job = TrainingJob(model, train, PREDICT, MetricTable(), split, split, folder, folder)
    events = TrainingEvents(lambda *_: None, lambda *_: None, None)
    train_model(job, load_catalog(warn=lambda _: None), events)
    rows = [row for row in read_rows(folder / "curve.jsonl") if "loss_semantic_seg" in row]
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    return [row["loss_semantic_seg"] for row in rows]


def test_learns_drawn_rooms(tmp_path: Path) -> None:
    options = ShowroomOptions(train=4, size=96)
    generate_panoptic(options, tmp_path, "train", lambda *_: None)
    split = read_panoptic_rooms(options, tmp_path, "train")
    losses = semantic_losses(split, tmp_path / "training")
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


@pytest.mark.realdata
def test_learns_cocos_133_classes(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "coco_panoptic_train100"
    whole = read_panoptic(folder / "panoptic_train100.json", folder / "panoptic_train100", folder / "images", "train")
    losses = semantic_losses(whole.select([image.id for image in whole.images[:4]]), tmp_path)
    assert losses[0] == pytest.approx(0.2 * math.log(133), rel=0.2)  # what guessing costs
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])


@pytest.mark.realdata
def test_coco_has_labels_for_nearly_all_pixels(shared_data: Path) -> None:
    folder = shared_data / "coco_panoptic_train100"
    split = read_panoptic(folder / "panoptic_train100.json", folder / "panoptic_train100", folder / "images", "train")
    dataset = TrainingImages(split, TrainTable(epochs=1, lr=1.0), semantic=True)
    assert len(dataset) == 100
    counts = np.zeros(256, np.int64)
    for index in range(20):
        counts += np.bincount(dataset[index]["data_samples"].gt_sem_seg.sem_seg.numpy().ravel(), minlength=256)
    assert counts[133:255].sum() == 0 and 0 < counts[255] < 0.2 * counts.sum()
    with torch.device("meta"):
        built = build_model(
            small_htc(semantic=True), load_catalog(warn=print), 80, weights_cache=None, init=False, num_stuff=53
        )
    assert built.module.roi_head.semantic_head.conv_logits.out_channels == 133
