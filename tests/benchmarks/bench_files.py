"""Time `fineseg ensemble` and `fineseg evaluate` on drawn results files, from start to end of the process.

    python tests/benchmarks/bench_files.py --images 1000

Prints rows of a markdown table. Masks are outlines of furniture's size and roughness in images of 1200 x 1200 pixels.
The other side reads and writes the same JSON with Python's own parser and does nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fineseg.coco_results import read_coco_results
from fineseg.data import masks
from fineseg.metrics.mask_ap import mask_ap
from fineseg.stages.files import read_truth

SIDE = 1200
OBJECTS = 40  # places in an image that detections are drawn from; every eighth is true


def draw_masks(rng: np.random.Generator, number: int) -> tuple[list[bytes], np.ndarray]:
    """Draw rough outlines of 60 to 600 pixels across as RLE; return them with their boxes [N, 4] (x, y, w, h)."""
    turn, waves = np.linspace(0, 2 * np.pi, 720)[:, None], np.arange(1, 60)
    found = []
    for _ in range(number):
        centre, radius = rng.uniform(250, SIDE - 250, 2), np.exp(rng.uniform(np.log(30), np.log(300)))
        size, phase = rng.normal(0, 0.25 / waves), rng.uniform(0, 2 * np.pi, len(waves))
        reach = radius * (1 + (size * np.sin(waves * turn + phase)).sum(axis=1, keepdims=True))
        outline = centre + reach * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
        found.append(masks.encode(mask))
    boxes = masks.boxes(found, SIDE, SIDE)
    boxes[:, 2:] -= boxes[:, :2]
    return found, boxes


def draw_files(folder: Path, images: int, detections: int, classes: int, seed: int) -> tuple[list[Path], Path]:
    """Write two results files and their ground truth."""
    rng = np.random.default_rng(seed)
    pool, boxes = draw_masks(rng, 600)
    texts = [counts.decode() for counts in pool]
    areas = masks.areas(pool, SIDE, SIDE)
    places = [rng.choice(len(pool), OBJECTS, replace=False) for _ in range(images)]
    labels = rng.integers(1, classes + 1, (images, OBJECTS))

    def row(image: int, place: int, **more: Any) -> dict[str, Any]:
        mask = places[image][place]
        return {
            "image_id": image + 1,
            "category_id": int(labels[image, place]),
            "segmentation": {"size": [SIDE, SIDE], "counts": texts[mask]},
            **more,
        }

    files = []
    for name in "ab":
        rows = []
        for image in range(images):
            for place in rng.integers(0, OBJECTS, detections).tolist():
                box = (boxes[places[image][place]] + rng.normal(0, 2, 4)).clip(1).round(2)
                rows.append(row(image, place, bbox=box.tolist(), score=round(rng.uniform(0.05, 1), 5)))
        files.append(folder / f"{name}.json")
        files[-1].write_text(json.dumps(rows))
    true = [(image, place) for image in range(images) for place in range(0, OBJECTS, 8)]
    annotations = [
        row(image, place, id=n, area=float(areas[places[image][place]]), bbox=boxes[places[image][place]].tolist())
        for n, (image, place) in enumerate(true, start=1)
    ]
    truth = folder / "truth.json"
    sizes = [{"id": image + 1, "width": SIDE, "height": SIDE} for image in range(images)]
    names = [{"id": n + 1, "name": f"class {n + 1}"} for n in range(classes)]
    truth.write_text(json.dumps({"images": sizes, "categories": names, "annotations": annotations}))
    lengths = sorted(map(len, texts))
    print(f"RLE of {lengths[len(lengths) // 10]} to {lengths[-len(lengths) // 10]} characters", file=sys.stderr)
    return files, truth


def seconds_of(*arguments: object) -> float:
    """Return how long a process of the command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fineseg", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_of_json(files: list[Path], out: Path | None) -> float:
    """Return how long Python takes to parse the files, and to write half of what they hold where `out` is given."""
    start = time.perf_counter()
    rows = [row for file in files for row in json.loads(file.read_text())]
    if out is not None:
        out.write_text(json.dumps(rows[::2]))
    return time.perf_counter() - start


def boundary_row(predictions: Path, truth: Path, images: int) -> str:
    """Time mask AP, boundary AP, and boundary AP by faster-coco-eval's own mode, in this process; return the row."""
    from faster_coco_eval import COCO, COCOeval_faster

    split = read_truth(truth)
    found = read_coco_results(predictions, split)
    seconds, figures = [], []
    for kind in ("segm", "boundary"):
        start = time.perf_counter()
        figures.append(mask_ap(split, found, kind=kind).summary["AP"])  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    true_side = COCO(str(truth), print_function=lambda *_: None)
    theirs = COCOeval_faster(true_side, true_side.loadRes(str(predictions)), "boundary", print_function=lambda *_: None)
    theirs.run()
    seconds.append(time.perf_counter() - start)
    np.testing.assert_allclose(figures[1], 100 * theirs.stats[0], atol=1e-6)
    return f"| {images} | {' | '.join(f'{each:.1f}' for each in seconds)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--detections", type=int, default=100, help="per file and image")
    parser.add_argument("--classes", type=int, default=34)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boundary", action="store_true", help="time boundary AP alone, against faster-coco-eval's")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, truth = draw_files(folder, given.images, given.detections, given.classes, given.seed)
        if given.boundary:
            print("| images | mask AP, s | boundary AP, s | by faster-coco-eval's own mode, s |")
            print("|---|---|---|---|")
            print(boundary_row(files[0], truth, given.images))
            return
        size, out = f"{given.images} x {given.detections}", folder / "c.json"
        known = seconds_of("ensemble", *files, "--method", "linear-interpolation", "--scores", "77,76", "--out", out)
        bare = seconds_of_json(files, out)
        scored = seconds_of("evaluate", "--predictions", files[0], "--ground-truth", truth)
        megabytes = [round(file.stat().st_size / 1e6) for file in files]
        print("| command | images x detections of each file | files, MB | s | JSON alone, s |")
        print("|---|---|---|---|---|")
        print(f"| `fineseg ensemble` of two | {size} | {sum(megabytes)} | {known:.1f} | {bare:.1f} |")
        print(
            f"| `fineseg evaluate` | {size} | {megabytes[0]} | {scored:.1f} | {seconds_of_json(files[:1], None):.1f} |"
        )


if __name__ == "__main__":
    main()
