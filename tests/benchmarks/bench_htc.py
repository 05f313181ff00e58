"""Time one whole image through HTC at full size, from file to RLE: fineseg's path beside mmdet's own, on one network.

    python tests/benchmarks/bench_htc.py

Res2Net-101 with DCN v2, global context and SyncBN, box RoIs of 12 cells and mask RoIs of 32, 34 classes. Weights are
random, the image is a drawn room of 1200 x 1200 at 1000 pixels, one view, 100 detections. mmdet's masks are the last
stage's alone and have no score, ours the mean of three, with and without mask scoring. Each side has a process of its
own, whose peak memory is measured.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_whole_image import stock
from full_size_models import SIDE, settle
from mmdet.models.roi_heads import HybridTaskCascadeRoIHead

from fineseg.catalog import load_catalog
from fineseg.data import masks
from fineseg.data.coco import read_coco
from fineseg.mm.model import build_model
from fineseg.mm.predict import predict_image
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable
from fineseg_datasets.showroom import write_split

SCALED, CLASSES = 1000, 34
PREDICT = PredictTable(long_side=SCALED, short_side=SCALED, score_threshold=0.0)
SIDES = ("ours", "unscored", "stock")


def model(*, scored: bool) -> ModelTable:
    """Return the winner's HTC."""
    res2net = {"depth": 101, "scales": 4, "base_width": 26, "norm": "sync-bn", "norm_eval": False, "dcn": "v2"}
    return ModelTable(
        backbone=PartChoice(name="res2net", **res2net, gc_block=True),
        neck=PartChoice(name="fpn", channels=256),
        head=PartChoice(name="htc", mask_scoring=scored),
    )


@torch.no_grad()
def measure(who: str) -> str:
    """Return seconds, peak memory [GiB], detections and masks that are not empty, and millions of parameters."""
    torch.manual_seed(0)
    built = build_model(model(scored=who == "ours"), load_catalog(warn=print), CLASSES, weights_cache=None)
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, (SIDE, SIDE), seed=0)
        image = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room").images[0]
        settle(built, image.file)
        started = time.monotonic()
        if who == "stock":
            counts = [rle["counts"] for rle in stock(built, image.file, HybridTaskCascadeRoIHead, PREDICT)]
        else:
            counts = list(predict_image(built, image, PREDICT, torch.device("cpu")).masks)
        seconds = time.monotonic() - started
    filled = int((masks.areas(counts, SIDE, SIDE) > 0).sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    millions = sum(weight.numel() for weight in built.module.parameters()) / 1e6
    return f"{seconds:.1f} {peak:.1f} {len(counts)} {filled} {millions:.1f}"


def main() -> None:
    """Measure all sides, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=SIDES, help="one side alone")
    given = parser.parse_args()
    if given.of:
        print(measure(given.of))
        return
    print("| side | parameters, M | predict, s | peak memory, GiB | detections | masks not empty |")
    print("|---|---|---|---|---|---|", flush=True)
    names = ("fineseg, masks scored", "fineseg", "mmdet")
    for who, name in zip(SIDES, names, strict=True):
        command = [sys.executable, __file__, "--of", who]
        seconds, peak, count, filled, millions = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.split()[-5:]
        print(f"| {name} | {millions} | {seconds} | {peak} | {count} | {filled} |", flush=True)


if __name__ == "__main__":
    main()
