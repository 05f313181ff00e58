"""Trained panoptic models over images: one forward pass gives instances, scores of all classes, and the panoptic map.

Letters: C classes, h and w rows and columns of the scores' cells; H and W sides of the image as it was read.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import ImageInfo, Segment
from fineseg.errors import FinesegError
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import Look, detect_judged, encode_views, judge_own, pasted
from fineseg.mm.views import PLAIN
from fineseg.panoptic_predictions import PanopticAnswer
from fineseg.predictors import PanopticFrame, PanopticPredictor
from fineseg.profile.schema import PredictTable
from fineseg.semantic_store import SemanticScores


@torch.no_grad()
def predict_panoptic(
    built: BuiltModel, image: ImageInfo, predict: PredictTable, device: torch.device
) -> PanopticAnswer:
    """Predict all of one image in the plain view; the module must be in eval mode on `device`.

    Instances are those of `[predict]`'s thresholds; the head chooses its map's objects by its own rules. Raises
    `FinesegError` for a head that makes no maps.
    """
    predictor = built.predictor
    if not isinstance(predictor, PanopticPredictor):
        raise FinesegError(f"{type(predictor).__name__} makes no panoptic maps, though its head is said to")
    pixels = read_image(image.file)
    ((features, frame),) = encode_views(built, pixels, PLAIN.views, predict, device)
    look = Look(predictor, features, frame)
    judged = judge_own(look)
    semantic = predictor.semantic(features)
    sizes = PanopticFrame(built.padded(frame.size), frame.size, frame.original)
    ((ids, labels),) = predictor.panoptic(features, [judged], semantic, [sizes])
    return PanopticAnswer(
        pasted(image.id, pixels, predict, detect_judged(look, judged, predict)),
        as_map(image.id, ids, labels),
        SemanticScores(visible(semantic, sizes).softmax(dim=1)[0].cpu().numpy(), frame.original),
    )


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
