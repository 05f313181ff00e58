"""Build every model of a competition at full size and send one 1200 x 1200 room through it, as the profile predicts.

    python tests/benchmarks/full_size_models.py

Prints a row of a markdown table for each model. Weights are random, so the score threshold is 0: 100 detections reach
the mask stage. Each model has a process of its own, whose largest memory is measured.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fineseg.mm.model import BuiltModel

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "competitions" / "3dfuture.toml"
SIDE = 1200


def settle(built: "BuiltModel", image: Path) -> None:
    """Take the normalisation statistics from the image, scaled down: random weights alone blow a deep network up."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from fineseg.mm.images import read_image
    from fineseg.mm.predict import prepare_image

    norms = [module for module in built.module.modules() if isinstance(module, _BatchNorm)]
    built.module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        built.predictor.encode(prepare_image(read_image(image), (320, 320), built.normalisation))
    built.module.eval()


def measure(model: str, settings: list[str]) -> str:
    """Return the row of one model: parameters, seconds to build and to predict, memory, masks that are not empty."""
    import torch

    from fineseg.catalog import load_catalog
    from fineseg.data import masks
    from fineseg.data.coco import read_coco
    from fineseg.mm.model import build_model
    from fineseg.mm.predict import predict_image
    from fineseg.mm.views import build_viewing
    from fineseg.profile import load_profile
    from fineseg_datasets.showroom import write_split

    torch.manual_seed(0)
    catalog = load_catalog(warn=print)
    no_scores = ["predict.score_threshold=0.0", f"models.{model}.backbone.weights=none"]
    profile = load_profile(PROFILE, catalog, settings=[*no_scores, *settings]).profile
    started = time.monotonic()
    built = build_model(profile.models[model], catalog, 34, weights_cache=None)
    building = time.monotonic() - started
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, (SIDE, SIDE), seed=0)
        split = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room")
        settle(built, split.images[0].file)
        started = time.monotonic()
        viewing = build_viewing(profile.predict, catalog, 34)
        found = predict_image(built, split.images[0], profile.predict, torch.device("cpu"), viewing)
        predicting = time.monotonic() - started
    areas = masks.areas(list(found.masks), found.height, found.width)
    parameters = sum(parameter.numel() for parameter in built.module.parameters()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"| {model} | {parameters:.1f} | {building:.1f} | {len(viewing.views)} | {predicting:.1f} | {peak:.1f} "
        f"| {len(found)} | {int((areas > 0).sum())} |"
    )


def main() -> None:
    """Measure one model, or all of them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="this one alone")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="change the profile: KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.model:
        print(measure(arguments.model, arguments.settings), flush=True)
        return
    print("| model | parameters, M | build, s | views | predict, s | peak memory, GiB | detections | masks not empty |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    changes = [word for setting in arguments.settings for word in ("--set", setting)]
    for model in ("m1", "m2", "m3", "m4", "m5"):
        subprocess.run([sys.executable, __file__, "--model", model, *changes], check=True)


if __name__ == "__main__":
    main()
