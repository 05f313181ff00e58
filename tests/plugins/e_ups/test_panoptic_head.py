"""The panoptic head against plain loops: training path, prediction path, no object, masks outside the image."""

from typing import Any

import e_ups_loops as loops
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fineseg import PanopticFrame
from fineseg_e_ups.options import PanopticOptions
from fineseg_e_ups.panoptic import (
    Objects,
    choose_boxes,
    panoptic_loss,
    panoptic_map,
    settle,
    shown,
    training_logits,
    training_target,
    unhidden,
)

THINGS, STUFF, SIDE = 3, 4, 6
CLASSES = THINGS + STUFF


def case(seed: int, objects: int, height: int, width: int, scale: float = 1.0) -> tuple[torch.Tensor, Objects]:
    """Draw scores [C, height, width] and objects whose boxes, in pixels of `scale` times that, may reach outside."""
    draw = torch.Generator().manual_seed(seed)
    semantic = 2 * torch.randn(CLASSES, height, width, generator=draw)
    semantic = F.avg_pool2d(semantic, 3, 1, 1) * 3  # regions, not noise
    corner = torch.rand(objects, 2, generator=draw) * torch.tensor([width, height]) * scale * 0.7 - 1
    side = torch.rand(objects, 2, generator=draw) * torch.tensor([width, height]) * scale * 0.8
    masks = 3 * torch.randn(objects, SIDE, SIDE, generator=draw) + 1
    scores = torch.rand(objects, generator=draw).sort(descending=True).values
    labels = torch.randint(0, THINGS, (objects,), generator=draw)
    return semantic, Objects(torch.cat([corner, corner + side], dim=1), scores, labels, masks)


def plain(found: Objects) -> tuple[Any, Any, Any]:
    return found.masks.double().numpy(), found.boxes.numpy(), found.labels.tolist()


# -------------------------------------------------------------------- training


@pytest.mark.parametrize(("seed", "objects"), [(0, 0), (1, 1), (2, 2), (3, 5), (4, 5)])
def test_training_logits_and_loss(seed: int, objects: int) -> None:
    semantic, found = case(seed, objects, 13, 17)
    draw = np.random.default_rng(seed)
    truth = draw.choice([*range(CLASSES), 255], (13, 17))
    shapes = draw.random((objects, 13, 17)) < 0.3
    logits = training_logits(semantic, THINGS, found.masks, found.boxes, found.labels)
    wanted = loops.channels(semantic.double().numpy(), THINGS, *plain(found))
    np.testing.assert_allclose(logits.numpy(), wanted, rtol=1e-4, atol=1e-4)
    target = training_target(torch.from_numpy(truth), THINGS, STUFF, torch.from_numpy(shapes))
    np.testing.assert_array_equal(target.numpy(), loops.target(truth, THINGS, STUFF, shapes))
    entropies = loops.cross_entropy(wanted, target.numpy(), ignored=-1)
    assert 0 < len(entropies) < 13 * 17
    assert float(panoptic_loss(logits, target)) == pytest.approx(sum(entropies) / (13 * 17), rel=1e-4)


def test_training_is_differentiable_in_scores_and_masks() -> None:
    semantic, found = case(5, 3, 9, 11)
    semantic, masks = semantic.double().requires_grad_(), found.masks.double().requires_grad_()
    boxes = found.boxes.clamp(0.3, 7.6)

    def loss(scores: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        logits = training_logits(scores, THINGS, cells, boxes, found.labels)
        return panoptic_loss(logits, torch.arange(99).view(9, 11) % (STUFF + 4))

    assert torch.autograd.gradcheck(loss, (semantic, masks))


def test_more_objects_than_labels_fit_below_the_ignored_one() -> None:
    target = training_target(torch.full((2, 2), THINGS), THINGS, STUFF, torch.ones(300, 2, 2, dtype=torch.bool))
    assert (target == STUFF + 299).all()


@pytest.mark.parametrize(("count", "number"), [(0, 0), (1, 1), (2, 1), (3, 2), (10, 7), (11, 7)])
def test_seven_in_ten_objects_are_shown(count: int, number: int) -> None:
    torch.manual_seed(0)
    drawn = [shown(count, 0.7).tolist() for _ in range(40)]
    assert all(len(set(each)) == number and each == sorted(each) for each in drawn)
    assert {index for each in drawn for index in each} == set(range(count))


def test_all_objects_are_shown_where_asked() -> None:
    assert shown(5, 1.0).tolist() == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------ prediction

FRAMES = {
    "plain": PanopticFrame((32, 48), (32, 48), (32, 48)),
    "padded": PanopticFrame((32, 48), (27, 41), (27, 41)),
    "shrunk": PanopticFrame((32, 48), (30, 44), (15, 22)),
    "grown": PanopticFrame((32, 48), (30, 44), (41, 67)),
}


def compare(semantic: torch.Tensor, found: Objects, frame: PanopticFrame, rules: PanopticOptions) -> set[str]:
    """Compare segments with the loops' and return what kinds there are."""
    result = panoptic_map(semantic, THINGS, found, frame, rules)
    wanted = loops.panoptic(semantic.double().numpy(), THINGS, *plain(found), frame, rules)
    assert result.ids.dtype == torch.int32 and tuple(result.ids.shape) == frame.original
    told = {}
    for at in np.ndindex(*frame.original):
        number = int(result.ids[at])
        label = None if number == 0 else result.labels[number - 1]
        assert label == (None if wanted[at] == loops.VOID else wanted[at][-1]), at
        assert told.setdefault(wanted[at], number) == number  # one segment is one id
    assert len(set(told.values())) == len(told)
    assert set(result.ids.unique().tolist()) - {0} == set(range(1, len(result.labels) + 1))
    return {"void" if each == loops.VOID else each[0] for each in told}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FRAMES)
