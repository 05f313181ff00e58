"""The parameter-free panoptic head of UPSNet (arXiv 1901.03784, section 3.3), as functions on one image.

Letters: T thing and S stuff classes, things first, C = T + S; N objects, K of them shown in training; R proposals;
m side of a mask's cells; h and w sides at 1/4, H and W at the image's size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from mmcv.ops import nms
from torch import Tensor
from torch.nn import functional as F

from fineseg import PanopticFrame
from fineseg.data.panoptic import IGNORED
from fineseg_e_ups.options import PanopticOptions
from fineseg_e_ups.planes import FullSize, laid, mask_planes, score_planes, score_spans

NOWHERE = -1
"""What no loss counts in `training_target`, whose labels may run up to 255."""

# -------------------------------------------------------------------- training


def shown(count: int, keep: float) -> Tensor:
    """Return which of `count` objects the head is shown, in order: the part `keep` of them, drawn, one at least."""
    return torch.randperm(count)[: max(int(count * keep), 1)].sort().values


def training_logits(semantic: Tensor, things: int, masks: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return logits [S + K + 1, h, w]: stuff, then objects, then what is a thing but none of them.

    semantic [C, h, w]; mask logits [K, m, m], boxes [K, 4] in pixels of h x w and classes [K] of the objects; K may
    be 0. An object is its class's scores in its box plus its mask there, and 0 elsewhere; the unknown is how much the
    best thing class is above the best object's scores.
    """
    scores = score_planes(semantic, boxes, labels)
    objects = scores + mask_planes(masks, boxes, *semantic.shape[1:])
    unknown = semantic[:things].amax(dim=0)
    if len(scores):
        unknown = unknown - scores.amax(dim=0)
    return torch.cat([semantic[things:], objects, unknown[None]])


def training_target(truth: Tensor, things: int, stuff: int, masks: Tensor) -> Tensor:
    """Return which channel of `training_logits` each pixel [h, w] should be, -1 where none counts.

    truth [h, w] are labels, 255 where nothing counts; masks [K, h, w] are those of the objects that are shown. Where
    they overlap the last one has the pixel; things elsewhere are unknown.
    """
    target = torch.where(truth < things, stuff + len(masks), truth - things).masked_fill(truth == IGNORED, NOWHERE)
    for number, mask in enumerate(masks):
        target = target.masked_fill(mask, stuff + number)
    return target


def panoptic_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of logits [X, h, w]; pixels that do not count add nothing, but are among all."""
    return F.cross_entropy(logits[None], target[None], ignore_index=NOWHERE, reduction="sum") / target.numel()


# ------------------------------------------------------------------ prediction


@dataclass(frozen=True)
class Objects:
    """What was detected, best first: boxes [N, 4], scores [N], labels [N], mask logits [N, m, m]; N may be 0."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor

    def take(self, chosen: Tensor) -> "Objects":
        """Return some of them."""
        return Objects(self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.masks[chosen])


class Panoptic(NamedTuple):
    """Segments of one image: `ids` int32 [H, W], 0 for void; segment k, from 1 on, is of class `labels[k - 1]`."""

    ids: Tensor
    labels: tuple[int, ...]


