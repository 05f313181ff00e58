"""Time two ends on one backbone, from file to instances, scores and map: one pass for both beside a pass for each.

    python tests/benchmarks/bench_ends.py

E-UPS and LWL-HTC on ResNet-101 and an FPN, 133 classes, one room of 800 x 1344, 100 detections an end; weights are
random and score thresholds 0. B is reading, scaling, backbone and neck, E1 and E2 what each end does from there. The
parts and the wholes are timed in turn, and medians are given. Memory is the peak of processes that do nothing else;
"two models" are both with a backbone each, as separate trainings leave them, one after the other in one process.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from full_size_models import settle

from fineseg import ImageInfo
from fineseg.catalog import load_catalog
from fineseg.data.coco import read_coco
from fineseg.mm.ends import SharedDetector
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.panoptic import PROTOCOLS, answer_from, predict_panoptic, predict_panoptic_heads
from fineseg.mm.predict import inputs_of
from fineseg.mm.views import PLAIN
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable
from fineseg_datasets.showroom import write_split

THINGS, STUFF, SIZE = 80, 53, (800, 1344)
PREDICT = PredictTable(long_side=SIZE[1], short_side=SIZE[0], score_threshold=0.0)
CPU = torch.device("cpu")
ENDS = {
    "e-ups": PartChoice(name="e-ups", panoptic={"score": 0, "stuff_area": 0}),
    "lwl-htc": PartChoice(name="lwl-htc", semantic="deformable"),
}
GIVES: dict[str, Any] = {"e-ups": tuple(PROTOCOLS), "lwl-htc": ("instances", "semantic")}
SIDES = ("one pass", "two passes", "two models")


def built_model(depth: int, image: Path, **heads: Any) -> BuiltModel:
    """Build a model of random weights that sees something in an image."""
    torch.manual_seed(0)
    backbone, neck = PartChoice(name="resnet", depth=depth), PartChoice(name="fpn", channels=256)
    model = ModelTable(backbone=backbone, neck=neck, **heads)
    built = build_model(model, load_catalog(warn=print), THINGS, weights_cache=None, num_stuff=STUFF)
    settle(built, image)
    return built


def seconds(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def parts(built: BuiltModel, image: ImageInfo) -> dict[str, float]:
    """Return the seconds of B, E1 and E2."""
    started = time.perf_counter()
    pixels, detector = read_image(image.file), built.module
    if not isinstance(detector, SharedDetector):
        raise TypeError("the model has no ends")
    ((images, frame),) = inputs_of(built, pixels, PLAIN.views, PREDICT, CPU)
    found = {}
    with detector.once(images):
        found["B"] = time.perf_counter() - started
        for number, (name, predictor) in enumerate(built.ends.items(), start=1):
            own = built.of_end(name)

            def end(own: BuiltModel = own, predictor: Any = predictor, gives: Any = GIVES[name]) -> None:
                answer_from(own, [(predictor.encode(images), frame)], image.id, pixels, PREDICT, gives)

            found[f"E{number}"] = seconds(end)
    return found


@torch.no_grad()
def compare(depth: int, image: ImageInfo, rounds: int) -> list[str]:
    """Return the rows of times: parts, and both ways, each beside its sum of parts."""
    built = built_model(depth, image.file, ends=ENDS)
    rows: list[dict[str, float]] = []
    for number in range(rounds + 1):
        row = parts(built, image)
        row["one pass"] = seconds(lambda: predict_panoptic_heads(built, image, PREDICT, CPU, GIVES))
        row["two passes"] = seconds(
            lambda: [predict_panoptic(built.of_end(end), image, PREDICT, CPU, GIVES[end]) for end in ENDS]
        )
        rows += [row] * (number > 0)  # the first warms up
    lines = [f"{name} {statistics.median(row[name] for row in rows):6.2f} s" for name in ("B", "E1", "E2")]
    for way, passes in (("one pass", 1), ("two passes", 2)):
        middle = statistics.median(row[way] for row in rows)
        share = statistics.median(row[way] / (passes * row["B"] + row["E1"] + row["E2"]) for row in rows)
        lines.append(f"{way} {middle:6.2f} s, {100 * (share - 1):+.1f} % beside its parts of the same round")
    return lines


@torch.no_grad()
def peak(depth: int, image: ImageInfo, side: str) -> str:
    """Return the peak memory [GiB] of one side, and how many detections its ends had."""
    answers: list[Any] = []
    if side == "two models":
        models = {end: built_model(depth, image.file, head=head) for end, head in ENDS.items()}
        answers = [predict_panoptic(model, image, PREDICT, CPU, GIVES[end]) for end, model in models.items()]
    else:
        built = built_model(depth, image.file, ends=ENDS)
        if side == "one pass":
            answers = list(predict_panoptic_heads(built, image, PREDICT, CPU, GIVES).values())
        else:
            answers = [predict_panoptic(built.of_end(end), image, PREDICT, CPU, GIVES[end]) for end in ENDS]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{memory:.2f} GiB, detections {[len(answer.instances) for answer in answers]}"


def main() -> None:
    """Compare times, then memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=101, help="of the ResNet")
    parser.add_argument("--rounds", type=int, default=5, help="of which medians are taken")
    parser.add_argument("--memory-of", choices=SIDES, help="one side alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "room", 1, SIZE, seed=0)
        image = read_coco(Path(folder) / "annotations" / "room.json", Path(folder) / "images", "room").images[0]
        if given.memory_of:
            print(peak(given.depth, image, given.memory_of))
            return
        print(*compare(given.depth, image, given.rounds), sep="\n", flush=True)
    for side in SIDES:
        command = [sys.executable, __file__, "--depth", str(given.depth), "--memory-of", side]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        print(f"{side:>10} {found}", flush=True)


if __name__ == "__main__":
    main()