def test_prediction(name: str, seed: int) -> None:
    semantic, found = case(seed, 6, 8, 12, scale=4.0)
    kinds = compare(semantic, found, FRAMES[name], PanopticOptions(stuff_area=60, overlap=0.5))
    assert kinds >= {"object", "stuff"}


def test_prediction_knows_the_unknown_and_what_is_small() -> None:
    semantic, found = case(7, 2, 8, 12, scale=4.0)
    semantic[:THINGS] += 1.5
    assert "void" in compare(semantic, found, FRAMES["plain"], PanopticOptions(stuff_area=0))
    kinds = compare(semantic, found, FRAMES["plain"], PanopticOptions(stuff_area=10**6))
    assert kinds == {"object", "void"}


def test_objects_that_are_stuff_by_the_scores_become_stuff() -> None:
    semantic, found = case(8, 4, 8, 12, scale=4.0)
    semantic[THINGS + 1] += 2
    strong = Objects(found.boxes, found.scores, found.labels, found.masks + 12)
    assert compare(semantic, strong, FRAMES["plain"], PanopticOptions(stuff_area=0)) >= {"stuff"}
    before = panoptic_map(semantic, THINGS, strong, FRAMES["plain"], PanopticOptions(stuff_area=0))
    semantic[THINGS + 1] -= 20
    after = panoptic_map(semantic, THINGS, strong, FRAMES["plain"], PanopticOptions(stuff_area=0))
    assert sum(label < THINGS for label in before.labels) < sum(label < THINGS for label in after.labels)


@pytest.mark.parametrize("name", FRAMES)
def test_no_object(name: str) -> None:
    semantic, _ = case(9, 0, 8, 12)
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 1, 1))
    assert compare(semantic, nothing, FRAMES[name], PanopticOptions(stuff_area=0)) == {"stuff", "void"}


def test_ties_go_to_the_first() -> None:
    frame = PanopticFrame((8, 8), (8, 8), (8, 8))
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 1, 1))
    result = panoptic_map(torch.zeros(CLASSES, 2, 2), THINGS, nothing, frame, PanopticOptions(stuff_area=64))
    assert result.labels == (THINGS,) and (result.ids == 1).all()


@pytest.mark.parametrize(("area", "labels"), [(64, (THINGS,)), (65, ())])
def test_stuff_of_just_the_limit_stays(area: int, labels: tuple[int, ...]) -> None:
    frame = PanopticFrame((8, 8), (8, 8), (8, 8))
    semantic = torch.zeros(CLASSES, 2, 2)
    semantic[THINGS] = 1
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 1, 1))
    assert panoptic_map(semantic, THINGS, nothing, frame, PanopticOptions(stuff_area=area)).labels == labels


# ---------------------------------------------------------------------- steps


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_hidden_masks_go(seed: int, overlap: float) -> None:
    _, found = case(seed, 9, 20, 30)
    found.masks[2] = -1.0  # empty
    kept = unhidden(found, 20, 30, overlap).tolist()
    assert kept == loops.staying(*plain(found), 20, 30, overlap)
    assert 2 not in kept and len(kept) < 9


def test_masks_of_other_classes_hide_nothing() -> None:
    box, ones = torch.tensor([[0.0, 0, 9, 9]]).expand(2, 4), torch.ones(2, SIDE, SIDE)
    scores = torch.tensor([0.9, 0.8])
    assert unhidden(Objects(box, scores, torch.tensor([0, 1]), ones), 10, 10, 0.3).tolist() == [0, 1]
    assert unhidden(Objects(box, scores, torch.tensor([1, 1]), ones), 10, 10, 0.3).tolist() == [0]


@pytest.mark.parametrize(("limit", "kept"), [(7, True), (8, False)])
def test_objects_that_become_stuff_count_for_its_area(limit: int, kept: bool) -> None:
    index = torch.tensor([[0, 0, 0, STUFF, STUFF, STUFF, STUFF]])
    best = torch.full((1, 7), THINGS)
    result = settle(index, best, torch.tensor([1]), THINGS, STUFF, limit)
    assert result.labels == ((THINGS,) if kept else ())
    assert (result.ids == int(kept)).all()


@pytest.mark.parametrize("share", [4, 5])
def test_an_object_half_of_which_is_one_stuff_is_that_stuff(share: int) -> None:
    index = torch.full((1, 9), STUFF)
    best = torch.tensor([[THINGS + 1] * share + [0, 1, 2, THINGS, THINGS][: 9 - share]])
    result = settle(index, best, torch.tensor([2]), THINGS, STUFF, 0)
    assert result.labels == ((2,) if share == 4 else (THINGS + 1,))


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_all_classes_compete(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(20, THINGS, 2, generator=draw) * 20
    boxes = torch.cat([corner, corner + 5 + 10 * torch.rand(20, THINGS, 2, generator=draw)], dim=2)
    scores = torch.rand(20, THINGS + 1, generator=draw)
    rules = PanopticOptions(score=0.4, nms_iou=0.3, objects=8)
    found, score, labels = choose_boxes(boxes, scores, rules)
    pairs = loops.chosen(boxes.numpy(), scores.numpy(), 0.4, 0.3, 8)
    assert labels.tolist() == [t for _, t in pairs]
    torch.testing.assert_close(found, torch.stack([boxes[p] for p in pairs]))
    torch.testing.assert_close(score, torch.stack([scores[p] for p in pairs]))


def test_no_score_above_the_threshold() -> None:
    found, score, labels = choose_boxes(torch.rand(5, 4), torch.full((5, THINGS + 1), 0.6), PanopticOptions())
    assert found.shape == (0, 4) and score.shape == (0,) and labels.shape == (0,)
