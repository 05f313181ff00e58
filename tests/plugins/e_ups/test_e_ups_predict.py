"""Prediction of the small detector: the protocol's steps, and that images of a batch do not touch each other."""

import pytest
import torch
from e_ups_cases import SIDE, STUFF, THINGS, built_e_ups, drawn, found_maps, spread

from fineseg import FinesegError, HeadInput, PanopticFrame, PanopticPredictor, TwoStagePredictor
from fineseg_e_ups.heads import e_ups
from fineseg_e_ups.options import EUPSOptions
from fineseg_e_ups.plugin import fineseg_heads

FRAME = PanopticFrame((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
RULES = {"score": 0.2, "stuff_area": 50}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "lsh"])
def predictor(request):
    made = built_e_ups(lsh=request.param, panoptic=RULES)
    spread(made.detector, 3)
    return made


@torch.no_grad()
def test_steps(predictor) -> None:
    images, _ = drawn(2)
    stepwise: TwoStagePredictor = predictor
    assert isinstance(predictor, PanopticPredictor)
    features = stepwise.encode(images)
    sizes = [(SIDE, SIDE)] * 2
    proposals = [boxes for boxes, _ in stepwise.proposals(features, sizes)]
    assert all(0 < len(each) <= stepwise.max_proposals for each in proposals)
    for (boxes, scores), each in zip(stepwise.boxes(features, proposals, sizes), proposals, strict=True):
        assert boxes.shape == (len(each), THINGS, 4) and scores.shape == (len(each), THINGS + 1)
        torch.testing.assert_close(scores.sum(dim=1), torch.ones(len(each)))
    labels = [torch.arange(4) % THINGS, torch.zeros(0, dtype=torch.long)]
    found = stepwise.masks(features, [proposals[0][:4], proposals[1][:0]], labels)
    logits = predictor.mask_logits(features, [proposals[0][:4], proposals[1][:0]], labels)
    assert found[0].shape == (4, 14, 14) and len(found[1]) == 0
    torch.testing.assert_close(found[0], logits[0].sigmoid())
    assert predictor.semantic(features).shape == (2, THINGS + STUFF, SIDE // 4, SIDE // 4)


@torch.no_grad()
def test_two_images_are_twice_one(predictor) -> None:
    images, _ = drawn(2)
    frames = [FRAME, PanopticFrame((SIDE, SIDE), (60, 50), (90, 75))]
    both = found_maps(predictor, predictor.encode(images), frames)
    for image, frame, found in zip(images, frames, both, strict=True):
        (alone,) = found_maps(predictor, predictor.encode(image[None]), [frame])
        assert tuple(found.ids.shape) == frame.original
        assert found.labels == alone.labels
        assert (found.ids == alone.ids).all()
    assert any(label < THINGS for found in both for label in found.labels)


@torch.no_grad()
def test_nothing_detected(predictor) -> None:
    images, _ = drawn(1)
    before = predictor.detector.rules
    predictor.detector.rules = before.model_copy(update={"score": 1.0})
    (found,) = found_maps(predictor, predictor.encode(images), [FRAME])
    predictor.detector.rules = before
    assert found.labels and all(label >= THINGS for label in found.labels)


def test_offered() -> None:
    (head,) = fineseg_heads()
    assert (head.name, head.options) == ("e-ups", EUPSOptions)
    assert head.shares_proposals and head.dense and head.gives == ("instances", "semantic", "panoptic")
    for name in head.prediction_only:
        group, key = name.split(".")
        assert key in type(getattr(EUPSOptions(), group)).model_fields


def test_data_without_stuff_are_refused() -> None:
    with pytest.raises(FinesegError, match="the data have no stuff classes: use panoptic data"):
        e_ups(EUPSOptions(), HeadInput(256, (4, 8, 16, 32, 64), 80))


def test_training_reads_masks_and_the_class_of_every_pixel() -> None:
    spec = e_ups(EUPSOptions(), HeadInput(256, (4, 8, 16, 32, 64), 80, 53))
    assert spec.needs_masks and spec.needs_semantic
    assert spec.detector["semantic_head"]["num_classes"] == 133
    assert not spec.detector["roi_head"]["bbox_head"]["reg_class_agnostic"]


def test_published_defaults() -> None:
    options = EUPSOptions()
    assert tuple(options.panoptic.model_dump().values()) == (0.1, 0.7, 0.6, 0.5, 100, 0.3, 4096)
    assert (options.semantic.pixel_weight, options.semantic.roi_weight) == (0.2, 0.04)
    assert (options.rpn.train_proposals, options.rpn.test_proposals, options.rpn.samples) == (2000, 1000, 256)
    assert (options.box.roi, options.box.width, options.box.samples, options.box.positive) == (7, 1024, 512, 0.25)
