"""Trained detectors over images: the prediction protocol's steps in order, merged over views after each step.

A `Look` is one model at one image through one view. Looks are merged in one of two manners: they share their proposals
and are averaged step by step, or each of them finishes its instances and an ensembler pools those.
Letters: R proposals, N detections, C classes, S cells along a side of a mask.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.ops import batched_nms, nms
from torch import Tensor

from fineseg.data.split import ImageInfo
from fineseg.errors import FinesegError
from fineseg.mm.images import read_image
from fineseg.mm.model import PAD_DIVISOR, BuiltModel, Predictor
from fineseg.mm.one_stage import instances_at_once
from fineseg.mm.paste import paste_to_rle
from fineseg.mm.views import PLAIN, Frame, Viewing, frame_of
from fineseg.mm.weights import load_state, of_detector, read_checkpoint
from fineseg.parts import Normalisation, View
from fineseg.predictions import Instances, make_instances
from fineseg.predictors import MaskScoringPredictor, OneStagePredictor, TwoStagePredictor
from fineseg.profile.schema import PredictTable


def load_trained(built: BuiltModel, checkpoint: Path) -> None:
    """Fill a built model with a training's result; raises `FinesegError` where any tensor would be left out."""
    notes = load_state(built.module, of_detector(read_checkpoint(checkpoint)["model"]), str(checkpoint))
    if notes:
        raise FinesegError(
            f"{checkpoint}: not the weights of this model: {notes[0]}, {len(notes)} such tensors; delete its folder "
            "to train anew"
        )


@torch.no_grad()
def predict_image(
    built: BuiltModel, image: ImageInfo, predict: PredictTable, device: torch.device, viewing: Viewing = PLAIN
) -> Instances:
    """Predict the instances of one image; the module must be in eval mode on `device`."""
    pixels = read_image(image.file)
    encoded = encode_views(built, pixels, viewing.views, predict, device)
    return instances_from(built.predictor, encoded, image.id, pixels, predict, viewing)


@torch.no_grad()
def predict_heads(
    built: BuiltModel,
    image: ImageInfo,
    predict: PredictTable,
    device: torch.device,
    viewing: Viewing = PLAIN,
    ends: Collection[str] | None = None,
) -> dict[str, Instances]:
    """Predict the instances of one image by every head that finds any: by the names of the ends, or "" for one head.

    All `ends`, or some, share one pass of the backbone for each view, whose features lie in memory until the last end
    is done.
    """
    if not built.ends:
        return {"": predict_image(built, image, predict, device, viewing)}
    able = [name for name, end in built.ends.items() if isinstance(end, OneStagePredictor | TwoStagePredictor)]
    asked = [name for name in able if ends is None or name in ends]
    pixels = read_image(image.file)
    views = [
        (built.encode_ends(images, asked), frame)
        for images, frame in inputs_of(built, pixels, viewing.views, predict, device)
    ]
    found: dict[str, Instances] = {}
    for name in asked:
        own = [(features[name], frame) for features, frame in views]
        found[name] = instances_from(built.ends[name], own, image.id, pixels, predict, viewing)
    return found


def instances_from(
    predictor: Predictor,
    encoded: Iterable[tuple[Sequence[Tensor], Frame]],
    image_id: int,
    pixels: np.ndarray,
    predict: PredictTable,
    viewing: Viewing,
) -> Instances:
    """Go on from what a head has encoded of each view."""
    if isinstance(predictor, OneStagePredictor):
        found = [instances_at_once(predictor, *each, image_id, predict) for each in encoded]
        if viewing.merge is not None and len(found) > 1:
            return viewing.merge(found)
        (only,) = found
        return only
    if not isinstance(predictor, TwoStagePredictor):
        raise FinesegError(f"{type(predictor).__name__} has no steps to give instances")
    looks = (Look(predictor, *each) for each in encoded)
    if viewing.merge is None or len(viewing.views) == 1:
        return pasted(image_id, pixels, predict, detect_together(list(looks), predict))
    return viewing.merge([pasted(image_id, pixels, predict, detect_alone(one, predict)) for one in looks])


