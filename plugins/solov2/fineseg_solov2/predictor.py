"""SOLOv2 in the prediction protocol of heads that find their instances at once.

Letters: B images, N instances, C classes, Q cells of all grids, E channels of the mask features, h and w their rows and
columns, P = h w their pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from fineseg_solov2.mask_scoring import MaskScorer, scorer_of
from fineseg_solov2.matrix_nms import decay

Features = Sequence[Tensor]
Sizes = Sequence[tuple[int, int]]
Found = tuple[Tensor, Tensor, Tensor]

CELLS = 64
"""Cells whose masks are painted at once."""


@dataclass(frozen=True)
class Candidates:
    """How many candidates Matrix-NMS looks at, by which kernel, and the least score that it leaves."""

    number: int
    kernel: str
    sigma: float
    least: float


class SOLOv2Predictor:
    """Prediction steps of a built mmdet SOLOv2."""

    def __init__(self, detector: Any, limits: Candidates) -> None:
        self.detector = detector
        self.limits = limits

    def encode(self, images: Tensor) -> Features:
        """Turn images [B, 3, H, W] into the pyramid, finest first."""
        features: Features = self.detector.extract_feat(images)
        return features

    def instances(
        self,
        features: Features,
        sizes: Sizes,
        *,
        score_threshold: float,
        mask_threshold: float,
        max_per_image: int,
    ) -> list[Found]:
        """Return per image labels [N], scores [N], best first, and mask probabilities [N, h, w].

        The first threshold holds for class probabilities alone; a score is that times the mean probability inside the
        mask, lowered by Matrix-NMS. Masks of padding beyond `sizes` are left to the caller to cut off.
        """
        head = self.detector.mask_head
        kernels, scores, maps = head(features)
        scores = torch.cat([peaks(each.sigmoid()).flatten(2) for each in scores], dim=2).transpose(1, 2)
        kernels = torch.cat([each.flatten(2) for each in kernels], dim=2).transpose(1, 2)
        least = torch.cat([scores.new_full((g * g,), s) for g, s in zip(head.num_grids, head.strides, strict=True)])
        found = []
        for one in range(len(sizes)):
            painter = Painter(kernels[one], maps[one], mask_threshold)
            cell, label, score = self._select(scores[one], painter, least, score_threshold)
            best = score.sort(descending=True, stable=True).indices[:max_per_image]
            cell, label, score = cell[best], label[best], score[best]
            masks = painter.probabilities(cell).view(-1, *maps.shape[-2:])
            found.append(scored(label, score, masks, scorer_of(head)))
        return found

    def _select(self, scores: Tensor, painter: "Painter", least: Tensor, threshold: float) -> Found:
        """Return cells [N], labels [N] and scores [N] of what Matrix-NMS leaves, of class probabilities [Q, C]."""
        limits = self.limits
        wanted = scores > threshold
        quality = mask_quality(scores * wanted, painter, least, limits.number)
        cell, label = (wanted & (quality > 0)[:, None]).nonzero().unbind(1)
        score = scores[cell, label] * quality[cell]
        best = score.sort(descending=True, stable=True).indices[: limits.number]
        cell, label, score = cell[best], label[best], score[best]
        if len(score):
            score = score * decay(painter.masks(cell), label, kernel=limits.kernel, sigma=limits.sigma)
        keep = score >= limits.least
        return cell[keep], label[keep], score[keep]


def scored(labels: Tensor, scores: Tensor, masks: Tensor, scorer: MaskScorer | None) -> Found:
    """Multiply scores [N] by the IoUs that the scorer reads from masks [N, h, w], and sort anew, best first."""
    if scorer is None or not len(scores):
        return labels, scores, masks
    scores, order = (scores * scorer(masks)).sort(descending=True, stable=True)
    return labels[order], scores, masks[order]


def peaks(scores: Tensor) -> Tensor:
    """Return class probabilities [B, C, S, S] with zeros where a neighbour above, to the left or both is higher."""
    highest = max_pool2d(scores, 2, stride=1, padding=1)[..., :-1, :-1]
    return scores * (highest == scores)


def mask_quality(scores: Tensor, painter: "Painter", least: Tensor, number: int) -> Tensor:
    """Return the mean probability inside each cell's mask: [Q], zero where a cell cannot be among the best `number`.

    scores [Q, C] are class probabilities, zero where unwanted; a mask of no more than `least` [Q] pixels is none.
    Cells are painted from the highest class probability down, as long as one may come under the best: a quality is at
    most one.
    """
    quality = torch.zeros_like(scores[:, 0])
    highest, order = scores.amax(dim=1).sort(descending=True)
    order = order[highest > 0]
    reached = scores.new_zeros(0)
    for some in torch.split(order, CELLS):
        if len(reached) == number and scores[some[0]].amax() < reached[-1]:
            break
        probabilities = painter.probabilities(some)
        inside = probabilities > painter.threshold
        area = inside.sum(dim=1)
        mean = (probabilities * inside).sum(dim=1) / area
        quality[some] = torch.where(area > least[some], mean, 0)
        products = (scores[some] * quality[some, None]).flatten()
        reached = torch.cat([reached, products[products > 0]]).sort(descending=True).values[:number]
    return quality


@dataclass(frozen=True)
class Painter:
    """Paints the masks of one image's cells: kernels [Q, E] on mask features [E, h, w]."""

    kernels: Tensor
    features: Tensor
    threshold: float

    def probabilities(self, cells: Tensor) -> Tensor:
        """Return mask probabilities [n, P] of n cells."""
        return torch.mm(self.kernels[cells], self.features.flatten(1)).sigmoid_()

    def masks(self, cells: Tensor) -> Tensor:
        """Return masks, bool [n, P], of n cells, at least one; only some of them are ever floats."""
        return torch.cat([self.probabilities(some) > self.threshold for some in torch.split(cells, CELLS)])
