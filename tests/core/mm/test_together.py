"""Models and views that look at an image together: one alone, copies of it, features kept or not, mirrored views."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from e_ups_cases import whole_model, write_blotches
from torch import Tensor, nn

from fineseg import FinesegError, ImageInfo, Normalisation, PanopticFrame, View
from fineseg.mm.dense import PLAIN as SPACES
from fineseg.mm.dense import Sight, onto
from fineseg.mm.model import BuiltModel
from fineseg.mm.panoptic import predict_panoptic
from fineseg.mm.together import Together, predict_together
from fineseg.mm.views import PLAIN, Frame, Viewing
from fineseg.panoptic_predictions import PanopticAnswer
from fineseg.profile.schema import PredictTable

CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=90, short_side=75, score_threshold=0.02, max_per_image=7)
EVERYTHING = ("instances", "semantic", "panoptic")


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    return whole_model()


@pytest.fixture
def image(tmp_path: Path) -> ImageInfo:
    return write_blotches(tmp_path)


def assert_alike(found: PanopticAnswer, wanted: PanopticAnswer) -> None:
    """Compare answers up to rounding, where two channels may be as good."""
    assert found.panoptic is not None and wanted.panoptic is not None
    assert found.semantic is not None and wanted.semantic is not None
    assert [s.label for s in found.panoptic.segments] == [s.label for s in wanted.panoptic.segments]
    assert (found.panoptic.ids != wanted.panoptic.ids).mean() < 1e-3
    np.testing.assert_allclose(found.instances.scores, wanted.instances.scores, atol=1e-5)
    np.testing.assert_allclose(found.instances.boxes, wanted.instances.boxes, atol=1e-3)
    np.testing.assert_allclose(found.semantic.probabilities, wanted.semantic.probabilities, atol=1e-5)
    assert found.instances.labels.tolist() == wanted.instances.labels.tolist()


def test_a_model_alone_or_with_its_copy_says_what_it_says(built: BuiltModel, image: ImageInfo) -> None:
    wanted = predict_panoptic(built, image, PREDICT, CPU)
    assert len(wanted.instances) == 7 and wanted.panoptic is not None and len(wanted.panoptic.segments) > 2
    for weights in ([1.0], [0.4, 1.3]):
        models = [Together(built, PLAIN, PREDICT, weight) for weight in weights]
        assert_alike(predict_together(models, image, PREDICT, CPU, SPACES), wanted)
    twice = Viewing((View(), View()))
    assert_alike(predict_panoptic(built, image, PREDICT, CPU, EVERYTHING, twice), wanted)
    models = [Together(built, twice, PREDICT, 2.0)]
    assert_alike(predict_together(models, image, PREDICT, CPU, SPACES), wanted)


def test_features_are_kept_where_there_is_room(
    built: BuiltModel, image: ImageInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = built.predictor.encode, []
    monkeypatch.setattr(built.predictor, "encode", lambda images: calls.append(images.shape) or encode(images))
    views = Viewing((View(), View(horizontal=True), View(scale=1.5)))
    models = [Together(built, views, PREDICT, 1.0), Together(built, PLAIN, PREDICT, 3.0)]
    answers = []
    for kept, times in ((2**30, 4), (0, 12)):
        calls.clear()
        answers.append(predict_together(models, image, PREDICT, CPU, SPACES, kept=kept))
        assert len(calls) == times
    assert_alike(*answers)


def test_a_head_that_makes_no_maps_averages_its_scores_over_views(built: BuiltModel, image: ImageInfo) -> None:
    views = Viewing((View(), View(horizontal=True)))
    scores = predict_panoptic(built, image, PREDICT, CPU, ("semantic",), views)
    assert scores.panoptic is None and len(scores.instances) == 0 and scores.semantic is not None
    plain, mirrored = (
        predict_panoptic(built, image, PREDICT, CPU, ("semantic",), Viewing((view,))).semantic for view in views.views
    )
    assert plain is not None and mirrored is not None
    assert not np.allclose(plain.probabilities, mirrored.probabilities, atol=0.01)
    both = np.log(plain.probabilities) + np.log(mirrored.probabilities)
    wanted = np.exp(both / 2) / np.exp(both / 2).sum(axis=0)
    assert np.abs(scores.semantic.probabilities - wanted).mean() < 0.01  # a mirrored grid has its cells elsewhere


def test_a_head_that_does_not_go_step_by_step_is_refused(built: BuiltModel, image: ImageInfo) -> None:
    other = replace(built, predictor=nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(FinesegError, match="Identity does not go step by step with others"):
        predict_together([Together(other, PLAIN, PREDICT, 1.0)], image, PREDICT, CPU, SPACES)


# ----------------------------------------------------------------------- views


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("size", [(64, 48), (70, 52), (128, 96)])
def test_scores_of_a_view_are_brought_home(size: tuple[int, int], mirrored: tuple[bool, bool]) -> None:
    """A plane over the image stays that plane, whichever the view's size and sense, but for its outermost cells."""
    other = Sight(Frame((120, 90), (64, 48)), (64, 64))
    padded = tuple(side + -side % 32 for side in size)
    own = Sight(Frame((120, 90), size, *mirrored), padded)  # type: ignore[arg-type]

    def plane(sight: Sight) -> Tensor:
        places = []
        for axis, flipped in ((0, sight.frame.vertical), (1, sight.frame.horizontal)):
            cells = (torch.arange(sight.padded[axis] // 4) + 0.5) * 4 / sight.frame.size[axis]
            places.append(1 - cells if flipped else cells)
        return (2 * places[0][:, None] + 5 * places[1][None])[None, None]

    found, wanted = onto(plane(own), own, other, (16, 16)), plane(other)
    inside = (slice(None), slice(None), slice(1, 15), slice(1, 11))
    torch.testing.assert_close(found[inside], wanted[inside], atol=1e-5, rtol=1e-5)
    if own != other:
        assert torch.equal(found[..., 12], found[..., 13])  # padding is as the image's edge


class Bright:
    """Finds the bright rectangle of an image, wherever the view shows it: nothing learnt, everything known."""

    max_proposals, proposal_iou = 10, 0.7

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        return (images[:, :1],)

    def _box(self, features: Sequence[Tensor]) -> Tensor:
        rows, columns = (features[0][0, 0] > 127).nonzero().T
        return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()

    def proposals(self, features: Sequence[Tensor], sizes: Any) -> list[tuple[Tensor, Tensor]]:
        return [(self._box(features)[None], torch.tensor([0.9]))]

    def boxes(self, features: Sequence[Tensor], proposals: list[Tensor], sizes: Any) -> list[tuple[Tensor, Tensor]]:
        return [
            (self._box(features)[None].expand(len(proposals[0]), 4), torch.tensor([[0.8, 0.2]] * len(proposals[0])))
        ]

    def mask_logits(self, features: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        found = []
        for x1, y1, x2, y2 in boxes[0].round().int().tolist():
            inside = features[0][:, :, y1:y2, x1:x2] - 220  # brighter on one side than on the other
            found.append(nn.functional.interpolate(inside, size=(8, 8), mode="area")[0, 0] / 10)
        return [torch.stack(found)]

    def masks(self, features: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        return [each.sigmoid() for each in self.mask_logits(features, boxes, labels)]

    def semantic(self, features: Sequence[Tensor]) -> Tensor:
        return nn.functional.avg_pool2d(torch.cat([features[0], 255 - features[0]], dim=1), 4) / 255

    def choose(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return boxes[:1], scores[:1, 0], torch.zeros(1, dtype=torch.long)

    def join(self, semantic: Tensor, *objects: Any) -> tuple[Tensor, tuple[int, ...]]:
        self.joined = (semantic, *objects)
        return torch.zeros(objects[-1].original, dtype=torch.int32), ()

    def panoptic(self, *_: Any) -> Any:
        raise AssertionError("several views go step by step")


@pytest.mark.parametrize(
    "views",
    [(View(), View(horizontal=True)), (View(vertical=True), View()), (View(scale=2.0), View(), View(horizontal=True))],
)
def test_views_of_one_thing_agree(tmp_path: Path, views: tuple[View, ...]) -> None:
    pixels = np.full((120, 90, 3), 20, np.uint8)
    pixels[30:90, 12:60] = 200
    pixels[30:90, 36:60] = 250
    cv2.imwrite(str(tmp_path / "x.png"), pixels)
    image, predictor = ImageInfo(1, tmp_path / "x.png", 90, 120), Bright()
    model = BuiltModel(nn.Identity(), predictor, Normalisation((0, 0, 0), (1, 1, 1)), {}, ())  # type: ignore[arg-type]
    predict = PredictTable(long_side=240, short_side=180)
    found = predict_together([Together(model, Viewing(views), predict, 1.0)], image, predict, CPU, SPACES)
    (box,) = found.instances.boxes.tolist()
    np.testing.assert_allclose(box, [12, 30, 60, 90], atol=1)
    semantic, boxes, _, _, masks, frame = predictor.joined
    scale = views[0].scale
    size = (round(240 * scale), round(180 * scale))
    assert frame == PanopticFrame(tuple(s + -s % 32 for s in size), size, (120, 90))
    np.testing.assert_allclose(boxes[0].tolist(), [2 * scale * v for v in (12, 30, 60, 90)], atol=2)
    assert (masks[0, :, :3] < 0).all() and (masks[0, :, 5:] > 0).all()  # the right half is the bright one
    cells = [int(v * 2 * scale / 4) for v in (24, 60, 50)]
    assert semantic[0, cells[1], cells[0]] == pytest.approx(200 / 255, abs=0.02)
    assert semantic[0, cells[1], cells[2]] == pytest.approx(250 / 255, abs=0.02)
    assert semantic[0, 2, 2] == pytest.approx(20 / 255, abs=0.02)
