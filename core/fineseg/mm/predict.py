"""One trained detector over images: the prediction protocol's steps in order, one view."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.ops import batched_nms

from fineseg.data.split import ImageInfo
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.model import PAD_DIVISOR, BuiltModel
from fineseg.mm.paste import paste_to_rle
from fineseg.mm.weights import load_state, read_checkpoint
from fineseg.parts import Normalisation
from fineseg.predictions import Instances, make_instances
from fineseg.profile.schema import PredictTable


def load_trained(built: BuiltModel, checkpoint: Path) -> None:
    """Fill a built model with a training's result."""
    load_state(built.module, read_checkpoint(checkpoint)["model"], str(checkpoint))


def prepare_image(pixels: np.ndarray, size: tuple[int, int], normalisation: Normalisation) -> torch.Tensor:
    """Scale uint8 BGR [H, W, 3] to `size`, normalise, and pad right and below: float [1, 3, H', W']."""
    scaled = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    if normalisation.order == "rgb":
        scaled = scaled[:, :, ::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalisation.mean, normalisation.std))
    bottom, right = (-side % PAD_DIVISOR for side in size)
    return torch.nn.functional.pad((tensor - mean) / std, (0, right, 0, bottom))[None]


def detect(
    boxes: torch.Tensor, scores: torch.Tensor, predict: PredictTable
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


@torch.no_grad()
def predict_image(built: BuiltModel, image: ImageInfo, predict: PredictTable, device: torch.device) -> Instances:
    """Predict the instances of one image; the module must be in eval mode on `device`."""
    pixels = read_image(image.file)
    height, width = pixels.shape[:2]
    size = fit_size(height, width, predict.long_side, predict.short_side)
    features = built.predictor.encode(prepare_image(pixels, size, built.normalisation).to(device))
    proposals = built.predictor.proposals(features, [size])
    ((boxes, scores),) = built.predictor.boxes(features, proposals, [size])
    boxes, scores, labels = detect(boxes, scores, predict)
    (masks,) = built.predictor.masks(features, [boxes], [labels])
    scale = boxes.new_tensor([width / size[1], height / size[0]] * 2)
    boxes = boxes * scale
    counts = paste_to_rle(masks, boxes, height, width, predict.mask_threshold)
    return make_instances(
        image.id, (height, width), labels.cpu().numpy(), scores.cpu().numpy(), boxes.cpu().numpy(), counts
    )
