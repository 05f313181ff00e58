"""The dense ensemble: panoptic models, or views, look at an image together, step by step, before one panoptic head.

AntVisionPS (COCO panoptic challenge 2019, section 2.1), in the manner of mmdet's multi-scale testing: one set of
proposals is judged by every member; boxes, class probabilities, masks and semantic scores are weighted means; what the
first member's panoptic head joins is their ensemble. All happens in the first member's frame, not mirrored. Members run
one after another: of maps, only the sum is kept.

Letters: R proposals, N objects, T thing and C all classes, m side of a mask's cells, h and w sides of the scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from torch.nn import functional as F

from fineseg.mm.views import Frame
from fineseg.predictors import DensePredictor, PanopticFrame

Space = Literal["probability", "logit"]
Features = Sequence[Tensor]
Proposals = tuple[Tensor, Tensor]
"""Boxes [R, 4] and scores [R], best first."""


@dataclass(frozen=True)
class Spaces:
    """In which space each quantity is averaged; the paper does not say."""

    scores: Space = "probability"
    masks: Space = "probability"
    semantic: Space = "logit"


@dataclass(frozen=True)
class Sight:
    """Where a look at an image lies: its view's frame, and the sides of the network's padded input."""

    frame: Frame
    padded: tuple[int, int]

    @property
    def sizes(self) -> PanopticFrame:
        """The sizes as predictors take them."""
        return PanopticFrame(self.padded, self.frame.size, self.frame.original)


@dataclass(frozen=True)
class Member:
    """A model that looks at the image through a view, and its weight, above 0.

    `features` returns the image's encoded features [1, ...]. It is called three times: it may keep them (100 MB a
    model at 800 x 1344) or encode anew.
    """

    predictor: DensePredictor
    features: Callable[[], Features]
    weight: float
    sight: Sight

    def to_frame(self, boxes: Tensor, frame: Frame) -> Tensor:
        """Map boxes [..., 4] of its view into another frame of the image."""
        own = self.sight.frame
        return boxes if frame == own else frame.to_view(own.to_original(boxes))

    def from_frame(self, boxes: Tensor, frame: Frame) -> Tensor:
        """Map boxes [..., 4] of another frame of the image into its view."""
        own = self.sight.frame
        return boxes if frame == own else own.to_view(frame.to_original(boxes))


@dataclass(frozen=True)
class Objects:
    """Boxes [N, 4] in the ensemble's frame, scores [N], labels [N], and mask logits [N, m, m]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Ensembled:
    """What members find together: a map of segments and their classes, other objects, and scores [C, h, w].

    The scores span the padded input of `sight`, the ensemble's.
    """

    ids: Tensor
    labels: tuple[int, ...]
    objects: Objects
    semantic: Tensor
    sight: Sight


PLAIN = Spaces()
Detect = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From boxes [R, 4] or [R, T, 4] and class probabilities [R, T + 1] to boxes [N, 4], scores [N] and labels [N]."""


@torch.no_grad()
def dense_ensemble(members: Sequence[Member], detect: Detect, spaces: Spaces = PLAIN) -> Ensembled:
    """Return what members of the same classes find together; `detect` chooses objects beside those of the map."""
    first = members[0]
    frame = replace(first.sight.frame, horizontal=False, vertical=False)
    sight = Sight(frame, first.sight.padded)
    found: list[Proposals] = []
    semantic = SemanticMean(spaces.semantic)
    for one in members:
        found.append(_first_look(one, sight, semantic))
    proposals = share_proposals(found, first.predictor.proposal_iou, first.predictor.max_proposals)
    judged = Mean(), ScoreMean(spaces.scores)
    for one in members:
        ((box, score),) = one.predictor.boxes(
            one.features(), [one.from_frame(proposals, frame)], [one.sight.frame.size]
        )
        judged[0].add(one.to_frame(box, frame), one.weight)
        judged[1].add(score, one.weight)
    boxes, scores = judged[0].value(), judged[1].value()
    ours, others = first.predictor.choose(boxes, scores), detect(boxes, scores)
    chosen, labels = torch.cat([ours[0], others[0]]), torch.cat([ours[2], others[2]])
    masks = MaskMean(spaces.masks)
    for one in members:
        (own,) = one.predictor.mask_logits(one.features(), [one.from_frame(chosen, frame)], [labels])
        masks.add(one.sight.frame.mirror(own), one.weight)
    count, logits, plane = len(ours[0]), masks.value(), semantic.value()
    ids, classes = first.predictor.join(plane, *ours, logits[:count], sight.sizes)
    return Ensembled(ids, tuple(classes), Objects(*others, logits[count:]), plane, sight)


def _first_look(one: Member, sight: Sight, semantic: "SemanticMean") -> Proposals:
    """Return a member's proposals, and count its scores; its features go before the next member's come."""
    features = one.features()
    semantic.add(onto(one.predictor.semantic(features), one.sight, sight, semantic.shape)[0], one.weight)
    ((boxes, score),) = one.predictor.proposals(features, [one.sight.frame.size])
    return one.to_frame(boxes, sight.frame), score


def onto(scores: Tensor, own: Sight, other: Sight, shape: tuple[int, int] | None = None) -> Tensor:
    """Bring scores [1, C, h', w'], which span the padded input of one sight, onto cells of another, not mirrored.

    `shape` is (h, w) of these cells, None for (h', w'). What lies in the padding there is as the image's edge.
    """
    shape = (scores.shape[-2], scores.shape[-1]) if shape is None else shape
    if own == other and scores.shape[-2:] == shape:
        return scores
    axes = []
    for axis, mirrored in ((0, own.frame.vertical), (1, own.frame.horizontal)):
        cells = torch.arange(shape[axis], device=scores.device)
        # where a cell's middle lies in the image, as a part of its side; then in the padded input
        place = ((cells + 0.5) / shape[axis] * other.padded[axis] / other.frame.size[axis]).clamp(max=1)
        place = 1 - place if mirrored else place
        axes.append(2 * place * own.frame.size[axis] / own.padded[axis] - 1)
    rows, columns = axes
    grid = torch.stack([columns[None].expand(shape[0], -1), rows[:, None].expand(-1, shape[1])], dim=-1)[None]
    return F.grid_sample(scores, grid.to(scores.dtype), mode="bilinear", padding_mode="border", align_corners=False)


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

    @property
    def shape(self) -> tuple[int, int] | None:
        """Return (h, w) of the scores that were added; None before the first."""
        return None if self.mean.total is None else (self.mean.total.shape[-2], self.mean.total.shape[-1])

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
