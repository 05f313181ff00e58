"""Time PointRend's mask stage of one image, from feature maps to RLE, against mmdet's, on drawn feature maps.

    python tests/benchmarks/bench_pointrend.py m1          the winner's first model, 100 detections at 1400 pixels
    python tests/benchmarks/bench_pointrend.py m4          its fourth
    python tests/benchmarks/bench_pointrend.py coco        mmdet's R50 for COCO, P2 alone, at 800 pixels
    python tests/benchmarks/bench_pointrend.py m1 --train  losses and gradients of 128 positive RoIs of 10 objects
    python tests/benchmarks/bench_pointrend.py m1 --plain --device cuda --precision bf16

Prints one row of a markdown table, after making sure that both sides paint the same masks. Memory is the peak resident
set of a process of its own, less what was resident before the call (on a GPU: what torch allocated). With `--plain` the
refinement alone is timed against the paper's algorithm in plain torch (tests/pointrend_cases.py), without mmdet.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "plugins" / "pointrend")]

import psutil  # noqa: E402
import torch  # noqa: E402
from pointrend_cases import PUBLISHED, STRIDES, both_heads, draw_boxes, draw_levels, draw_sampling, refine_plainly  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import avg_pool2d  # noqa: E402

from fineseg_pointrend.render import PointHead, PointLayer, refine  # noqa: E402

SIDES = {"m1": 1400, "m4": 1400, "coco": 800}
CLASSES = {"m1": 34, "m4": 34, "coco": 80}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GIB = 1 << 30


@dataclass(frozen=True)
class Task:
    """One side's work, and what it leaves to be compared."""

    ours: Callable[[], Any]
    stock: Callable[[], Any]
    compare: Callable[[Any, Any], str]


