"""Matrix-NMS (SOLOv2, arXiv 2003.10152, section 3.3): overlap lowers scores, all at once.

Letters: N masks of one image, P pixels.
"""

import torch
from torch import Tensor

PIXELS = 1 << 14
"""Pixels of every mask that are turned into floats at once."""


def decay(masks: Tensor, labels: Tensor, *, kernel: str, sigma: float) -> Tensor:
    """Return by what each mask's score is to be multiplied: [N] in 0..1.

    masks bool [N, P], none of them empty, best first; labels [N]; only masks of one label lower each other. A mask j is
    lowered by the better mask i for which f(IoU_ij) / f(the largest IoU of i and a mask better than i) is least;
    f(IoU) is exp(-sigma IoU^2) (`gaussian`) or 1 - IoU (`linear`).
    """
    factors = masks.new_ones(len(masks), dtype=torch.float32)
    for label in sorted(set(labels.tolist())):
        own = (labels == label).nonzero().flatten()
        factors[own] = _decay_one_label(masks[own], kernel, sigma)
    return factors


def _decay_one_label(masks: Tensor, kernel: str, sigma: float) -> Tensor:
    better = torch.ones(len(masks), len(masks), dtype=torch.bool, device=masks.device).triu(diagonal=1)
    overlap = ious(masks) * better
    known = overlap.amax(dim=0)[:, None]
    if kernel == "gaussian":
        ratio = torch.exp(sigma * (known.square() - overlap.square()))
    else:
        # A copy of a better mask has nothing to say that the better one does not: 0 / 0 must not decide.
        ratio = torch.where(known < 1, (1 - overlap) / (1 - known), torch.inf)
    return torch.where(better, ratio, 1.0).amin(dim=0)


def ious(masks: Tensor) -> Tensor:
    """Return the IoU [N, N] of bool masks [N, P], none of them empty."""
    shared = masks.new_zeros(len(masks), len(masks), dtype=torch.float32)
    for part in torch.split(masks, PIXELS, dim=1):
        pixels = part.float()
        shared.addmm_(pixels, pixels.t())
    area = shared.diagonal()
    return shared / (area[:, None] + area - shared)
