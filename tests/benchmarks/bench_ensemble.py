"""Time ensemblers: `linear-interpolation` against a loop of mmcv's soft-NMS, `wbf` against ensemble-boxes.

    python tests/benchmarks/bench_ensemble.py --images 1000

Prints rows of markdown tables. With mmcv both sides weight, pool, suppress, and keep the best 100 with their RLE masks,
of drawn predictions. `wbf` fuses boxes and masks, ensemble-boxes boxes alone; masks are those of real models where
`--predictions` is a folder with results files, else ellipses.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ensemble_boxes import weighted_boxes_fusion
from mmcv.ops import soft_nms

from fineseg import Instances, ModelScore, concatenate, make_instances
from fineseg.coco_results import instances_of_results, load_results, split_of_results
from fineseg.data import masks
from fineseg_fusion.ensemble import build_linear_interpolation
from fineseg_fusion.options import LinearInterpolationOptions
from fineseg_fusion.plugin import fineseg_ensemblers
from fineseg_fusion.weights import linear_interpolation

SIDE = 1200
REAL = Path(__file__).parents[3] / "shared" / "data" / "yolact_preds_val100"
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


def real_scenes(folder: Path) -> list[Instances]:
    """Return what all models of a folder of results files say together of each image, without empty masks."""
    loaded = [load_results(file) for file in sorted(folder.glob("*.json"))]
    split = split_of_results(loaded)
    found = [instances_of_results(rows, source, split) for rows, source in loaded]
    scenes = [concatenate([each[image.id] for each in found]) for image in split.images]
    return [each.select(masks.areas(each.masks.tolist(), each.height, each.width) > 0) for each in scenes]


def drawn_scenes(rng: np.random.Generator, classes: int, number: int = 50) -> list[Instances]:
    """Draw 40 ellipses with the boxes that they fill in each of some images."""
    scenes = []
    for image_id in range(number):
        counts = draw_masks(rng, 40)
        boxes = masks.boxes(counts, SIDE, SIDE)
        scenes.append(make_instances(image_id, (SIDE, SIDE), rng.integers(0, classes, 40), np.ones(40), boxes, counts))
    return scenes


def look_at(rng: np.random.Generator, scene: Instances, models: int, detections: int) -> Image:
    """Draw what each model says of a scene: some of its instances, boxes jittered by a twentieth of their sides."""
    members = []
    for _ in range(models):
        seen = scene.select(rng.integers(0, len(scene), detections))
        sides = seen.boxes[:, 2:] - seen.boxes[:, :2]
        boxes = seen.boxes + rng.normal(0, 0.05, seen.boxes.shape) * np.tile(sides, 2)
        scores = rng.uniform(0.05, 1, detections).astype(np.float32)
        members.append(seen.with_rows(seen.labels, scores, boxes.astype(np.float32), seen.masks))
    return members


def for_ensemble_boxes(members: Image) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return boxes in 0..1, scores and labels of each model."""
    sides = np.array([members[0].width, members[0].height] * 2)
    boxes = [np.clip(each.boxes / sides, 0, 1) for each in members]
    return boxes, [each.scores for each in members], [each.labels for each in members]


def bench_fusing(rng: np.random.Generator, scenes: list[Instances], given: argparse.Namespace) -> None:
    """Print how long every ensembler takes, and ensemble-boxes for its boxes alone."""
    images = [look_at(rng, scenes[n % len(scenes)], given.models, given.detections) for n in range(given.images)]
    plain = [for_ensemble_boxes(members) for members in images]
    classes = 1 + max(int(scene.labels.max(initial=0)) for scene in scenes)
    measured = [ModelScore(f"m{n}", 70.0 + n, (70.0 + n,) * classes, (50,) * classes) for n in range(given.models)]
    merges = {part.name: part.build(part.options(), measured) for part in fineseg_ensemblers()}
    for members, lists in zip(images, plain, strict=True):
        ours, theirs = merges["wbf"](members), weighted_boxes_fusion(*lists)
        np.testing.assert_allclose(ours.scores, np.minimum(theirs[1], 1)[: len(ours)], rtol=1e-4)
    boxes_alone = median_seconds(lambda lists: weighted_boxes_fusion(*lists), plain, given.repeats)
    print("\n| ensembler | images x models x detections | s | ensemble-boxes' WBF, boxes alone, s | share of it |")
    print("|---|---|---|---|---|")
    size = f"{given.images} x {given.models} x {given.detections}"
    for name, merge in merges.items():
        seconds = median_seconds(merge, images, given.repeats)
        print(f"| `{name}` | {size} | {seconds:.2f} | {boxes_alone:.2f} | {seconds / boxes_alone:.2f} |")


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


def median_seconds(act: Callable[[Any], object], images: Sequence[Any], repeats: int) -> float:
    """Return the median time of one pass over the images."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for each in images:
            act(each)
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
    parser.add_argument("--predictions", type=Path, default=REAL, help="folder with results files on the same images")
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
    real = given.predictions.is_dir()
    bench_fusing(rng, real_scenes(given.predictions) if real else drawn_scenes(rng, given.classes), given)


if __name__ == "__main__":
    main()