# ----------------------------------------------------------------- from pixels to features


@dataclass(frozen=True)
class Look:
    """One model looking at one image through one view; `features` are what it has encoded."""

    predictor: TwoStagePredictor
    features: Sequence[Tensor]
    frame: Frame


def encode_views(
    built: BuiltModel, pixels: np.ndarray, views: Iterable[View], predict: PredictTable, device: torch.device
) -> Iterator[tuple[Sequence[Tensor], Frame]]:
    """Encode an image, uint8 BGR [H, W, 3], in each view in turn."""
    for images, frame in inputs_of(built, pixels, views, predict, device):
        yield built.predictor.encode(images), frame


def inputs_of(
    built: BuiltModel, pixels: np.ndarray, views: Iterable[View], predict: PredictTable, device: torch.device
) -> Iterator[tuple[Tensor, Frame]]:
    """Yield an image as the network wants it, [1, 3, H', W'], in each view; those of one size scale it once."""
    height, width = pixels.shape[:2]
    scaled: dict[tuple[tuple[int, int], int], Tensor] = {}
    for view in views:
        frame = frame_of(view, height, width, predict)
        key = (frame.size, id(view.adjust))
        if key not in scaled:
            scaled[key] = prepare_image(_adjusted(pixels, view), frame.size, built.normalisation).to(device)
        yield _mirrored(scaled[key], frame), frame


def prepare_image(pixels: np.ndarray, size: tuple[int, int], normalisation: Normalisation) -> Tensor:
    """Scale uint8 BGR [H, W, 3] to `size`, normalise, and pad right and below: float [1, 3, H', W']."""
    scaled = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    if normalisation.order == "rgb":
        scaled = scaled[:, :, ::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalisation.mean, normalisation.std))
    bottom, right = (-side % PAD_DIVISOR for side in size)
    return torch.nn.functional.pad((tensor - mean) / std, (0, right, 0, bottom))[None]


def _adjusted(pixels: np.ndarray, view: View) -> np.ndarray:
    if view.adjust is None:
        return pixels
    adjusted = view.adjust(pixels.copy())
    if adjusted.shape != pixels.shape or adjusted.dtype != pixels.dtype:
        raise ValueError(
            f"a view's adjust must keep uint8 pixels of shape {pixels.shape}, not return {adjusted.dtype} of "
            f"{adjusted.shape}"
        )
    return adjusted


def _mirrored(padded: Tensor, frame: Frame) -> Tensor:
    """Mirror the image inside its input [1, 3, H', W']; the padding stays right and below."""
    if not (frame.horizontal or frame.vertical):
        return padded
    height, width = frame.size
    mirrored = padded.clone()
    mirrored[..., :height, :width] = frame.mirror(padded[..., :height, :width])
    return mirrored


# --------------------------------------------------------------- from features to detections


@dataclass(frozen=True)
class Detections:
    """What was found: boxes [N, 4] in the original frame, scores [N], labels [N], mask probabilities [N, S, S]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor

    def weighted(self, quality: Tensor) -> "Detections":
        """Return the detections with scores multiplied by their masks' quality [N], best first."""
        scores, order = (self.scores * quality).sort(descending=True, stable=True)
        return Detections(self.boxes[order], scores, self.labels[order], self.masks[order])


def detect_alone(one: Look, predict: PredictTable) -> Detections:
    """Go all steps in the frame of one look."""
    return detect_judged(one, judge_own(one), predict)


def judge_own(one: Look) -> tuple[Tensor, Tensor]:
    """Judge a look's own proposals in its frame: boxes [R, 4] or [R, C, 4] and probabilities [R, C + 1]."""
    ((proposals, _),) = one.predictor.proposals(one.features, [one.frame.size])
    (judged,) = one.predictor.boxes(one.features, [proposals], [one.frame.size])
    return judged


def detect_judged(one: Look, judged: tuple[Tensor, Tensor], predict: PredictTable) -> Detections:
    """Go on from what `judge_own` returned to detections."""
    boxes, scores, labels = detect(*judged, predict)
    masks, *quality = _masks(one, boxes, labels)
    found = Detections(one.frame.to_original(boxes), scores, labels, masks)
    return found.weighted(*quality) if quality else found


