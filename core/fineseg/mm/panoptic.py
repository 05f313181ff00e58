"""Trained models of a panoptic competition over images: instances, scores of all classes, and the panoptic map.

One forward pass gives whatever of these the model's head gives.
Letters: C classes, h and w rows and columns of the scores' cells; H and W sides of the image as it was read.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import ImageInfo, Segment
from fineseg.errors import FinesegError
from fineseg.mm.dense import PLAIN as SPACES
from fineseg.mm.dense import Member, SemanticMean, Sight, Spaces, dense_ensemble, onto
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import (
    Detections,
    Look,
    detect,
    detect_judged,
    encode_views,
    inputs_of,
    instances_from,
    judge_own,
    pasted,
)
from fineseg.mm.views import PLAIN, Frame, Viewing
from fineseg.panoptic_predictions import PanopticAnswer
from fineseg.parts import Output
from fineseg.predictions import make_instances
from fineseg.predictors import (
    DensePredictor,
    OneStagePredictor,
    PanopticFrame,
    PanopticPredictor,
    SemanticPredictor,
    TwoStagePredictor,
)
from fineseg.profile.schema import PredictTable
from fineseg.semantic_store import SemanticScores

PROTOCOLS: dict[Output, tuple[type, ...]] = {
    "instances": (TwoStagePredictor, OneStagePredictor),
    "semantic": (SemanticPredictor,),
    "panoptic": (PanopticPredictor,),
}
"""What a predictor must be for each thing that a head may give."""


Encoded = tuple[Sequence[Tensor], Frame]
"""Features of an image in one view, and where that lies."""


@torch.no_grad()
def predict_panoptic(
    built: BuiltModel,
    image: ImageInfo,
    predict: PredictTable,
    device: torch.device,
    gives: Collection[Output] = tuple(PROTOCOLS),
    viewing: Viewing = PLAIN,
) -> PanopticAnswer:
    """Predict what the head `gives` of one image; the module must be in eval mode on `device`.

    Instances are those of `[predict]`'s thresholds; a head that makes maps chooses their objects by its own rules.
    Views are averaged step by step, as members of a dense ensemble are. Raises `FinesegError` for a head that does not
    give what it is said to.
    """
    _refuse_lacking(built.predictor, gives)
    pixels = read_image(image.file)
    encoded = list(encode_views(built, pixels, viewing.views, predict, device))
    return answer_from(built, encoded, image.id, pixels, predict, gives, viewing)


@torch.no_grad()
def predict_panoptic_heads(
    built: BuiltModel,
    image: ImageInfo,
    predict: PredictTable,
    device: torch.device,
    gives: Mapping[str, Collection[Output]],
    viewing: Viewing = PLAIN,
) -> dict[str, PanopticAnswer]:
    """Predict what several ends give of one image, with one pass of the backbone; "" is a model's only head."""
    if not built.ends:
        return {"": predict_panoptic(built, image, predict, device, gives[""], viewing)}
    pixels = read_image(image.file)
    views = [
        (built.encode_ends(images, gives), frame)
        for images, frame in inputs_of(built, pixels, viewing.views, predict, device)
    ]
    found: dict[str, PanopticAnswer] = {}
    for end, outputs in gives.items():
        encoded = [(features[end], frame) for features, frame in views]
        found[end] = answer_from(built.of_end(end), encoded, image.id, pixels, predict, outputs, viewing)
    return found


