"""Mask scoring: it learns IoUs, leaves the masks' training alone, and multiplies scores."""

import pytest
import torch
from solov2_cases import built_solov2, drawn_sample, small_solov2
from torch import Tensor

from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.mm.images import read_image
from fineseg.mm.predict import prepare_image
from fineseg_solov2.mask_scoring import MaskScorer, ScoredDiceLoss, ious, scorer_of

SETTINGS = {"score_threshold": 0.1, "mask_threshold": 0.5, "max_per_image": 30}


def test_ious() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    truth = masks.clone()
    masks[0, :2], truth[0, 1:3] = True, True
    truth[1, 0, 0] = True
    assert ious(masks, truth).tolist() == pytest.approx([1 / 3, 0, 0])


def gradients(catalog: Catalog, images: list[list[tuple[int, int, int, int]]], scoring: bool) -> dict[str, Tensor]:
    head = built_solov2(catalog, small_solov2(mask_scoring=scoring)).module.mask_head.train()
    plain = built_solov2(catalog, small_solov2()).module.mask_head
    head.load_state_dict(plain.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(0)
    sides = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    levels = tuple(torch.randn(len(images), 16, *side, generator=generator) for side in sides)
    losses = head.loss(levels, [drawn_sample(boxes, (96, 128), (96, 128)) for boxes in images])
    sum(losses.values()).backward()
    return {name: weight.grad for name, weight in head.named_parameters()}


def test_masks_learn_nothing_from_their_scores(catalog: Catalog) -> None:
    images = [[(10, 10, 80, 90)], [(5, 5, 30, 40), (60, 60, 90, 90)]]
    plain, scored = (gradients(catalog, images, scoring) for scoring in (False, True))
    for name, gradient in plain.items():
        torch.testing.assert_close(scored[name], gradient)
    own = scored.keys() - plain.keys()
    assert len(own) == 12 and all("loss_mask.scorer" in name and scored[name].abs().max() > 0 for name in own)


def test_without_objects_every_weight_gets_a_gradient(catalog: Catalog) -> None:
    assert all(gradient is not None for gradient in gradients(catalog, [[]], True).values())


def test_the_scorer_learns() -> None:
    torch.manual_seed(0)
    loss = ScoredDiceLoss(1.0, use_sigmoid=True, loss_weight=0.0)
    truth = torch.zeros(24, 32, 32)
    truth[:, 8:24, 8:24] = 1
    logits = truth * 12 - 6
    for number, one in enumerate(logits):
        one[:, 8 + number // 2 :] = -6.0  # ever more of the object is found
    optimiser = torch.optim.Adam(loss.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        errors.append(loss(logits, truth, reduction_override="none").mean())
        optimiser.zero_grad()
        errors[-1].backward()
        optimiser.step()
    assert errors[-1] < 0.2 * errors[0]


@torch.no_grad()
def test_scores_are_multiplied_and_sorted(catalog: Catalog, rooms: Split) -> None:
    built = built_solov2(catalog, small_solov2(mask_scoring=True))
    head = built.module.mask_head
    scorer = scorer_of(head)
    assert isinstance(scorer, MaskScorer)
    scorer.layers[-1].weight.mul_(30)
    features = built.predictor.encode(prepare_image(read_image(rooms.images[0].file), (112, 128), built.normalisation))
    ((labels, scores, masks),) = built.predictor.instances(features, [(112, 128)], **SETTINGS)
    plain = built_solov2(catalog, small_solov2())
    plain.module.mask_head.load_state_dict(head.state_dict(), strict=False)
    ((plain_labels, plain_scores, plain_masks),) = plain.predictor.instances(features, [(112, 128)], **SETTINGS)
    wanted, order = (plain_scores * scorer(plain_masks)).sort(descending=True, stable=True)
    assert order.tolist() != sorted(order.tolist())
    assert torch.equal(scores, wanted) and torch.equal(labels, plain_labels[order])
    assert torch.equal(masks, plain_masks[order])
    assert scorer_of(plain.module.mask_head) is None