def detect_together(looks: Sequence[Look], predict: PredictTable) -> Detections:
    """Go every step in all looks and merge after each: proposals by NMS, boxes, probabilities and masks by their mean.

    The manner of "Towards Fine-grained Large Object Segmentation": one set of proposals is judged in every view. All
    looks must be at the same image; a single one has nothing to merge and stays in its frame.
    """
    if len(looks) == 1:
        return detect_alone(looks[0], predict)
    proposals = share_proposals(looks)
    boxes, scores = _mean(_judged(one, one.frame.to_view(proposals)) for one in looks)
    boxes, scores, labels = detect(boxes, scores, predict)
    masks, *quality = _mean(_masks(one, one.frame.to_view(boxes), labels) for one in looks)
    found = Detections(boxes, scores, labels, masks)
    return found.weighted(*quality) if quality else found


def share_proposals(looks: Sequence[Look]) -> Tensor:
    """Return the looks' proposals [R, 4] as one set in the original frame, best first: NMS, then the first so many.

    Both limits are the first look's head's own.
    """
    found = [(one.frame, one.predictor.proposals(one.features, [one.frame.size])[0]) for one in looks]
    boxes = torch.cat([frame.to_original(boxes) for frame, (boxes, _) in found])
    scores = torch.cat([scores for _, (_, scores) in found])
    head = looks[0].predictor
    _, keep = nms(boxes, scores, head.proposal_iou)
    return boxes[keep[: head.max_proposals]]


def detect(boxes: Tensor, scores: Tensor, predict: PredictTable) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the detections that the profile wants.

    boxes [R, 4] or [R, C, 4], scores [R, C + 1] with background last; returns boxes [N, 4], scores [N], labels [N],
    best first: score above the threshold, hard NMS per class, the first `max_per_image`.
    """
    num_classes = scores.shape[1] - 1
    if boxes.dim() == 2:
        boxes = boxes[:, None].expand(-1, num_classes, 4)
    region, label = torch.nonzero(scores[:, :-1] > predict.score_threshold, as_tuple=True)
    boxes, scores = boxes[region, label], scores[region, label]
    if not len(scores):
        return boxes, scores, label
    _, keep = batched_nms(boxes, scores, label, {"type": "nms", "iou_threshold": predict.nms_iou})
    keep = keep[: predict.max_per_image]
    return boxes[keep], scores[keep], label[keep]


def _judged(one: Look, proposals: Tensor) -> tuple[Tensor, Tensor]:
    """Judge proposals [R, 4] of the look's frame: boxes in the original frame, and probabilities [R, C + 1]."""
    ((boxes, scores),) = one.predictor.boxes(one.features, [proposals], [one.frame.size])
    return one.frame.to_original(boxes), scores


def _masks(one: Look, boxes: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Return the masks [N, S, S] of boxes of the look's frame, not mirrored, and their quality [N] if the head says."""
    masks = one.predictor.masks(one.features, [boxes], [labels])
    upright = one.frame.mirror(masks[0])
    if not isinstance(one.predictor, MaskScoringPredictor):
        return (upright,)
    return upright, one.predictor.quality(one.features, [boxes], [labels], masks)[0]


def _mean(tuples: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Average tuples of tensors of the same shapes, one at a time."""
    waiting = iter(tuples)
    totals, count = next(waiting), 1
    for tensors in waiting:
        totals = tuple(total + tensor for total, tensor in zip(totals, tensors, strict=True))
        count += 1
    return tuple(total / count for total in totals)


def pasted(image_id: int, pixels: np.ndarray, predict: PredictTable, found: Detections) -> Instances:
    """Return detections as instances of the image whose pixels [H, W, 3] are given, masks at its size."""
    height, width = pixels.shape[:2]
    counts = paste_to_rle(found.masks, found.boxes, height, width, predict.mask_threshold)
    labels, scores, boxes = (tensor.cpu().numpy() for tensor in (found.labels, found.scores, found.boxes))
    return make_instances(image_id, (height, width), labels, scores, boxes, counts)