def choose_boxes(boxes: Tensor, scores: Tensor, rules: PanopticOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the head's objects, of all classes together: boxes [N, 4], scores [N], labels [N], best first.

    boxes [R, 4] or [R, T, 4], scores [R, T + 1] with background last.
    """
    if boxes.dim() == 2:
        boxes = boxes[:, None].expand(-1, scores.shape[1] - 1, 4)
    region, label = torch.nonzero(scores[:, :-1] > rules.score, as_tuple=True)
    found, score = boxes[region, label], scores[region, label]
    if not len(score):
        return found, score, label
    _, keep = nms(found, score, rules.nms_iou)
    keep = keep[: rules.objects]
    return found[keep], score[keep], label[keep]


def panoptic_map(
    semantic: Tensor, things: int, found: Objects, frame: PanopticFrame, rules: PanopticOptions
) -> Panoptic:
    """Join scores [C, h, w] of the padded input and objects, in its pixels, into segments of the original image."""
    stuff = len(semantic) - things
    found = found.take(unhidden(found, *frame.size, rules.overlap))
    scores = FullSize(semantic, frame.padded, frame.size)
    index, best_class = (resized(each, frame.original) for each in decide(scores, things, found))
    return settle(index, best_class, found.labels, things, stuff, rules.stuff_area)


def unhidden(found: Objects, height: int, width: int, overlap: float) -> Tensor:
    """Return which objects stay [N'], best first: a mask goes when it is empty, or too much of it is already taken.

    Taken are the pixels of better masks of its class that stay; a mask is where its logits are above 0.
    """
    taken: dict[int, Tensor] = {}
    stay = []
    for number, (box, label) in enumerate(zip(found.boxes.tolist(), found.labels.tolist(), strict=True)):
        (rows, columns), patch = laid(found.masks[number], box, height, width)
        mask = patch > 0
        area = int(mask.sum())
        if not area:
            continue
        if label not in taken:
            taken[label] = torch.zeros(height, width, dtype=torch.bool, device=mask.device)
        there = taken[label][slice(*rows), slice(*columns)]
        if int((there & mask).sum()) / area > overlap:
            continue
        there |= mask
        stay.append(number)
    return torch.tensor(stay, dtype=torch.long, device=found.boxes.device)


def decide(scores: FullSize, things: int, found: Objects) -> tuple[Tensor, Tensor]:
    """Return the best channel of the panoptic logits, and the best class of the scores alone, int64 [H, W] each.

    The channels are those of `training_logits`. Of their planes only the best is held at a time; the first of equals
    wins.
    """
    classes = len(scores.semantic)
    best, index = scores.best(things, classes)
    best_thing, thing = scores.best(0, things)
    best_class = torch.where(best > best_thing, index, thing)
    index = index - things
    covered: Tensor | None = None
    for number, (box, label) in enumerate(zip(found.boxes.tolist(), found.labels.tolist(), strict=True)):
        plane = torch.zeros_like(best)
        rows, columns = score_spans(box, *scores.size)
        plane[slice(*rows), slice(*columns)] = scores.of(label, label + 1)[0, slice(*rows), slice(*columns)]
        covered = plane.clone() if covered is None else torch.maximum(covered, plane)
        (rows, columns), patch = laid(found.masks[number], box, *scores.size)
        plane[slice(*rows), slice(*columns)] += patch
        better = plane > best
        best, index = torch.where(better, plane, best), index.masked_fill(better, classes - things + number)
    unknown = best_thing if covered is None else best_thing - covered
    return index.masked_fill(unknown > best, classes - things + len(found.labels)), best_class


def resized(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map [H, W] of labels at another size: each pixel is the nearest of the map, the upper left of two."""
    rows, columns = (
        torch.arange(new, device=labels.device) * old // new for new, old in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def settle(index: Tensor, best_class: Tensor, labels: Tensor, things: int, stuff: int, stuff_area: int) -> Panoptic:
    """Turn `decide`'s channels [H, W] and classes [H, W] of N objects of classes [N] into segments.

    Where most of an object's pixels are, by the scores alone, of one stuff class, and that are at least half of them,
    it becomes stuff; of equals the first class has most. Stuff of fewer than `stuff_area` pixels and the unknown become
    void.
    """
    classes, channels = things + stuff, stuff + len(labels) + 1
    pairs = index.flatten() * classes + best_class.flatten()
    votes = torch.bincount(pairs, minlength=channels * classes).view(channels, classes).cpu().numpy()
    ids = np.zeros(channels, dtype=np.int32)
    segments: list[int] = []
    areas = votes[:stuff].sum(axis=1)
    becomes: list[tuple[int, int]] = []
    for number, label in enumerate(labels.tolist()):
        vote = votes[stuff + number]
        area, majority = int(vote.sum()), int(vote.argmax())
        if not area:
            continue
        if majority >= things and 2 * int(vote[majority]) >= area:
            becomes.append((stuff + number, majority - things))
            areas[majority - things] += area
        else:
            segments.append(label)
            ids[stuff + number] = len(segments)
    for each in np.flatnonzero((areas > 0) & (areas >= stuff_area)).tolist():
        segments.append(things + each)
        ids[each] = len(segments)
    for region, each in becomes:
        ids[region] = ids[each]
    return Panoptic(torch.from_numpy(ids).to(index.device)[index], tuple(segments))
