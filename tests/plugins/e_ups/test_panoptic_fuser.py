"""Fuser `panoptic-head`: what it makes of masks and probabilities, by plain loops, and on an image that is clear."""

from typing import Any

import e_ups_loops as loops
import numpy as np
import pytest
import torch
from panoptic_fusion_cases import as_instances, as_masks

from fineseg import FinesegError, FuserInput, Instances, ModelScore, PanopticEnd, PanopticFrame, SemanticScores
from fineseg_e_ups.fuser import LEAST, build, centred_logits, objects
from fineseg_e_ups.options import PanopticHeadOptions

THINGS, STUFF = 2, 2
CLASSES = THINGS + STUFF
SIZE = (24, 30)


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def draw(seed: int, count: int) -> tuple[Instances, SemanticScores]:
    """Draw instances, ragged and some of them empty, and probabilities on a coarse grid, some of them 0."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        top, left = rng.integers(0, 16, 2)
        mask = rectangle(top, top + rng.integers(0, 9), left, left + rng.integers(0, 14)) & (rng.random(SIZE) < 0.8)
        found.append((int(rng.integers(THINGS)), float(rng.uniform(0.6, 1)), mask))
    odds = rng.random((CLASSES, 6, 5)) ** 4
    probabilities = np.where(odds < 0.01, 0, odds / odds.sum(axis=0)).astype(np.float32)
    return as_instances(5, SIZE, found), SemanticScores(probabilities, SIZE)


def logits_by_loops(mask: np.ndarray, cells: int, most: float) -> np.ndarray:
    """Means of the pixels that a cell touches, as a logit within bounds."""
    height, width = mask.shape
    out = np.empty((cells, cells))
    for i in range(cells):
        for j in range(cells):
            rows = slice(i * height // cells, -(-(i + 1) * height // cells))
            columns = slice(j * width // cells, -(-(j + 1) * width // cells))
            share = mask[rows, columns].mean()
            with np.errstate(divide="ignore"):
                out[i, j] = np.clip(np.log(share) - np.log(1 - share), -most, most)
    return out


def objects_by_loops(found: list[Any], options: PanopticHeadOptions) -> tuple[list[Any], list[Any], list[int]]:
    """Masks' logits, boxes with their last pixel, and labels of what stays, best first."""
    kept: list[tuple[np.ndarray, np.ndarray, int]] = []
    for label, _, mask in sorted(found, key=lambda entry: -entry[1]):
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
        if all(loops.iou(box, other) <= options.nms_iou for _, other, _ in kept):
            inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            kept.append((logits_by_loops(inside, options.cells, options.mask_logit), box, label))
    kept = kept[: options.objects]
    return [k[0] for k in kept], [k[1] - [0, 0, 1, 1] for k in kept], [k[2] for k in kept]


@pytest.mark.parametrize("seed", range(8))
def test_against_plain_loops(seed: int) -> None:
    from fineseg.data.masks import decode

    options = PanopticHeadOptions(cells=5, objects=4, stuff_area=20, nms_iou=0.4)
    found, semantic = draw(seed, (0, 1, 3, 6)[seed % 4])
    fused = build(options, FuserInput(THINGS, STUFF))([PanopticEnd("a", found, semantic)])
    rows = [
        (label, score, decode(mask, *SIZE))
        for label, score, mask in zip(found.labels.tolist(), found.scores.tolist(), found.masks, strict=True)
    ]
    logits = np.log(np.maximum(semantic.probabilities.astype(float), LEAST))
    logits -= logits.mean(axis=0)
    nobody = (semantic.probabilities == 0).all(axis=0)
    logits[:THINGS, nobody], logits[THINGS:, nobody] = 1, -1
    wanted = loops.panoptic(logits, THINGS, *objects_by_loops(rows, options), PanopticFrame(SIZE, SIZE, SIZE), options)
    labels = {each.id: each.label for each in fused.segments}
    told = {}
    for at in np.ndindex(*SIZE):
        number = int(fused.ids[at])
        assert labels.get(number) == (None if wanted[at] == loops.VOID else wanted[at][-1]), at
        assert told.setdefault(number, wanted[at]) == wanted[at], at
    assert len(set(told.values())) == len(told) and set(told) - {0} == set(labels)
    assert fused.image_id == 5 and fused.ids.dtype == np.int32


