"""Build a model of the panoptic competition at full size and send one image of 800 x 1344 through it to a map.

    python tests/benchmarks/full_size_panoptic.py                                SENet-154 with BFP and LSH, 133 classes
    python tests/benchmarks/full_size_panoptic.py --model lwl-htc                the other end of the winning system

Prints a row of a markdown table. Weights are random, so score thresholds are 0 and stuff of any size stays: 100
detections reach the mask stage and the map, which a head makes itself or the fuser `heuristic` of what it gives.
Seconds are from the file to instances, scores and map.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from full_size_models import settle

from fineseg import FuserInput, PanopticEnd
from fineseg.catalog import load_catalog
from fineseg.data.coco import read_coco
from fineseg.mm.model import build_model
from fineseg.mm.panoptic import predict_panoptic
from fineseg.profile import load_profile
from fineseg_datasets.showroom import write_split

PROFILE = Path(__file__).parents[2] / "competitions" / "coco_panoptic.toml"
THINGS, STUFF, SIZE = 80, 53, (800, 1344)


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="senet-lsh", help="model of the profile; senet-lsh gets BFP beside")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="change the profile: KEY=VALUE")
    given = parser.parse_args()
    torch.manual_seed(0)
    catalog, model = load_catalog(warn=print), given.model
    open_doors = [
        "predict.score_threshold=0.0",
        f"predict.long_side={SIZE[1]}",
        f"models.{model}.backbone.weights=none",
    ]
    head, _ = catalog.choose("head", load_profile(PROFILE, catalog).profile.models[model].head.name, {})
    makes_maps = "panoptic" in head.gives
    own = [f"models.{model}.head.panoptic.{key}=0" for key in ("score", "stuff_area")] if makes_maps else []
    bfp = ["models.senet-lsh.neck.name=fpn-bfp"] if model == "senet-lsh" else []
    profile = load_profile(PROFILE, catalog, settings=[*open_doors, *own, *bfp, *given.settings]).profile
    built = build_model(profile.models[model], catalog, THINGS, weights_cache=None, num_stuff=STUFF)
    fuser, options = catalog.choose("panoptic-fuser", "heuristic", {"confidence": 0, "stuff_area": 0})
    fuse = fuser.build(options, FuserInput(THINGS, STUFF))
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, SIZE, seed=0)
        image = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room").images[0]
        settle(built, image.file)
        started = time.monotonic()
        answer = predict_panoptic(built, image, profile.predict, torch.device("cpu"), head.gives)
        segmented = answer.panoptic or fuse([PanopticEnd(model, answer.instances, answer.semantic)])
        seconds = time.monotonic() - started
    millions = sum(weight.numel() for weight in built.module.parameters()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| model | parameters, M | predict, s | peak memory, GiB | detections | segments of the map |")
    print("|---|---|---|---|---|---|")
    found = f"{len(answer.instances)} | {len(segmented.segments)}"
    print(f"| {model} | {millions:.1f} | {seconds:.1f} | {peak:.1f} | {found} |")


if __name__ == "__main__":
    main()
