"""Time a deformable 3x3, forward and backward, against mmcv's operator and torchvision's on the CPU.

    python tests/benchmarks/bench_deform.py

Prints rows of a markdown table; seconds are medians of five passes in one process, one after the other.
"""

import statistics
import time
from collections.abc import Callable

import torch
from mmcv.ops import deform_conv2d as mmcv_conv
from torch import Tensor
from torchvision.ops import deform_conv2d as torchvision_conv

from fineseg_e_ups.deform import sampled_conv

SIZES = ((4, 48, 40, 40), (1, 256, 200, 336))
Conv = Callable[[Tensor, Tensor, Tensor], Tensor]
SIDES: dict[str, Conv] = {
    "ours": sampled_conv,
    "mmcv": lambda x, offsets, weight: mmcv_conv(x, offsets, weight, 1, 1),
    "torchvision": lambda x, offsets, weight: torchvision_conv(x, offsets, weight, padding=1),
}


def seconds(conv: Conv, given: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Return what forward takes, and what forward and backward take."""
    forward, both = [], []
    for _ in range(5):
        started = time.monotonic()
        result = conv(*given)
        forward.append(time.monotonic() - started)
        torch.autograd.grad(result.sum(), given)
        both.append(time.monotonic() - started)
    return statistics.median(forward), statistics.median(both)


def main() -> None:
    """Measure all sides on drawn numbers."""
    print("| images, channels, sides | side | forward, s | with backward, s | ratio to ours |")
    print("|---|---|---|---|---|")
    torch.manual_seed(0)
    for size in SIZES:
        images, channels, *sides = size
        drawn = torch.randn(size), torch.randn(images, 18, *sides) / 2, torch.randn(channels, channels, 3, 3)
        given = (drawn[0].requires_grad_(), drawn[1].requires_grad_(), drawn[2].requires_grad_())
        found = {name: seconds(conv, given) for name, conv in SIDES.items()}
        for name, (forward, both) in found.items():
            ratio = both / found["ours"][1]
            print(f"| {' x '.join(map(str, size))} | {name} | {forward:.3f} | {both:.3f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