def answer_from(
    built: BuiltModel,
    encoded: Sequence[Encoded],
    image_id: int,
    pixels: np.ndarray,
    predict: PredictTable,
    gives: Collection[Output],
    viewing: Viewing = PLAIN,
) -> PanopticAnswer:
    """Go all steps that a head has from its features of an image in each view; its pixels [H, W, 3] are given."""
    predictor = built.predictor
    _refuse_lacking(predictor, gives)
    sights = [Sight(frame, built.padded(frame.size)) for _, frame in encoded]
    frame = replace(sights[0].frame, horizontal=False, vertical=False)
    upright = Sight(frame, sights[0].padded)
    if "panoptic" in gives and (len(encoded) > 1 or frame != sights[0].frame):
        members = [
            Member(dense_of(built), partial(_same, features), 1.0, sight)
            for (features, _), sight in zip(encoded, sights, strict=True)
        ]
        return ensembled(members, image_id, pixels, predict, SPACES)
    found, panoptic, scores = make_instances(image_id, sights[0].frame.original, [], [], [], []), None, None
    if {"semantic", "panoptic"} & set(gives) and isinstance(predictor, SemanticPredictor):
        mean = SemanticMean(SPACES.semantic)
        for (features, _), sight in zip(encoded, sights, strict=True):
            mean.add(onto(predictor.semantic(features), sight, upright, mean.shape)[0], 1.0)
        semantic = mean.value()[None]
        scores = as_scores(semantic, upright) if "semantic" in gives else None
    if "panoptic" in gives and isinstance(predictor, PanopticPredictor):
        ((features, frame),) = encoded
        look = Look(predictor, features, frame)
        judged = judge_own(look)
        found = pasted(image_id, pixels, predict, detect_judged(look, judged, predict))
        ((ids, labels),) = predictor.panoptic(features, [judged], semantic, [sights[0].sizes])
        panoptic = as_map(image_id, ids, labels)
    elif "instances" in gives:
        found = instances_from(predictor, encoded, image_id, pixels, predict, viewing)
    return PanopticAnswer(found, panoptic, scores)


def _same(features: Sequence[Tensor]) -> Sequence[Tensor]:
    return features


def ensembled(
    members: Sequence[Member], image_id: int, pixels: np.ndarray, predict: PredictTable, spaces: Spaces
) -> PanopticAnswer:
    """Return all that members of a dense ensemble say of an image, whose pixels [H, W, 3] are given."""
    found = dense_ensemble(members, partial(detect, predict=predict), spaces)
    objects, frame = found.objects, found.sight.frame
    masks = objects.masks.sigmoid()
    instances = Detections(frame.to_original(objects.boxes), objects.scores, objects.labels, masks)
    return PanopticAnswer(
        pasted(image_id, pixels, predict, instances),
        as_map(image_id, found.ids, found.labels),
        as_scores(found.semantic[None], found.sight),
    )


def as_scores(semantic: Tensor, sight: Sight) -> SemanticScores:
    """Return scores [1, C, h', w'] of a padded input as probabilities of the image."""
    probabilities = visible(semantic, sight.sizes).softmax(dim=1)[0]
    return SemanticScores(probabilities.cpu().numpy(), sight.frame.original)


def dense_of(built: BuiltModel) -> DensePredictor:
    """Return the predictor of a head that goes step by step with others; raises `FinesegError` for another."""
    if not isinstance(built.predictor, DensePredictor):
        name = type(built.predictor).__name__
        raise FinesegError(f"{name} does not go step by step with others, though its head is said to")
    return built.predictor


def _refuse_lacking(predictor: object, gives: Collection[Output]) -> None:
    for output in gives:
        if not isinstance(predictor, PROTOCOLS[output]):
            raise FinesegError(f"{type(predictor).__name__} has no steps to give '{output}', which its head is said to")


def as_map(image_id: int, ids: Tensor, labels: tuple[int, ...]) -> PanopticMap:
    """Return segments, the k-th, from 1 on, of the k-th class, as plain arrays."""
    segments = tuple(Segment(number, int(label)) for number, label in enumerate(labels, start=1))
    return PanopticMap(image_id, ids.cpu().numpy().astype(np.int32), segments)


def visible(semantic: Tensor, frame: PanopticFrame) -> Tensor:
    """Cut the padding off scores [1, C, h', w'] that span the padded input: as many cells [1, C, h, w] as touch it.

    The cells that are returned span the image edge to edge. Where the image ends inside a cell they are a little closer
    than those that are given, and blends of them.
    """
    cells = [
        math.ceil(side * count / padded)
        for side, count, padded in zip(frame.size, semantic.shape[-2:], frame.padded, strict=True)
    ]
    rows, columns = (
        (2 * torch.arange(count, device=semantic.device) + 1) / count * (side / padded) - 1
        for count, side, padded in zip(cells, frame.size, frame.padded, strict=True)
    )
    grid = torch.stack([columns[None].expand(cells[0], -1), rows[:, None].expand(-1, cells[1])], dim=-1)[None]
    return F.grid_sample(semantic, grid.to(semantic.dtype), mode="bilinear", padding_mode="border", align_corners=False)