def padded(side: int) -> int:
    return -(-side // 32) * 32


def levels_of(name: str, images: int = 1) -> list[Tensor]:
    """Draw feature maps that are as smooth as a pyramid's."""
    return [avg_pool2d(level, 3, 1, 1) * 3 for level in draw_levels(padded(SIDES[name]), 256, images=images)]


def prediction(name: str, detections: int) -> Task:
    """From feature maps and boxes to RLE, mmdet's way through its own `predict_mask`."""
    from mmdet.structures.mask import encode_mask_results
    from mmengine.structures import InstanceData

    from fineseg.mm.paste import paste_to_rle
    from fineseg_pointrend.predictor import PointRendPredictor

    side = SIDES[name]
    stock, ours = both_heads(PUBLISHED[name], 256, CLASSES[name])
    levels = levels_of(name)
    boxes = draw_boxes(detections, side, inside=True)
    labels = torch.arange(detections) % CLASSES[name]
    predictor = PointRendPredictor.__new__(PointRendPredictor)
    predictor.detector = torch.nn.ModuleDict({"roi_head": ours.eval()})
    meta = {"ori_shape": (side, side), "scale_factor": (1.0, 1.0), "img_shape": (side, side)}

    def run_ours() -> list[bytes]:
        (masks,) = predictor.masks(levels, [boxes], [labels])
        return paste_to_rle(masks, boxes, side, side, 0.5)

    def run_stock() -> list[bytes]:
        found = InstanceData(bboxes=boxes.clone(), labels=labels)
        (found,) = stock.eval().predict_mask(levels, [meta], [found], rescale=True)
        return [each["counts"] for each in encode_mask_results(found.masks)]

    def compare(found: list[bytes], expected: list[bytes]) -> str:
        from pycocotools import mask as coco_mask

        planes = [coco_mask.decode([{"size": [side, side], "counts": c} for c in each]) for each in (found, expected)]
        painted = (planes[0] | planes[1]).sum()
        differ = (planes[0] != planes[1]).sum()
        assert differ < 1e-3 * painted, (differ, painted)
        return f"{100 * (1 - differ / painted):.4f} % of painted pixels agree"

    return Task(run_ours, run_stock, compare)


def training(name: str, positives: int) -> Task:
    """Losses and gradients of one image's positive RoIs."""
    stock, ours = both_heads(PUBLISHED[name], 256, CLASSES[name])
    side = padded(SIDES[name])
    levels = [level.requires_grad_() for level in levels_of(name)]
    sampling, truth = draw_sampling(positives, 10, side, CLASSES[name], seed=0)

    def run(head: Any) -> dict[str, float]:
        torch.manual_seed(0)
        with torch.enable_grad():
            losses = head.mask_loss(tuple(levels), [sampling], None, [truth])["loss_mask"]
            torch.stack([loss.sum() for loss in losses.values()]).sum().backward()
        return {key: loss.item() for key, loss in losses.items()}

    def compare(found: dict[str, float], expected: dict[str, float]) -> str:
        for key, loss in expected.items():
            assert abs(found[key] - loss) < 1e-5 * loss, (key, found[key], loss)
        return "losses agree"

    return Task(lambda: run(ours), lambda: run(stock), compare)


def plain(name: str, detections: int, device: str, precision: torch.dtype) -> Task:
    """Refinement alone, on any device and in any precision."""
    options, classes = PUBLISHED[name], CLASSES[name]
    count = 1 if options.get("levels") == "p2" else 5
    layers, width = options.get("points", {}).get("layers", 3), options.get("points", {}).get("width", 256)
    test, grid = options.get("points", {}).get("test", 70), options.get("coarse", {}).get("grid", 26) // 2
    generator = torch.Generator().manual_seed(0)

    def layer(outputs: int, inputs: int) -> PointLayer:
        weight = torch.randn(outputs, inputs + classes, generator=generator) * (2 / (inputs + classes)) ** 0.5
        weight = weight.to(device, precision)
        return PointLayer(weight[:, :inputs], weight[:, inputs:], weight.new_zeros(outputs))

    head = PointHead(
        tuple(layer(width, count * 256 if n == 0 else width) for n in range(layers)), layer(classes, width)
    )
    levels = [level.to(device, precision) for level in levels_of(name)[:count]]
    boxes = draw_boxes(detections, SIDES[name], inside=True).to(device)
    labels = (torch.arange(detections) % classes).to(device)
    coarse = (torch.randn(detections, classes, grid, grid, generator=generator) * 2).to(device, precision)
    settings = {"steps": 5, "points": test * test}

    def run_ours() -> Tensor:
        return refine(levels, STRIDES[:count], boxes, labels * 0, labels, coarse, head, **settings)

    def run_stock() -> Tensor:
        return refine_plainly(levels, STRIDES[:count], boxes, labels, coarse, head, **settings)

    def compare(found: Tensor, expected: Tensor) -> str:
        agree = ((found > 0) == (expected > 0)).float().mean().item()
        assert agree > (0.999 if precision == torch.float32 else 0.95), agree
        return f"{100 * agree:.3f} % of pixels agree"

    return Task(run_ours, run_stock, compare)


def seconds(act: Callable[[], Any], repeats: int) -> float:
    """Return the median time of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak(act: Callable[[], Any]) -> float:
    """Return by how many GiB the peak of this process, or of the GPU, grows in one call."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        act()
        return (torch.cuda.max_memory_allocated() - before) / GIB
    before = psutil.Process().memory_info().rss
    act()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / GIB


def peak_elsewhere(who: str) -> float:
    """Return `peak` of one side in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", who]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(PUBLISHED))
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--train", action="store_true")
    kind.add_argument("--plain", action="store_true")
    parser.add_argument("--rois", type=int, help="detections (100), or positive RoIs in training (128)")
    parser.add_argument("--device", default="cpu", help="with --plain")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="with --plain")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-of", choices=["ours", "stock"], help=argparse.SUPPRESS)
    given = parser.parse_args()

    rois = given.rois or (128 if given.train else 100)
    if given.plain:
        task, what = (
            plain(given.model, rois, given.device, PRECISIONS[given.precision]),
            f"refinement, {given.precision}",
        )
    elif given.train:
        task, what = training(given.model, rois), "loss and gradients"
    else:
        task, what = prediction(given.model, rois), "features to RLE"
    if given.peak_of:
        print(peak(getattr(task, given.peak_of)))
        return
    low, high = peak_elsewhere("ours"), peak_elsewhere("stock")  # first: a child's peak starts at its parent's
    print(task.compare(task.ours(), task.stock()))
    ours, stock = seconds(task.ours, given.repeats), seconds(task.stock, given.repeats)
    print("| model, RoIs, side | what | ours, s | other, s | ratio | ours, GiB | other, GiB | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    size = f"{given.model}, {rois}, {padded(SIDES[given.model])}"
    times, memory = (f"{a:.2f} | {b:.2f} | {b / a:.1f}" for a, b in ((ours, stock), (low, high)))
    print(f"| {size} | {what} | {times} | {memory} |")


if __name__ == "__main__":
    main()
