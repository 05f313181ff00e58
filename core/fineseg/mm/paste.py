"""From masks in the box frame to RLE of the whole image, one full-size plane at a time.

Conventions as mmdet's: a box of (x1, y1, x2, y2) spans its S x S probabilities edge to edge, pixel centres lie at +0.5,
bilinear interpolation with zeros outside. A pixel is mask where its probability is greater than the threshold.
"""

import numpy as np
import torch
from torch.nn.functional import grid_sample

from fineseg.data.masks import encode


def paste_to_rle(
    probabilities: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float
) -> list[bytes]:
    """Return COCO counts of N masks of an image of (height, width).

    probabilities [N, S, S] in 0..1; boxes [N, 4] in pixels of the image, which they may leave.
    """
    return [
        _paste_one(probability, box, height, width, threshold)
        for probability, box in zip(probabilities, boxes.tolist(), strict=True)
    ]


def _paste_one(probability: torch.Tensor, box: list[float], height: int, width: int, threshold: float) -> bytes:
    plane = np.zeros((height, width), dtype=np.uint8, order="F")
    left, right = _window(box[0], box[2], width)
    top, bottom = _window(box[1], box[3], height)
    if right > left and bottom > top:
        device = probability.device
        x = (torch.arange(left, right, device=device, dtype=torch.float32) + 0.5 - box[0]) / max(box[2] - box[0], 1e-6)
        y = (torch.arange(top, bottom, device=device, dtype=torch.float32) + 0.5 - box[1]) / max(box[3] - box[1], 1e-6)
        grid = torch.stack(torch.meshgrid(x * 2 - 1, y * 2 - 1, indexing="xy"), dim=-1)[None]
        sampled = grid_sample(probability[None, None].float(), grid, align_corners=False)[0, 0]
        plane[top:bottom, left:right] = (sampled > threshold).cpu().numpy()
    return encode(plane)


def _window(low: float, high: float, limit: int) -> tuple[int, int]:
    """Return the pixels [from, to) that a box can colour along one axis."""
    return max(int(np.floor(low)) - 1, 0), min(int(np.ceil(high)) + 1, limit)
