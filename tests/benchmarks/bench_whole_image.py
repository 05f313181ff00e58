"""Time one whole image through a full-size model, from file to RLE: fineseg's path beside mmdet's own, on one network.

    python tests/benchmarks/bench_whole_image.py m1

The model of `competitions/3dfuture.toml` has random weights, the image is a drawn room of 1200 x 1200 at 1400 pixels,
one view, 100 detections. Each side has a process of its own, whose peak memory is measured.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from full_size_models import PROFILE, SIDE, settle
from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results

from fineseg.catalog import load_catalog
from fineseg.data.coco import read_coco
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.predict import predict_image, prepare_image
from fineseg.profile import load_profile
from fineseg.profile.schema import PredictTable
from fineseg_datasets.showroom import write_split


def stock(built: BuiltModel, file: Path, roi_head: type, predict: PredictTable) -> list[dict[str, Any]]:
    """Predict as mmdet does, with its own `roi_head`: masks of all classes, pasted as full planes, then encoded."""
    detector: Any = built.module
    detector.roi_head.__class__ = roi_head
    detector.roi_head.test_cfg.update(
        score_thr=predict.score_threshold,
        nms={"type": "nms", "iou_threshold": predict.nms_iou},
        max_per_img=predict.max_per_image,
    )
    pixels = read_image(file)
    height, width = fit_size(*pixels.shape[:2], predict.long_side, predict.short_side)
    inputs = prepare_image(pixels, (height, width), built.normalisation)
    meta = {
        "img_shape": (height, width),
        "batch_input_shape": tuple(inputs.shape[-2:]),
        "ori_shape": pixels.shape[:2],
        "scale_factor": (width / pixels.shape[1], height / pixels.shape[0]),
    }
    (found,) = detector.predict(inputs, [DetDataSample(metainfo=meta)], rescale=True)
    rles: list[dict[str, Any]] = encode_mask_results(found.pred_instances.masks)
    return rles


@torch.no_grad()
def measure(model: str, who: str) -> str:
    """Return seconds, peak memory and detections of one side."""
    torch.manual_seed(0)
    catalog = load_catalog(warn=print)
    settings = ["predict.score_threshold=0.0", "predict.tta=[]", f"models.{model}.backbone.weights=none"]
    profile = load_profile(PROFILE, catalog, settings=settings).profile
    built = build_model(profile.models[model], catalog, 34, weights_cache=None)
    predict = profile.predict
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, (SIDE, SIDE), seed=0)
        image = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room").images[0]
        settle(built, image.file)
        started = time.monotonic()
        if who == "ours":
            count = len(predict_image(built, image, predict, torch.device("cpu")))
        else:
            count = len(stock(built, image.file, PointRendRoIHead, predict))
        seconds = time.monotonic() - started
    return f"{seconds:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} {count}"


def main() -> None:
    """Measure both sides, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--of", choices=["ours", "stock"], help="one side alone")
    given = parser.parse_args()
    if given.of:
        print(measure(given.model, given.of))
        return
    sides = []
    for who in ("ours", "stock"):
        command = [sys.executable, __file__, given.model, "--of", who]
        sides.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-3:])
    (ours, low, count), (other, high, other_count) = sides
    print("| model | detections, ours / mmdet's | ours, s | mmdet's, s | ratio | ours, GiB | mmdet's, GiB |")
    print("|---|---|---|---|---|---|---|")
    ratio = float(other) / float(ours)
    print(f"| {given.model} | {count} / {other_count} | {ours} | {other} | {ratio:.1f} | {low} | {high} |")


if __name__ == "__main__":
    main()
