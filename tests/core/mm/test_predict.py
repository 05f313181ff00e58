"""The prediction protocol, step by step, against mmdet's own predict on the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from small_models import small_model

from fineseg import FinesegError
from fineseg.catalog import Catalog
from fineseg.data.masks import decode
from fineseg.data.split import ImageInfo, Split
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import detect, load_trained, predict_image, prepare_image
from fineseg.profile.schema import PredictTable

PREDICT = PredictTable(long_side=128, short_side=112, score_threshold=0.02, nms_iou=0.5, max_per_image=20)


@pytest.fixture(params=["pointrend", "mask-rcnn"])
def built(request: pytest.FixtureRequest, catalog: Catalog) -> BuiltModel:
    torch.manual_seed(3)
    built = build_model(small_model(request.param), catalog, 14, weights_cache=None)
    for name, parameter in built.module.named_parameters():
        if "fc_logits" in name or "conv_logits" in name or "fc_cls" in name:
            torch.nn.init.normal_(parameter, std=0.5)  # spread the answers: untrained heads say the same everywhere
    built.module.eval()
    return built


@torch.no_grad()
def stock_predict(built: BuiltModel, image: ImageInfo) -> DetDataSample:
    detector = built.module
    detector.roi_head.test_cfg.update(
        {
            "score_thr": PREDICT.score_threshold,
            "nms": {"type": "nms", "iou_threshold": PREDICT.nms_iou},
            "max_per_img": PREDICT.max_per_image,
            "mask_thr_binary": PREDICT.mask_threshold,
        }
    )
    pixels = read_image(image.file)
    size = fit_size(image.height, image.width, PREDICT.long_side, PREDICT.short_side)
    tensor = prepare_image(pixels, size, built.normalisation)
    sample = DetDataSample(
        metainfo={
            "img_shape": size,
            "ori_shape": (image.height, image.width),
            "scale_factor": (size[1] / image.width, size[0] / image.height),
            "pad_shape": tuple(tensor.shape[-2:]),
            "batch_input_shape": tuple(tensor.shape[-2:]),
        }
    )
    return detector.predict(tensor, [sample], rescale=True)[0].pred_instances


def test_equals_stock_mmdet(built: BuiltModel, rooms: Split) -> None:
    image = rooms.images[0]
    ours = predict_image(built, image, PREDICT, torch.device("cpu"))
    stock = stock_predict(built, image)
    assert len(ours) == len(stock.scores) == PREDICT.max_per_image
    assert np.array_equal(ours.labels, stock.labels.numpy())
    np.testing.assert_allclose(ours.scores, stock.scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.boxes, stock.bboxes.numpy(), atol=1e-3)
    masks = np.stack([decode(counts, image.height, image.width) for counts in ours.masks])
    assert masks.any()
    agreement = (masks == stock.masks.numpy().astype(bool)).mean()
    assert agreement > 0.9999


def test_no_detection(built: BuiltModel, rooms: Split) -> None:
    nothing = PREDICT.model_copy(update={"score_threshold": 0.999999})
    found = predict_image(built, rooms.images[0], nothing, torch.device("cpu"))
    assert len(found) == 0 and found.boxes.shape == (0, 4)


def test_masks_of_two_images_in_one_batch_equal_single_ones(built: BuiltModel, rooms: Split) -> None:
    size = (96, 96)
    tensors = [prepare_image(read_image(i.file), size, built.normalisation) for i in rooms.images[:2]]
    boxes = [torch.tensor([[5.0, 5.0, 60.0, 70.0], [0.0, 0.0, 96.0, 96.0]]), torch.tensor([[30.0, 10.0, 31.0, 90.0]])]
    labels = [torch.tensor([1, 13]), torch.tensor([0])]
    with torch.no_grad():
        together = built.predictor.masks(built.predictor.encode(torch.cat(tensors)), boxes, labels)
        for index, tensor in enumerate(tensors):
            features = built.predictor.encode(tensor)
            (alone,) = built.predictor.masks(features, [boxes[index]], [labels[index]])
            torch.testing.assert_close(together[index], alone, atol=1e-4, rtol=1e-4)


def test_weights_of_another_model_are_refused(built: BuiltModel, catalog: Catalog, tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.pth"
    torch.save({"model": built.module.state_dict()}, checkpoint)
    load_trained(built, checkpoint)
    fewer = build_model(small_model("mask-rcnn"), catalog, 13, weights_cache=None, init=False)
    with pytest.raises(
        FinesegError, match=r"weights\.pth: not the weights of this model: .*, \d+ such tensors; delete"
    ):
        load_trained(fewer, checkpoint)


def test_detect_thresholds_strictly_and_keeps_the_best() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10.5], [50, 50, 60, 60]])
    scores = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.15, 0.05], [0.02, 0.9, 0.08]])
    predict = PREDICT.model_copy(update={"score_threshold": 0.05, "max_per_image": 3})
    kept, score, label = detect(boxes, scores, predict)
    assert label.tolist() == [0, 1, 1]
    torch.testing.assert_close(score, torch.tensor([0.9, 0.9, 0.15]))
    assert kept[0].tolist() == [0, 0, 10, 10]
