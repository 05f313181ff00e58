"""Whole images through a panoptic model: the same as its steps taken one by one, and scores where the image is."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from e_ups_cases import STUFF, THINGS, whole_model, write_blotches

from fineseg import FinesegError, ImageInfo, PanopticFrame, View
from fineseg.data.panoptic import present_ids, segment_fault
from fineseg.mm.model import BuiltModel
from fineseg.mm.panoptic import predict_panoptic, visible
from fineseg.mm.predict import encode_views, predict_image
from fineseg.mm.views import PLAIN, Viewing
from fineseg.profile.schema import PredictTable
from fineseg.semantic_store import label_map

CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=90, short_side=75, score_threshold=0.02, max_per_image=7)


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    return whole_model()


@pytest.fixture
def image(tmp_path: Path) -> ImageInfo:
    return write_blotches(tmp_path)


@torch.no_grad()
def test_one_pass_gives_what_the_steps_give(built: BuiltModel, image: ImageInfo) -> None:
    found = predict_panoptic(built, image, PREDICT, CPU)
    alone = predict_image(built, image, PREDICT, CPU)
    assert len(alone) == 7 and np.array_equal(found.instances.scores, alone.scores)
    assert found.instances.masks.tolist() == alone.masks.tolist()

    ((features, frame),) = encode_views(built, cv2.imread(str(image.file)), PLAIN.views, PREDICT, CPU)
    predictor = built.predictor
    proposals = [boxes for boxes, _ in predictor.proposals(features, [frame.size])]
    judged, semantic = predictor.boxes(features, proposals, [frame.size]), predictor.semantic(features)
    assert frame.size == (90, 75)
    ((ids, labels),) = predictor.panoptic(features, judged, semantic, [PanopticFrame((96, 96), (90, 75), (120, 100))])
    assert np.array_equal(found.panoptic.ids, ids.numpy()) and found.panoptic.image_id == 4
    assert tuple(segment.label for segment in found.panoptic.segments) == labels
    assert segment_fault(present_ids(found.panoptic.ids), found.panoptic.segments) is None
    assert {label < THINGS for label in labels} == {True, False}

    scores = found.semantic
    assert scores.size == (120, 100) and scores.probabilities.shape == (THINGS + STUFF, 23, 19)
    np.testing.assert_allclose(scores.probabilities.sum(axis=0), 1, rtol=1e-5)
    wide = torch.nn.functional.interpolate(semantic, size=(96, 96), mode="bilinear")[0, :, :90, :75].argmax(0)
    nearest = cv2.resize(wide.numpy().astype(np.uint8), (100, 120), interpolation=cv2.INTER_NEAREST)
    assert (label_map(scores) == nearest).mean() > 0.93


def test_maps_without_scores(built: BuiltModel, image: ImageInfo) -> None:
    whole = predict_panoptic(built, image, PREDICT, CPU)
    found = predict_panoptic(built, image, PREDICT, CPU, ("instances", "panoptic"))
    assert found.semantic is None and found.panoptic is not None and whole.panoptic is not None
    assert np.array_equal(found.panoptic.ids, whole.panoptic.ids)


@pytest.mark.parametrize("sides", [(True, False), (False, True), (True, True)])
def test_a_mirrored_view_alone_is_upright(built: BuiltModel, tmp_path: Path, sides: tuple[bool, bool]) -> None:
    """The view of an image that is scaled to its own size is the plain look at the mirrored file."""
    horizontal, vertical = sides
    across, down = (-1 if horizontal else 1), (-1 if vertical else 1)
    pixels = np.random.default_rng(5).integers(0, 255, (8, 6, 3), np.uint8)
    pixels = cv2.resize(pixels, (64, 96), interpolation=cv2.INTER_CUBIC)
    for name, each in (("x", pixels), ("mirrored", pixels[::down, ::across])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), each)
    predict = PREDICT.model_copy(update={"long_side": 96, "short_side": 64})
    plain = predict_panoptic(built, ImageInfo(4, tmp_path / "mirrored.png", 64, 96), predict, CPU, ("semantic",))
    view = Viewing((View(horizontal=horizontal, vertical=vertical),))
    for gives in (("semantic",), ("instances", "semantic", "panoptic")):
        found = predict_panoptic(built, ImageInfo(4, tmp_path / "x.png", 64, 96), predict, CPU, gives, view)  # type: ignore[arg-type]
        assert found.semantic is not None and plain.semantic is not None
        wanted = np.asarray(plain.semantic.probabilities)[:, ::down, ::across]
        np.testing.assert_allclose(np.asarray(found.semantic.probabilities), wanted, atol=1e-4)
    assert found.panoptic is not None and found.panoptic.ids.shape == (96, 64)


def test_scores_without_padding_are_those_given() -> None:
    given = torch.randn(1, 3, 8, 6)
    frame = PanopticFrame((32, 24), (32, 24), (50, 40))
    torch.testing.assert_close(visible(given, frame), given, atol=1e-5, rtol=1e-5)


def test_padding_is_cut_off() -> None:
    given = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    found = visible(given, PanopticFrame((32, 32), (27, 18), (27, 18)))
    assert found.shape == (1, 2, 7, 5)
    for row in range(7):
        for column in range(5):
            # the middle of the cell, in cells of what is given
            y, x = (row + 0.5) / 7 * 27 / 4 - 0.5, (column + 0.5) / 5 * 18 / 4 - 0.5
            top, left = int(np.floor(y)), int(np.floor(x))
            wanted = torch.zeros(2, dtype=torch.float64)
            for r, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                for c, across in ((left, 1 - (x - left)), (left + 1, x - left)):
                    wanted += down * across * given[0, :, min(max(r, 0), 7), min(max(c, 0), 7)]
            torch.testing.assert_close(found[0, :, row, column], wanted, atol=1e-6, rtol=1e-5)


def test_a_head_without_maps_is_refused(built: BuiltModel, image: ImageInfo) -> None:
    plain = BuiltModel(built.module, object(), built.normalisation, {}, ())  # type: ignore[arg-type]
    with pytest.raises(FinesegError, match="object has no steps to give 'instances'"):
        predict_panoptic(plain, image, PREDICT, CPU)
