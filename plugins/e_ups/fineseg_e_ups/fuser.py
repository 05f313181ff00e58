"""Fuser `panoptic-head`: UPSNet's panoptic head on stored instances and averaged semantics, of one or several models.

What AntVisionPS (COCO panoptic challenge 2019) leaves to future work: the head in place of the combination rule behind
its task level. The head adds logits; the store keeps masks and probabilities, so they are made of these:

- of a mask, `cells` x `cells` means inside its tight box as a probability, its logit held within +-`mask_logit`;
- of the semantic probabilities, log(max(p, `LEAST`)) less its mean over the classes. A softmax says logits but for a
  constant at each pixel, and the head compares with the 0 outside of boxes, so the constant counts. The gradient of a
  cross entropy sums to 0 over the classes: training moves the mean of logits nowhere, and it begins near 0.

Letters: N objects, C classes, m `cells`, H and W the image's height and width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.ops import nms
from torch import Tensor
from torch.nn import functional as F

from fineseg import FuserInput, Instances, PanopticEnd, PanopticFrame, PanopticMap, Segment
from fineseg.data import masks
from fineseg_e_ups.options import PanopticHeadOptions, PanopticOptions
from fineseg_e_ups.panoptic import Objects, panoptic_map
from fineseg_fusion.fusers import Fuse, check_options, task_level

LEAST = 1e-4
"""Probabilities below count as this: the compact form of the store rounds small ones to 0."""

NOBODY = 1.0
"""Logit of things, and less than 0 of stuff, where no class has any probability, as masks from files leave it: what no
object's mask covers there is unknown then, which becomes void."""


def build(options: PanopticHeadOptions, given: FuserInput) -> Fuse:
    """Return the function that chooses at the task level and joins what was chosen with the panoptic head."""
    check_options("panoptic-head", options, given)
    rules = PanopticOptions(overlap=options.overlap, stuff_area=options.stuff_area)

    def fuse(ends: Sequence[PanopticEnd]) -> PanopticMap:
        found, semantic = task_level("panoptic-head", ends, options, given, options.confidence)
        size = found.height, found.width
        probabilities = torch.from_numpy(np.asarray(semantic.probabilities, np.float32))
        scores = centred_logits(probabilities)
        nobody = probabilities.amax(dim=0) <= 0
        scores[: given.things, nobody], scores[given.things :, nobody] = NOBODY, -NOBODY
        joined = panoptic_map(scores, given.things, objects(found, options), PanopticFrame(size, size, size), rules)
        segments = tuple(Segment(number, label) for number, label in enumerate(joined.labels, 1))
        return PanopticMap(found.image_id, joined.ids.numpy().astype(np.int32), segments)

    return fuse


def centred_logits(probabilities: Tensor) -> Tensor:
    """Return logits [C, h, w] of probabilities, their mean over the classes 0 at each pixel."""
    logits = probabilities.clamp(min=LEAST).log()
    return logits.sub_(logits.mean(dim=0))


def objects(found: Instances, options: PanopticHeadOptions) -> Objects:
    """Return the head's objects, best first: of boxes that overlap more than `nms_iou` the worse goes, of all classes.

    Boxes [N, 4] are those of the masks, their right and lower pixels included; masks without a pixel are none.
    """
    tight = masks.boxes(found.masks.tolist(), found.height, found.width)
    some = np.flatnonzero(tight[:, 2] > tight[:, 0])
    boxes = torch.from_numpy(tight[some].astype(np.float32))
    scores = torch.from_numpy(found.scores[some].astype(np.float32))
    keep = torch.zeros(0, dtype=torch.long)
    if len(some):
        _, keep = nms(boxes, scores, options.nms_iou)
        keep = keep[: options.objects]
    places = some[keep.numpy()]
    logits = [mask_logits(found, place, tight[place], options) for place in places.tolist()]
    return Objects(
        boxes[keep] - boxes.new_tensor([0, 0, 1, 1]),
        scores[keep],
        torch.from_numpy(found.labels[places]),
        torch.stack(logits) if logits else boxes.new_zeros(0, 1, 1),
    )


def mask_logits(found: Instances, place: int, box: np.ndarray, options: PanopticHeadOptions) -> Tensor:
    """Return the logits [m, m] of a mask inside its tight box [4]."""
    left, top, right, bottom = box.astype(int).tolist()
    mask = masks.decode(found.masks[place], found.height, found.width)[top:bottom, left:right]
    share = F.adaptive_avg_pool2d(torch.from_numpy(mask.astype(np.float32))[None], options.cells)[0]
    return torch.logit(share).clamp(-options.mask_logit, options.mask_logit)
