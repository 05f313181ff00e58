"""Dense ensemble of panoptic models (AntVisionPS, section 2.1): weighted means at every step, one panoptic head.

The manner of mmdet's multi-scale testing with models in place of views: one set of proposals is judged by every model;
boxes, class probabilities, masks and semantic scores are weighted means; what the panoptic head joins is their
ensemble. All models look at the same image in the same frame, one after another: of maps, only the sum is kept.

Letters: R proposals, N objects, T thing and C all classes, m side of a mask's cells, h and w sides of the scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from fineseg import PanopticFrame
from fineseg_e_ups.options import PanopticOptions
from fineseg_e_ups.panoptic import Objects, Panoptic, choose_boxes, panoptic_map
from fineseg_e_ups.predictor import EUPSPredictor
from fineseg_pointrend.predictor import Features

Space = Literal["probability", "logit"]
Proposals = tuple[Tensor, Tensor]
"""Boxes [R, 4] and scores [R], best first."""


@dataclass(frozen=True)
class Spaces:
    """In which space each quantity is averaged; the paper does not say."""

    scores: Space = "probability"
    masks: Space = "probability"
    semantic: Space = "logit"


@dataclass(frozen=True)
class Member:
    """A model that looks at the image, and its weight, above 0.

    `features` returns the image's encoded features [1, ...]. It is called three times: it may keep them (100 MB a
    model at 800 x 1344) or encode anew.
    """

    predictor: EUPSPredictor
    features: Callable[[], Features]
    weight: float


PLAIN = Spaces()


@torch.no_grad()
def panoptic_ensemble(
    members: Sequence[Member], frame: PanopticFrame, rules: PanopticOptions, spaces: Spaces = PLAIN
) -> Panoptic:
    """Return the segments of an image that models of the same classes find together."""
    things, size = members[0].predictor.things, frame.size
    found: list[Proposals] = []
    semantic = SemanticMean(spaces.semantic)
    for one in members:
        found.append(_first_look(one, size, semantic))
    proposals = share_proposals(found, members[0].predictor.proposal_iou, members[0].predictor.max_proposals)
    boxes, scores = Mean(), ScoreMean(spaces.scores)
    for one in members:
        ((box, score),) = one.predictor.boxes(one.features(), [proposals], [size])
        boxes.add(box, one.weight)
        scores.add(score, one.weight)
    chosen, score, labels = choose_boxes(boxes.value(), scores.value(), rules)
    masks = MaskMean(spaces.masks)
    for one in members:
        masks.add(one.predictor.mask_logits(one.features(), [chosen], [labels])[0], one.weight)
    return panoptic_map(semantic.value(), things, Objects(chosen, score, labels, masks.value()), frame, rules)


def _first_look(one: Member, size: tuple[int, int], semantic: "SemanticMean") -> Proposals:
    """Return a model's proposals, and count its scores; its features go before the next model's come."""
    features = one.features()
    semantic.add(one.predictor.semantic(features)[0], one.weight)
    (proposals,) = one.predictor.proposals(features, [size])
    return proposals


def share_proposals(found: Sequence[Proposals], iou: float, limit: int) -> Tensor:
    """Make one set of several models' proposals: [R, 4], best first, `limit` at most.

    A proposal goes where a better one of another model that stays overlaps it by more than `iou`. Those of one model
    do not compete: its own NMS, level by level, has judged them. So what one model proposes alone, or all alike, stays.
    """
    boxes, scores = (torch.cat(each) for each in zip(*found, strict=True))
    owner = torch.repeat_interleave(torch.tensor([len(scores) for _, scores in found])).to(boxes.device)
    order = scores.argsort(descending=True, stable=True)
    boxes, owner = boxes[order], owner[order]
    rivals = (bbox_overlaps(boxes, boxes) > iou) & (owner[:, None] != owner)
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for number, row in enumerate(rivals.cpu()):
        if stays[number]:
            stays[number + 1 :] &= ~row[number + 1 :]
    return boxes[stays.to(boxes.device)][:limit]


# ---------------------------------------------------------------- weighted means


class Mean:
    """Weighted mean of tensors of one shape, as they come: only their sum is kept."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weight = 0.0

    def add(self, value: Tensor, weight: float) -> None:
        """Count a tensor by its weight, above 0."""
        if not weight > 0:
            raise ValueError(f"a weight must be above 0, not {weight}")
        self.total = value * weight if self.total is None else self.total.add_(value, alpha=weight)
        self.weight += weight

    def value(self) -> Tensor:
        """Return the mean of what was added."""
        if self.total is None:
            raise ValueError("nothing was added")
        return self.total / self.weight


class ScoreMean:
    """Weighted mean of class probabilities [R, T + 1], or softmax of their logits' mean."""

    def __init__(self, space: Space) -> None:
        self.space, self.mean = space, Mean()

    def add(self, probabilities: Tensor, weight: float) -> None:
        """Count a model's probabilities; their logarithms are its logits but for what softmax takes off."""
        self.mean.add(probabilities if self.space == "probability" else _log(probabilities), weight)

    def value(self) -> Tensor:
        """Return probabilities [R, T + 1]."""
        mean = self.mean.value()
        return mean if self.space == "probability" else mean.softmax(dim=1)


class MaskMean:
    """Weighted mean of mask logits [N, m, m], or the logit of their probabilities' mean."""

    def __init__(self, space: Space) -> None:
        self.space, self.mean, self.outside = space, Mean(), Mean()

    def add(self, logits: Tensor, weight: float) -> None:
        """Count a model's logits."""
        if self.space == "logit":
            self.mean.add(logits, weight)
        else:
            self.mean.add(logits.sigmoid(), weight)
            self.outside.add((-logits).sigmoid(), weight)  # 1 - p, which near p = 1 has no digits left

    def value(self) -> Tensor:
        """Return logits [N, m, m]."""
        return self.mean.value() if self.space == "logit" else _log(self.mean.value()) - _log(self.outside.value())


class SemanticMean:
    """Weighted mean of scores [C, h, w], or the logarithm of their probabilities' mean.

    Logarithms are all below 0, but the panoptic head compares scores with 0, what an object has outside its box. So
    each pixel gets back the mean of what softmax took off its models' scores: one model's own scores come out.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.mean, self.level = space, Mean(), Mean()

    def add(self, scores: Tensor, weight: float) -> None:
        """Count a model's scores."""
        if self.space == "logit":
            self.mean.add(scores, weight)
        else:
            self.mean.add(scores.softmax(dim=0), weight)
            self.level.add(scores.logsumexp(dim=0), weight)

    def value(self) -> Tensor:
        """Return scores [C, h, w]."""
        return self.mean.value() if self.space == "logit" else _log(self.mean.value()) + self.level.value()


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
