"""Predictions against mmdet's HTC where that is right, and against the paper's three stages where it is not."""

from typing import Any

import pytest
import torch
from htc_cases import CLASSES, built_htc, meta, stock_htc
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from fineseg import View
from fineseg.data.split import Split
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import predict_image, prepare_image
from fineseg.mm.views import Viewing
from fineseg.profile.schema import PredictTable

SIZES = [(96, 96), (80, 90)]
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.05, max_per_image=20)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stock(built: BuiltModel) -> Any:
    return stock_htc(built, PREDICT)


@pytest.fixture(scope="module")
def features(built: BuiltModel) -> Any:
    built.module.eval()
    with torch.no_grad():
        return built.predictor.encode(torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))


def draw_detections(*numbers: int) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(5)
    boxes, labels = [], []
    for number in numbers:
        corners = torch.rand(number, 2, generator=generator) * 60
        boxes.append(torch.cat([corners, corners + torch.rand(number, 2, generator=generator) * 60 + 2], dim=1))
        labels.append(torch.randint(CLASSES, (number,), generator=generator))
    return boxes, labels


def stage_logits(stock: Any, features: Any, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
    """Return mmdet's logits [R, S, S] of the own class, stage by stage, as in training."""
    label = torch.cat(labels)
    every = [stock.roi_head._mask_forward(stage, features, bbox2roi(boxes))["mask_preds"] for stage in range(3)]
    return [logits[torch.arange(len(label)), label] for logits in every]


@torch.no_grad()
def test_boxes_and_probabilities_equal_mmdets(built: BuiltModel, stock: Any, features: Any) -> None:
    proposals = built.predictor.proposals(features, SIZES)
    found = built.predictor.boxes(features, [boxes for boxes, _ in proposals], SIZES)
    results = stock.rpn_head.predict(features, [DetDataSample(metainfo=meta(size)) for size in SIZES], rescale=False)
    expected = stock.roi_head.predict_bbox(features, [meta(size) for size in SIZES], results, None)
    for (boxes, scores), wanted in zip(found, expected, strict=True):
        assert len(boxes) == 50 and scores.shape == (50, CLASSES + 1)
        torch.testing.assert_close(boxes, wanted.bboxes)
        torch.testing.assert_close(scores, wanted.scores)
        assert scores.std(dim=0).max() > 0.1 and scores.argmax(dim=1).unique().numel() > 2


@torch.no_grad()
def test_masks_are_the_mean_of_three_stages(built: BuiltModel, stock: Any, features: Any) -> None:
    boxes, labels = draw_detections(21, 6)
    found = built.predictor.masks(features, boxes, labels)
    assert [each.shape for each in found] == [(21, 16, 16), (6, 16, 16)]
    first, second, third = (each.sigmoid() for each in stage_logits(stock, features, boxes, labels))
    torch.testing.assert_close(torch.cat(found), (first + second + third) / 3)
    # What mmdet predicts: its third stage alone.
    only = stock.roi_head._mask_forward(-1, features, bbox2roi(boxes), training=False)["mask_preds"][-1].sigmoid()
    torch.testing.assert_close(only[torch.arange(27), torch.cat(labels)], third)
    assert ((torch.cat(found) > 0.5) != (third > 0.5)).float().mean() > 0.05


@torch.no_grad()
def test_a_whole_image_equals_mmdets_but_for_masks(rooms: Split) -> None:
    built = built_htc(mask_scoring=False)
    built.module.eval()
    stock = stock_htc(built, PREDICT)
    image = rooms.images[0]
    found = predict_image(built, image, PREDICT, CPU)
    sample = DetDataSample(metainfo=meta((80, 96)))
    pixels = prepare_image(read_image(image.file), (80, 96), built.normalisation)
    expected = stock.predict(pixels, [sample], rescale=True)[0].pred_instances
    assert len(found) == len(expected) == 20
    assert found.labels.tolist() == expected.labels.tolist() and len(set(found.labels.tolist())) > 1
    torch.testing.assert_close(torch.from_numpy(found.scores), expected.scores)
    torch.testing.assert_close(torch.from_numpy(found.boxes), expected.bboxes, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_nothing_detected(built: BuiltModel, features: Any) -> None:
    none, no_labels = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.long)] * 2
    for boxes, scores in built.predictor.boxes(features, none, SIZES):
        assert boxes.shape == (0, 4) and scores.shape == (0, CLASSES + 1)
    masks = built.predictor.masks(features, none, no_labels)
    assert [each.shape for each in masks] == [(0, 16, 16)] * 2
    assert [each.shape for each in built.predictor.quality(features, none, no_labels, masks)] == [(0,)] * 2


