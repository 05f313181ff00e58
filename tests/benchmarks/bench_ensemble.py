"""Time `linear-interpolation` against a loop of mmcv's soft-NMS over images and classes, on drawn predictions.

    python tests/benchmarks/bench_ensemble.py --images 1000

Prints one row of a markdown table. Both sides weight, pool, suppress, and keep the best 100 with their RLE masks.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmcv.ops import soft_nms

from fineseg import Instances, ModelScore, concatenate, make_instances
from fineseg.data import masks
from fineseg_fusion.ensemble import build_linear_interpolation
from fineseg_fusion.options import LinearInterpolationOptions
from fineseg_fusion.weights import linear_interpolation

SIDE = 1200
OPTIONS = LinearInterpolationOptions()
Image = list[Instances]


def draw_image(
    rng: np.random.Generator, image_id: int, models: int, detections: int, classes: int, pool: Sequence[bytes]
) -> Image:
    """Draw what each model says of one image: jittered boxes of the same 40 objects, one label in five wrong."""
    centres, sizes = rng.uniform(0, SIDE, (40, 2)), np.exp(rng.uniform(3, 6, (40, 2)))
    true_labels = rng.integers(0, classes, 40)
    members = []
    for _ in range(models):
        which = rng.integers(0, 40, detections)
        centre = centres[which] + rng.normal(0, 0.1, (detections, 2)) * sizes[which]
        half = sizes[which] * np.exp(rng.normal(0, 0.1, (detections, 2))) / 2
        wrong = rng.random(detections) < 0.2
        labels = np.where(wrong, rng.integers(0, classes, detections), true_labels[which])
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        rle = [pool[n] for n in rng.integers(0, len(pool), detections)]
        members.append(make_instances(image_id, (SIDE, SIDE), labels, rng.uniform(0.05, 1, detections), boxes, rle))
    return members


def draw_masks(rng: np.random.Generator, number: int = 64) -> list[bytes]:
    """Draw ellipses as RLE."""
    y, x = np.ogrid[:SIDE, :SIDE]
    params = rng.uniform([200, 200, 20, 20], [1000, 1000, 180, 180], (number, 4))
    return [masks.encode(((y - b) / q) ** 2 + ((x - a) / p) ** 2 < 1) for a, b, p, q in params]


def merge_with_mmcv(members: Image, weights: np.ndarray) -> Instances:
    """Do the ensembler's work with mmcv's soft-NMS, one call a class."""
    weighted = [each.with_scores(each.scores * weight) for each, weight in zip(members, weights, strict=True)]
    pooled = concatenate(weighted)
    kept, scores = [], []
    for label in np.unique(pooled.labels):
        mine = np.flatnonzero(pooled.labels == label)
        boxes, before = torch.from_numpy(pooled.boxes[mine]), torch.from_numpy(pooled.scores[mine])
        rows, index = soft_nms(boxes, before, OPTIONS.nms_iou, min_score=OPTIONS.min_score, method="linear")
        kept.append(mine[index.numpy()])
        scores.append(rows[:, 4].numpy())
    position, score = np.concatenate(kept), np.concatenate(scores)
    best = np.argsort(-score, kind="stable")[: OPTIONS.max_per_image]
    return pooled.select(position[best]).with_scores(score[best])


def median_seconds(act: Callable[[Image], Instances], images: list[Image], repeats: int) -> float:
    """Return the median time of one pass over the images."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for members in images:
            act(members)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--detections", type=int, default=100, help="per model and image")
    parser.add_argument("--classes", type=int, default=34)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    rng = np.random.default_rng(given.seed)
    pool = draw_masks(rng)
    images = [draw_image(rng, n, given.models, given.detections, given.classes, pool) for n in range(given.images)]
    ap = np.linspace(70, 78, given.models)
    merge = build_linear_interpolation(OPTIONS, [ModelScore(f"m{n}", value, ()) for n, value in enumerate(ap)])
    weights = linear_interpolation(ap, OPTIONS.theta_min, OPTIONS.theta_max)
    for members in images:
        ours, theirs = merge(members), merge_with_mmcv(members, weights)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-4)

    fast = median_seconds(merge, images, given.repeats)
    loop = median_seconds(lambda members: merge_with_mmcv(members, weights), images, given.repeats)
    print("| images x models x detections, classes | linear-interpolation, s | mmcv soft_nms loop, s | ratio |")
    print("|---|---|---|---|")
    size = f"{given.images} x {given.models} x {given.detections}, {given.classes}"
    print(f"| {size} | {fast:.2f} | {loop:.2f} | {loop / fast:.1f} |")


if __name__ == "__main__":
    main()
