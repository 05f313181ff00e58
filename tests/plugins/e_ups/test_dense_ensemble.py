"""The dense ensemble: of one model, of copies, of different models step by step, and its means against numpy's."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from e_ups_cases import SIDE, THINGS, built_e_ups, drawn, found_maps, spread
from e_ups_loops import iou

from fineseg import PanopticFrame
from fineseg.mm.dense import (
    PLAIN,
    MaskMean,
    Mean,
    Member,
    ScoreMean,
    SemanticMean,
    Sight,
    Spaces,
    dense_ensemble,
    share_proposals,
)
from fineseg.mm.views import Frame
from fineseg_e_ups.panoptic import Objects, choose_boxes, panoptic_map

FRAME = PanopticFrame((SIDE, SIDE), (60, 55), (80, 77))
SIGHT = Sight(Frame(FRAME.original, FRAME.size), FRAME.padded)
PUBLISHED = [0.4, 1.2, 1.1, 1.3]
KINDS = ("probability", "logit")
EVERY_SPACE = [Spaces(*kinds) for kinds in itertools.product(KINDS, repeat=3)]


def model(seed: int, lsh: bool = False):
    made = built_e_ups(seed=seed, lsh=lsh, panoptic={"score": 0.15, "stuff_area": 50})
    spread(made.detector, seed)
    with torch.no_grad():
        made.detector.semantic_head.score.bias[THINGS:] -= 1.5  # or stuff would have most pixels of the mean
    return made


@pytest.fixture(scope="module")
def four():
    return [model(1), model(2), model(3, lsh=True), model(4, lsh=True)]


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return drawn(1)[0]


def member(predictor, image: torch.Tensor, weight: float) -> Member:
    return Member(predictor, lambda: predictor.encode(image), weight, SIGHT)


def panoptic_ensemble(members, spaces: Spaces = PLAIN):
    """Return the map alone; of other objects there are none."""
    return dense_ensemble(
        members, lambda boxes, scores: (boxes.new_zeros(0, 4), scores.new_zeros(0), no_labels()), spaces
    )


def no_labels() -> torch.Tensor:
    return torch.zeros(0, dtype=torch.long)


# --------------------------------------------------------------- whole ensemble


@pytest.mark.parametrize("weights", [[0.4], [1.3, 0.4, 1.1]])
@pytest.mark.parametrize("spaces", EVERY_SPACE, ids=lambda s: f"{s.scores[0]}{s.masks[0]}{s.semantic[0]}")
@torch.no_grad()
def test_one_model_or_copies_of_it_are_that_model(four, image, spaces: Spaces, weights: list[float]) -> None:
    predictor = four[1 if len(weights) == 1 else 2]
    (wanted,) = found_maps(predictor, predictor.encode(image), [FRAME])
    copies = [member(predictor, image, weight) for weight in weights]
    found = panoptic_ensemble(copies, spaces)
    assert any(label < THINGS for label in wanted.labels)
    assert found.labels == wanted.labels
    assert float((found.ids != wanted.ids).float().mean()) < 1e-3  # rounding, where two channels are as good


@pytest.mark.parametrize("spaces", [Spaces(), Spaces("logit", "logit", "probability")], ids=["default", "other"])
@torch.no_grad()
def test_four_models_step_by_step(four, image, spaces: Spaces) -> None:
    rules = four[0].rules
    found = panoptic_ensemble([member(*pair) for pair in each(four, image, PUBLISHED)], spaces)
    features = [predictor.encode(image) for predictor in four]
    sides = [FRAME.size]
    every = list(zip(four, features, strict=True))
    proposals = share_proposals([p.proposals(f, sides)[0] for p, f in every], 0.7, four[0].max_proposals)
    judged = [p.boxes(f, [proposals], sides)[0] for p, f in every]
    boxes = average([box for box, _ in judged])
    scores = [score.double().numpy() for _, score in judged]
    if spaces.scores == "logit":
        mixed = np.exp(np.average(np.log(scores), axis=0, weights=PUBLISHED))
        mean = torch.from_numpy(mixed / mixed.sum(axis=1, keepdims=True)).float()
    else:
        mean = average([score for _, score in judged])
    chosen, score, labels = choose_boxes(boxes, mean, rules)
    logits = [p.mask_logits(f, [chosen], [labels])[0] for p, f in every]
    masks = average(logits) if spaces.masks == "logit" else average([x.sigmoid() for x in logits]).logit()
    planes = [p.semantic(f)[0] for p, f in every]
    if spaces.semantic == "logit":
        semantic = average(planes)
    else:
        semantic = average([x.softmax(0) for x in planes]).log() + average([x.logsumexp(0) for x in planes])
    wanted = panoptic_map(semantic, THINGS, Objects(chosen, score, labels, masks), FRAME, rules)
    assert any(label < THINGS for label in wanted.labels)
    assert found.labels == wanted.labels
    assert float((found.ids != wanted.ids).float().mean()) < 1e-3
    for predictor, own in every:
        (single,) = found_maps(predictor, own, [FRAME])
        assert (single.ids.shape != found.ids.shape) or (single.ids != found.ids).any()


def each(predictors, image, weights):
    return [(predictor, image, weight) for predictor, weight in zip(predictors, weights, strict=True)]


def average(tensors) -> torch.Tensor:
    return torch.from_numpy(np.average([t.double().numpy() for t in tensors], axis=0, weights=PUBLISHED)).float()


@torch.no_grad()
def test_only_the_weights_ratios_count(four, image) -> None:
    found = [panoptic_ensemble([member(*p) for p in each(four, image, [w * k for w in PUBLISHED])]) for k in (1.0, 8.0)]
    assert found[0].labels == found[1].labels and (found[0].ids == found[1].ids).all()


@torch.no_grad()
def test_no_map_of_a_model_outlives_its_turn(four, image, monkeypatch) -> None:
    alive: list[weakref.ref] = []
    for predictor in four:
        for name, most in (("encode", 0), ("semantic", 5)):  # a pyramid of five levels, while it is looked at
            monkeypatch.setattr(predictor, name, watched(getattr(predictor, name), alive, most))
    panoptic_ensemble([member(*pair) for pair in each(four, image, PUBLISHED)])
    assert len(alive) == 4 * (3 * 5 + 1)
    assert not [ref for ref in alive if ref() is not None]


def watched(step, alive: list[weakref.ref], most: int):
    """Let no more than so many of the maps made before be alive when the next are made."""

    def watching(*arguments):
        assert sum(ref() is not None for ref in alive) <= most
        result = step(*arguments)
        alive.extend(weakref.ref(tensor) for tensor in (result if isinstance(result, tuple) else (result,)))
        return result

    return watching


# ------------------------------------------------------------------- proposals


def shared_by_loops(found, limit: float, most: int) -> np.ndarray:
    every = [(float(s), owner, b.numpy()) for owner, (bs, ss) in enumerate(found) for b, s in zip(bs, ss, strict=True)]
    kept = []
    for score, owner, box in sorted(every, key=lambda e: -e[0]):
        if all(other == owner or iou(box, rival) <= limit for _, other, rival in kept):
            kept.append((score, owner, box))
    return np.array([box for _, _, box in kept[:most]])


def proposals(seed: int, count: int):
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw) * 20
    boxes = torch.cat([corner, corner + 5 + 10 * torch.rand(count, 2, generator=draw)], dim=1)
    return boxes, torch.rand(count, generator=draw).sort(descending=True).values


@pytest.mark.parametrize("counts", [(20, 30, 10), (0, 15), (25,), (0,)])
@pytest.mark.parametrize("most", [12, 100])
def test_shared_proposals(counts: tuple[int, ...], most: int) -> None:
    found = [proposals(seed, count) for seed, count in enumerate(counts)]
    shared = share_proposals(found, 0.4, most)
    np.testing.assert_array_equal(shared.numpy(), shared_by_loops(found, 0.4, most).reshape(-1, 4))


def test_proposals_of_copies_are_the_model_s() -> None:
    boxes, scores = proposals(3, 40)
    for copies in (1, 2, 3):
        torch.testing.assert_close(share_proposals([(boxes, scores)] * copies, 0.4, 30), boxes[:30])


# ----------------------------------------------------------------------- means


def test_means_are_numpy_s() -> None:
    torch.manual_seed(0)
    values = [torch.randn(3, 4, 5) for _ in PUBLISHED]
    probabilities = [torch.randn(6, 4).softmax(dim=1) for _ in PUBLISHED]
    mean, masks, scores = Mean(), MaskMean("probability"), ScoreMean("probability")
    for value, probability, weight in zip(values, probabilities, PUBLISHED, strict=True):
        mean.add(value, weight)
        masks.add(value, weight)
        scores.add(probability, weight)
    torch.testing.assert_close(mean.value(), average(values))
    torch.testing.assert_close(masks.value().sigmoid(), average([value.sigmoid() for value in values]))
    torch.testing.assert_close(scores.value(), average(probabilities))


@pytest.mark.parametrize("kind", KINDS)
def test_certain_models_stay_finite(kind: str) -> None:
    certain = torch.tensor([[[200.0, -200.0, 30.0, -30.0]]])
    for copies in (1, 3):
        masks, semantic, scores = MaskMean(kind), SemanticMean(kind), ScoreMean(kind)
        for weight in PUBLISHED[:copies]:
            masks.add(certain, weight)
            semantic.add(torch.cat([certain, -certain]), weight)
            scores.add(torch.tensor([[1.0, 0.0]]), weight)
        assert masks.value().isfinite().all() and semantic.value().isfinite().all()
        torch.testing.assert_close(masks.value()[..., 2:], certain[..., 2:], rtol=1e-4, atol=1e-4)
        assert (masks.value().sign() == certain.sign()).all()
        torch.testing.assert_close(scores.value(), torch.tensor([[1.0, 0.0]]))


def test_means_do_not_change_what_they_are_given() -> None:
    values = [torch.ones(2), torch.full((2,), 3.0)]
    mean = Mean()
    for value in values:
        mean.add(value, 1.0)
    assert values[0].tolist() == [1, 1] and values[1].tolist() == [3, 3] and mean.value().tolist() == [2, 2]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weights_must_be_above_zero(weight: float) -> None:
    with pytest.raises(ValueError, match="a weight must be above 0"):
        Mean().add(torch.ones(1), weight)
