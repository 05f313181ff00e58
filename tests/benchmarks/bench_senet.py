"""Measure what one image costs in memory through SENet-154, FPN and BFP, forward and backward, on the CPU.

    python tests/benchmarks/bench_senet.py

One image of 800 x 1344, float32, nothing frozen, batch norm fixed, random weights. Each row has a process of its own.
`held` is how much its resident memory grew by the forward pass, what the backward pass will need; `peak` is its largest
resident memory less what it had before the forward pass, gradients of all weights included. `by hand` counts what the
blocks of the four stages keep: 24 p channels a position, and the larger maps before a stride; with recomputed blocks
their inputs alone. Stem and neck come on top. Needs 10 GB of memory.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

import psutil
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from fineseg_backbones.builders import build_senet
from fineseg_backbones.neck_builders import build_fpn_bfp
from fineseg_backbones.neck_options import FPNBFPOptions
from fineseg_backbones.options import SENetOptions

BLOCKS = SENetOptions().stage_blocks
GIB = 2**30
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Lets glibc hand freed maps back to the system at once: otherwise resident memory tells of what once was."""


def by_hand(height: int, width: int, *, checkpointing: bool) -> float:
    """Count the floats that the four stages keep for one image, in GiB.

    A block keeps 2 p and 2 p around its first batch norm, 4 p and 4 p around the second, which activations overwrite,
    4 p before the third, 4 p before the gate and 4 p of the sum. The first block of a stage with a stride has its 2 p
    at the larger size, and each first block keeps the 4 p before its shortcut's batch norm.
    """
    floats = 0
    for stage, count in enumerate(BLOCKS):
        p, positions = 64 * 2**stage, height * width // 16 // 4**stage
        larger = positions * (4 if stage else 1)
        if checkpointing:
            before = 128 if stage == 0 else 2 * p
            floats += before * larger + (count - 1) * 4 * p * positions
        else:
            floats += count * 24 * p * positions + 4 * p * (larger - positions) + 4 * p * positions
    return floats * 4 / GIB


def measure(height: int, width: int, *, checkpointing: bool) -> str:
    """Return parameters of backbone and neck in millions, held and peak memory in GiB, and seconds."""
    torch.manual_seed(0)
    backbone_spec = build_senet(SENetOptions(checkpointing=checkpointing))
    neck_spec = build_fpn_bfp(FPNBFPOptions(gap=True), backbone_spec)
    config: Any = neck_spec.config
    backbone = MODELS.build(ConfigDict(backbone_spec.config)).train()
    neck = MODELS.build(config).train()
    image = torch.randn(1, 3, height, width)
    process = psutil.Process()
    before, started = process.memory_info().rss, time.monotonic()
    levels = neck(backbone(image))
    held = process.memory_info().rss - before
    sum(level.mean() for level in levels).backward()
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return f"{_millions(backbone)} {_millions(neck)} {held / GIB:.2f} {peak / GIB:.2f} {seconds:.0f}"


def _millions(module: nn.Module) -> str:
    return f"{sum(weight.numel() for weight in module.parameters()) / 1e6:.2f}"


def main() -> None:
    """Measure with and without recomputed blocks, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=("kept", "recomputed"), help="one row alone")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1344), metavar=("H", "W"), help="sides of the image")
    given = parser.parse_args()
    height, width = given.size
    if given.of:
        print(measure(height, width, checkpointing=given.of == "recomputed"))
        return
    print("| blocks | backbone, M | neck, M | by hand, GiB | held, GiB | peak, GiB | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in ("kept", "recomputed"):
        command = [sys.executable, __file__, "--of", name, "--size", str(height), str(width)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **RETURNED})
        backbone, neck, held, peak, seconds = done.stdout.split()[-5:]
        counted = by_hand(height, width, checkpointing=name == "recomputed")
        print(f"| {name} | {backbone} | {neck} | {counted:.2f} | {held} | {peak} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