def test_logits_give_the_probabilities_back_and_their_mean_is_0() -> None:
    probabilities = torch.tensor(np.random.default_rng(0).dirichlet(np.full(CLASSES, 5), (3, 4)).transpose(2, 0, 1))
    logits = centred_logits(probabilities)
    torch.testing.assert_close(logits.softmax(dim=0), probabilities)
    torch.testing.assert_close(logits.mean(dim=0), torch.zeros(3, 4, dtype=torch.double))
    assert centred_logits(torch.tensor([[[1.0]], [[0.0]]])).flatten().tolist() == pytest.approx(
        [-np.log(LEAST) / 2, np.log(LEAST) / 2]
    )


def test_what_both_say_alike_comes_out_as_it_is() -> None:
    chair, lamp = rectangle(4, 12, 3, 15), rectangle(9, 20, 18, 25)
    labels = np.full(SIZE, THINGS)
    labels[:, 15:] = THINGS + 1
    labels[chair], labels[lamp] = 0, 1
    # sure, and a little of all else, as networks say it
    probabilities = np.where(np.arange(CLASSES)[:, None, None] == labels, 0.97, 0.01).astype(np.float32)
    found = as_instances(1, SIZE, [(0, 0.9, chair), (1, 0.8, lamp), (1, 0.5, rectangle(0, 9, 0, 9))])
    fused = build(PanopticHeadOptions(stuff_area=9), FuserInput(THINGS, STUFF))(
        [PanopticEnd("a", found), PanopticEnd("b", None, SemanticScores(probabilities, SIZE))]
    )
    assert [each.label for each in fused.segments] == [0, 1, THINGS, THINGS + 1]
    assert (np.array([9, 0, 1, THINGS, THINGS + 1])[fused.ids] == labels).all()


def test_where_nobody_says_anything_is_void() -> None:
    left = rectangle(0, 24, 0, 15)
    semantic = as_masks(SIZE, [(THINGS + 1, left)], CLASSES)
    chair = rectangle(4, 12, 18, 26)
    ends = [PanopticEnd("a", as_instances(1, SIZE, [(0, 0.9, chair)]), semantic)]
    fused = build(PanopticHeadOptions(stuff_area=0), FuserInput(THINGS, STUFF))(ends)
    assert [each.label for each in fused.segments] == [0, THINGS + 1]
    assert (fused.ids == chair + 2 * left).all()


def test_each_class_comes_from_the_better_model() -> None:
    chair = rectangle(4, 12, 3, 15)
    semantic = SemanticScores(np.full((CLASSES, 1, 1), 1 / CLASSES, np.float32), SIZE)
    scores = (ModelScore("a", 30.0, (40.0, 20.0)), ModelScore("b", 20.0, (10.0, 30.0)))
    fuse = build(PanopticHeadOptions(), FuserInput(THINGS, STUFF, scores))
    for label, owner in ((0, "a"), (1, "b")):
        told = []
        for model in "ab":
            ends = [
                PanopticEnd(name, as_instances(1, SIZE, [(label, 0.9, chair)] if name == model else []), semantic)
                for name in "ab"
            ]
            told.append([each.label for each in fuse(ends).segments])
        assert told == [[label] if model == owner else [] for model in "ab"]


def test_of_boxes_that_overlap_the_worse_goes_whatever_its_class() -> None:
    same, near, apart = rectangle(0, 10, 0, 10), rectangle(0, 10, 0, 11), rectangle(12, 20, 12, 20)
    found = as_instances(1, SIZE, [(0, 0.7, near), (1, 0.9, same), (0, 0.8, apart), (0, 0.95, rectangle(0, 0, 0, 0))])
    kept = objects(found, PanopticHeadOptions())
    assert kept.labels.tolist() == [1, 0] and kept.boxes.tolist() == [[0, 0, 9, 9], [12, 12, 19, 19]]
    assert kept.masks.shape == (2, 28, 28) and kept.masks.unique().tolist() == [4.0]


def test_names_are_checked_before_anything_is_fused() -> None:
    options = PanopticHeadOptions.model_validate({"temperatures": {"c": 2}})
    with pytest.raises(FinesegError, match="fuser panoptic-head: temperatures: 'c' is no model; there are a, b"):
        build(options, FuserInput(0, 0, [ModelScore(name, float("nan"), ()) for name in "ab"]))