@torch.no_grad()
def test_images_do_not_see_each_other(built: BuiltModel, features: Any) -> None:
    boxes, labels = draw_detections(0, 9)
    ((alone, scores),) = built.predictor.boxes([each[1:] for each in features], boxes[1:], SIZES[1:])
    (nothing, _), (together, both) = built.predictor.boxes(features, boxes, SIZES)
    assert len(nothing) == 0
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(both, scores)
    masks = built.predictor.masks(features, boxes, labels)
    torch.testing.assert_close(masks[1], built.predictor.masks([f[1:] for f in features], boxes[1:], labels[1:])[0])


def quality_plainly(head: Any, pooled: Tensor, masks: Tensor) -> Tensor:
    hidden = torch.cat([pooled, nn.functional.max_pool2d(masks[:, None], 2)], dim=1)
    for conv in head.convs:
        hidden = nn.functional.conv2d(hidden, conv.weight, conv.bias, conv.stride, conv.padding).relu()
    hidden = hidden.flatten(1)
    for layer in head.fcs:
        hidden = nn.functional.linear(hidden, layer.weight, layer.bias).relu()
    return nn.functional.linear(hidden, head.fc_mask_iou.weight, head.fc_mask_iou.bias)


@torch.no_grad()
def test_quality_equals_the_formula_on_the_predicted_mask(built: BuiltModel, stock: Any, features: Any) -> None:
    boxes, labels = draw_detections(4, 17)
    masks = built.predictor.masks(features, boxes, labels)
    found = built.predictor.quality(features, boxes, labels, masks)
    assert [len(each) for each in found] == [4, 17]
    pooled = stock.roi_head.mask_roi_extractor[2](features[:4], bbox2roi(boxes))
    every = quality_plainly(built.module.roi_head.mask_iou_head, pooled, torch.cat(masks))
    expected = every[torch.arange(21), torch.cat(labels)]
    assert expected.std() > 0.1
    torch.testing.assert_close(torch.cat(found), expected.clamp(0, 1), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_quality_is_the_own_classes_and_a_part_of_one(features: Any) -> None:
    built = built_htc()
    last = built.module.eval().roi_head.mask_iou_head.fc_mask_iou
    nn.init.zeros_(last.weight)
    last.bias.copy_(torch.linspace(-0.3, 1.3, CLASSES))
    boxes, labels = [torch.tensor([[4.0, 4, 40, 50]]).repeat(CLASSES, 1)], [torch.arange(CLASSES).flip(0)]
    extremes = torch.arange(CLASSES)[:, None, None].expand(-1, 16, 16) % 2  # probabilities of 0 and 1 have a quality
    one = [each[:1] for each in features]
    found = built.predictor.quality(one, boxes, labels, [extremes.float()])
    torch.testing.assert_close(found[0], torch.linspace(1.3, -0.3, CLASSES).clamp(0, 1))


@pytest.mark.parametrize("scoring", [False, True])
def test_two_equal_views_say_what_one_says(scoring: bool, rooms: Split) -> None:
    built = built_htc(mask_scoring=scoring)
    built.module.eval()
    image = rooms.images[1]
    one = predict_image(built, image, PREDICT, CPU)
    two = predict_image(built, image, PREDICT, CPU, Viewing((View(), View())))
    assert len(one) == 20 and len(set(one.labels.tolist())) > 1
    assert (one.scores[1:] <= one.scores[:-1]).all()
    for key in ("labels", "scores", "boxes"):
        found, wanted = (torch.from_numpy(getattr(each, key)) for each in (two, one))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_views_of_all_kinds_share_proposals(built: BuiltModel, rooms: Split) -> None:
    views = tuple(View(scale=scale, horizontal=mirrored) for scale in (0.8, 1.0, 1.25) for mirrored in (False, True))
    image = rooms.images[2]
    built.module.eval()
    several = predict_image(built, image, PREDICT, CPU, Viewing(views))
    assert len(several) > 5 and ((several.scores >= 0) & (several.scores <= 1)).all()
    assert len(several.masks) == len(several)
    one = predict_image(built, image, PREDICT, CPU)
    assert several.scores.tolist()[:5] != one.scores.tolist()[:5]


@torch.no_grad()
def test_mask_scoring_reweighs_and_sorts(rooms: Split) -> None:
    scored = built_htc()
    plain = built_htc(mask_scoring=False)
    assert not hasattr(plain.predictor, "quality")
    assert plain.module.roi_head.mask_iou_head is None
    weights = scored.module.state_dict()
    plain.module.load_state_dict({k: v for k, v in weights.items() if "mask_iou_head" not in k}, strict=True)
    plain.module.eval()
    last = scored.module.eval().roi_head.mask_iou_head.fc_mask_iou
    nn.init.zeros_(last.weight)
    last.bias.copy_(torch.linspace(0.2, 0.9, CLASSES))
    image = rooms.images[3]
    before, after = (predict_image(model, image, PREDICT, CPU) for model in (plain, scored))
    expected = sorted(
        (float(s * last.bias[c]) for s, c in zip(before.scores, before.labels, strict=True)), reverse=True
    )
    assert after.scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert after.labels.tolist() != before.labels.tolist()
