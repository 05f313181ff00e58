"""Time one whole image through LWL-HTC at full size, from file to RLE instances and the scores of all classes.

    python tests/benchmarks/bench_lwl_htc.py

ResNeXt-101 64x4d with deformable convolutions, FPN, 80 things and 53 stuff classes, with either semantic head. Weights
are random, so the score threshold is 0: 100 detections reach the masks. The image is a drawn room of 1344 x 800 at its
own size. Each side has a process of its own, whose peak memory is measured.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from full_size_models import settle

from fineseg import SemanticPredictor
from fineseg.catalog import load_catalog
from fineseg.data import masks
from fineseg.data.coco import read_coco
from fineseg.mm.images import read_image
from fineseg.mm.model import build_model
from fineseg.mm.predict import Look, detect_alone, encode_views, pasted
from fineseg.mm.views import PLAIN
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable
from fineseg_datasets.showroom import write_split

SIZE, THINGS, STUFF = (800, 1344), 80, 53
PREDICT = PredictTable(long_side=1344, short_side=800, score_threshold=0.0)
SIDES = ("fused", "deformable")


def model(semantic: str) -> ModelTable:
    """Return the paper's end, as far as it tells, with one of the semantic heads."""
    return ModelTable(
        backbone=PartChoice(name="resnext", depth=101, groups=64, base_width=4, dcn="v1"),
        neck=PartChoice(name="fpn", channels=256),
        head=PartChoice(name="lwl-htc", semantic=semantic),
    )


@torch.no_grad()
def measure(semantic: str) -> str:
    """Return seconds, of which encoding took, peak memory [GiB], detections, masks that are not empty, parameters [M].

    Last are the sides of the scores.
    """
    torch.manual_seed(0)
    built = build_model(model(semantic), load_catalog(warn=print), THINGS, weights_cache=None, num_stuff=STUFF)
    predictor = built.predictor
    if not isinstance(predictor, SemanticPredictor):
        raise TypeError(f"{type(predictor).__name__} has no scores")
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, SIZE, seed=0)
        image = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room").images[0]
        settle(built, image.file)
        started = time.monotonic()
        pixels = read_image(image.file)
        ((features, frame),) = encode_views(built, pixels, PLAIN.views, PREDICT, torch.device("cpu"))
        encoding = time.monotonic() - started
        scores = predictor.semantic(features).softmax(dim=1)
        found = pasted(image.id, pixels, PREDICT, detect_alone(Look(predictor, features, frame), PREDICT))
        seconds = time.monotonic() - started
    filled = int((masks.areas(list(found.masks), *SIZE) > 0).sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    millions = sum(weight.numel() for weight in built.module.parameters()) / 1e6
    sides = "x".join(map(str, scores.shape[1:]))
    return f"{seconds:.1f} {encoding:.1f} {peak:.1f} {len(found)} {filled} {millions:.1f} {sides}"


def main() -> None:
    """Measure both semantic heads, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=SIDES, help="one side alone")
    given = parser.parse_args()
    if given.of:
        print(measure(given.of))
        return
    print("| semantic head | parameters, M | predict, s | of which encode | peak memory, GiB | detections | scores |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for semantic in SIDES:
        command = [sys.executable, __file__, "--of", semantic]
        seconds, encoding, peak, count, filled, millions, sides = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.split()[-7:]
        row = (semantic, millions, seconds, encoding, peak, f"{count} ({filled} not empty)", sides)
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
