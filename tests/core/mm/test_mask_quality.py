"""What the driver makes of a head that says how good its masks are: weighted scores, sorted anew."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from fineseg import Instances, MaskScoringPredictor, TwoStagePredictor, View
from fineseg.data.split import Split
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import predict_image
from fineseg.mm.views import Viewing
from fineseg.parts import Normalisation
from fineseg.profile.schema import PredictTable

SCORES, QUALITIES = (0.9, 0.8, 0.6), (0.2, 1.0, 0.5)
CORNERS = torch.tensor([[2.0, 3, 20, 21], [30, 5, 50, 30], [60, 40, 78, 60]])


class PlainPredictor:
    """Finds the same three boxes, each of its own class, in every view."""

    max_proposals = 10
    proposal_iou = 0.7

    def encode(self, images: Tensor) -> list[Tensor]:
        return [images]

    def proposals(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        return [(CORNERS, torch.tensor(SCORES))]

    def boxes(
        self, features: Sequence[Tensor], proposals: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        return [(CORNERS, torch.cat([torch.diag(torch.tensor(SCORES)), torch.zeros(3, 1)], dim=1))]

    def masks(self, features: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        return [torch.full((len(labels[0]), 4, 4), 0.9)]


class ScoredPredictor(PlainPredictor):
    """Says of each class's mask what `QUALITIES` says, the first time, and half of it the next time."""

    def __init__(self) -> None:
        self.asked = 0

    def quality(
        self, features: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        assert len(boxes[0]) == len(labels[0]) == len(masks[0])
        self.asked += 1
        return [torch.tensor(QUALITIES)[labels[0]] / self.asked]


def predict(
    predictor: TwoStagePredictor, rooms: Split, views: tuple[View, ...] = (View(),), threshold: float = 0.05
) -> Instances:
    image = rooms.images[0]
    sides = {"long_side": max(image.width, image.height), "short_side": min(image.width, image.height)}
    built = BuiltModel(torch.nn.Module(), predictor, Normalisation(), {}, ())
    table = PredictTable(**sides, score_threshold=threshold)
    return predict_image(built, image, table, torch.device("cpu"), Viewing(views))


def test_a_head_without_the_step_is_not_asked() -> None:
    assert isinstance(ScoredPredictor(), MaskScoringPredictor)
    assert not isinstance(PlainPredictor(), MaskScoringPredictor)


@pytest.mark.parametrize(("views", "part"), [((View(),), 1.0), ((View(), View(horizontal=True)), 0.75)], ids=str)
def test_scores_are_weighted_and_rows_stay_together(views: tuple[View, ...], part: float, rooms: Split) -> None:
    """Of two views the first says the quality and the second half of it: their mean is three quarters."""
    found = predict(ScoredPredictor(), rooms, views)
    wanted = sorted(((s * q * part, n) for n, (s, q) in enumerate(zip(SCORES, QUALITIES, strict=True))), reverse=True)
    assert found.labels.tolist() == [n for _, n in wanted] == [1, 2, 0]
    np.testing.assert_allclose(found.scores, [score for score, _ in wanted], rtol=1e-6)
    plain = predict(PlainPredictor(), rooms, views)
    for row, label in enumerate(found.labels):
        before = plain.labels.tolist().index(label)
        assert np.array_equal(found.boxes[row], plain.boxes[before]) and found.masks[row] == plain.masks[before]


def test_thresholds_hold_before_masks_are_scored(rooms: Split) -> None:
    found = predict(ScoredPredictor(), rooms, threshold=0.7)
    np.testing.assert_allclose(found.scores, [0.8, 0.9 * 0.2], rtol=1e-6)


def test_nothing_found(rooms: Split) -> None:
    assert len(predict(ScoredPredictor(), rooms, threshold=0.95)) == 0
