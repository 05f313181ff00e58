"""Time prediction through shards and actors against a plain loop, and weigh the driver of a large prediction.

    python tests/benchmarks/bench_prediction.py                    one and two processes of one thread each
    python tests/benchmarks/bench_prediction.py --driver 10000     memory of the driver and of scoring, stub predictions

The loop calls `predict_image` for every image in a process of its own. The other side is what a run does; its rate is
taken from when a third of the files stand (every process has started and warmed up) to the last file, so it holds the
dispatch of shards, progress and writing of files. What comes before is told as start-up. Rates are medians of the
pairs, and so are the ratios.

`--driver` predicts and scores as the stages of a run do, but each process answers `--detections` masks of some 300
characters without looking; peaks are of this process, baseline (imports and annotations of all images) included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
import psutil  # noqa: E402

DATA = {"name": "coco-instance", "annotations": "annotations/{split}.json", "images": "images"}
MASK_SIDE = 600


def tables_of(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the merged profile of the prediction."""
    from small_models import small_model

    sizes = {"long_side": given.side, "short_side": given.side}
    return {
        "competition": {"name": "bench"},
        "data": {"dataset": DATA, "root": str(folder)},
        "train": {"epochs": 1, "lr": 1.0},
        "models": {"a": small_model().model_dump(mode="json")},
        "predict": {**sizes, "score_threshold": 0.0, "max_per_image": 30, "shard": given.shard},
    }


# ---------------------------------------------------------------------- rates


def run_loop(tables: dict[str, Any], folder: Path) -> float:
    """Return the seconds of one image in a plain loop, the first shard's images left out."""
    import torch

    from fineseg.catalog import load_catalog
    from fineseg.mm.model import build_model
    from fineseg.mm.predict import load_trained, predict_image
    from fineseg.profile.check import check_tables
    from fineseg.runs import read_splits

    torch.set_num_threads(1)
    catalog = load_catalog(warn=print)
    profile = check_tables(tables, catalog, Path("bench.toml"))
    splits = read_splits(profile, catalog, folder)
    classes = len(splits.train.categories)
    built = build_model(profile.models["a"], catalog, classes, weights_cache=None, init=False)
    load_trained(built, folder / "weights.pth")
    built.module.eval()
    found, started = [], 0.0
    for number, image in enumerate(splits.validation.images):
        if number == profile.predict.shard:
            started = time.monotonic()
        found.append(predict_image(built, image, profile.predict, torch.device("cpu")))
    return (time.monotonic() - started) / (len(found) - profile.predict.shard)


def run_shards(tables: dict[str, Any], data: Path, folder: Path, processes: int) -> tuple[float, float, float]:
    """Return the seconds of one image once all processes run, their start-up, and that of Ray."""
    from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
    from fineseg.scheduling.session import ray_session

    images = [image["id"] for image in json.loads((data / "annotations" / "val.json").read_text())["images"]]
    shard = tables["predict"]["shard"]
    folder.mkdir()
    weights = str(data / "weights.pth")
    orders = [
        PredictionOrder("a", "a", weights, "validation", tuple(images[start : start + shard]), f"{folder}/{start}")
        for start in range(0, len(images), shard)
    ]
    start = time.monotonic()
    with ray_session():
        from fineseg.scheduling import prediction

        session = time.monotonic() - start
        prediction.room = lambda machines, cores: processes
        begin = time.time()
        prediction.predict_all(orders, PredictionSetting(tables, "bench.toml", str(data), 1), lambda topic, state: None)
    written = sorted(Path(order.file).stat().st_mtime for order in orders)
    rows = (folder / "ledger.jsonl").read_text().splitlines()
    first = json.loads(rows[0])["seconds"]
    skipped = len(written) // 3  # by now every process has written one; those that began later too
    rate = (written[-1] - written[skipped - 1]) / (len(images) - skipped * shard)
    return rate, written[0] - first - begin, session


def measure_rates(given: argparse.Namespace, data: Path) -> None:
    import torch
    from small_models import small_model

    from fineseg.catalog import load_catalog
    from fineseg.mm.model import build_model
    from fineseg_datasets.showroom import write_split
    from fineseg_datasets.showroom.catalogue import CLASSES

    for split, count in (("train", 1), ("val", given.images)):
        write_split(data, split, count, (given.side, given.side), seed=1)
    torch.manual_seed(0)
    built = build_model(small_model(), load_catalog(warn=print), len(CLASSES), weights_cache=None)
    torch.nn.init.normal_(built.module.roi_head.bbox_head.fc_cls.weight)
    torch.save({"model": built.module.state_dict()}, data / "weights.pth")
    tables = tables_of(data, given)
    print("| side, shard | processes | loop, ms an image | shards, ms an image | ratio (pairs) | start-up, s |")
    print("|---|---|---|---|---|---|")
    for processes in (1, 2):
        loop, shards, ratios, starts = [], [], [], []
        for pair in range(given.pairs):
            command = [sys.executable, __file__, *sys.argv[1:], "--loop", str(data)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            loop.append(float(done.stdout.splitlines()[-1]))
            rate, start, session = run_shards(tables, data, data / f"{processes}-{pair}", processes)
            shards.append(rate)
            starts.append((session, start))
            ratios.append(rate / loop[-1] if processes == 1 else loop[-1] / rate)
        session, start = (statistics.median(column) for column in zip(*starts, strict=True))
        what = "takes {:.3f} times as long" if processes == 1 else "{:.2f} times as many"
        ratio = f"{what.format(statistics.median(ratios))} ({', '.join(f'{each:.3f}' for each in sorted(ratios))})"
        times = f"{1000 * statistics.median(loop):.1f} | {1000 * statistics.median(shards):.1f}"
        row = f"| {given.side}, {given.shard} | {processes} | {times} | {ratio} | Ray {session:.1f} + {start:.1f} |"
        print(row, flush=True)


# --------------------------------------------------------------------- memory


class Stub:
    """Stands for `ShardPredictor`: writes and posts as that does, and predicts without looking."""

    def __init__(self, detections: int, setting: Any, board: Any) -> None:
        self.detections, self.setting, self.board = detections, setting, board

    def predict(self, order: Any) -> None:
        from fineseg.data import masks
        from fineseg.predictions import make_instances, write_instances
        from fineseg.scheduling.board import Poster

        rng = np.random.default_rng(order.image_ids[0])
        post = Poster(self.board, f"{order.topic}/{Path(order.file).name}")
        found, count = [], self.detections
        for done, image in enumerate(order.image_ids, start=1):
            drawn = []
            for _ in range(min(count, 10)):
                top, left = rng.integers(0, MASK_SIDE // 2, 2)
                mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
                for row in range(70):  # a rough edge: some 300 characters
                    mask[top : top + 70 + rng.integers(0, 40), left + row] = 1
                drawn.append(masks.encode(mask))
            counts = [bytes(bytearray(drawn[n % len(drawn)])) for n in range(count)]
            boxes = np.tile([0, 0, 100, 100], (count, 1))
            labels, scores = rng.integers(0, 3, count), rng.random(count)
            found.append(make_instances(image, (MASK_SIDE, MASK_SIDE), labels, scores, boxes, counts))
            post(done, len(order.image_ids))
        write_instances(Path(order.file), found)


def write_annotations(folder: Path, images: int) -> None:
    """Write two splits' annotations: eight polygons of 40 corners an image, no pictures."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir()
    for split, count in (("train", 1), ("val", images)):
        frames = [{"id": n, "width": MASK_SIDE, "height": MASK_SIDE, "file_name": f"{n}.jpg"} for n in range(count)]
        rows = []
        for number in range(8 * count):
            x, y = rng.integers(100, 500, 2).tolist()
            corners = (circle * 60 + (x, y)).round(1).ravel().tolist()
            row = {
                "id": number + 1,
                "image_id": number // 8,
                "category_id": number % 3,
                "bbox": [x - 60, y - 60, 120, 120],
            }
            rows.append({**row, "segmentation": [corners], "area": 11000.0, "iscrowd": 0})
        names = [{"id": n, "name": f"class {n}"} for n in range(3)]
        document = {"images": frames, "annotations": rows, "categories": names}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(document))


@contextmanager
def peak(into: dict[str, float], what: str) -> Iterator[None]:
    """Note the largest resident set [MiB] of this process while the block runs."""
    stop, process = threading.Event(), psutil.Process()
    largest = [process.memory_info().rss]

    def look() -> None:
        while not stop.wait(0.05):
            largest.append(process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        into[what] = max(*largest, process.memory_info().rss) / 2**20


def measure_driver(given: argparse.Namespace, folder: Path) -> None:
    from functools import partial

    from fineseg.catalog import load_catalog
    from fineseg.console import Console
    from fineseg.profile.check import check_tables
    from fineseg.runs import read_splits
    from fineseg.scheduling.scheduler import Scheduler
    from fineseg.stages.context import Context
    from fineseg.stages.evaluate import evaluate
    from fineseg.stages.predict import predict
    from fineseg.stages.prepare import Prepared
    from fineseg.stages.train import Trained
    from fineseg.store import Store

    write_annotations(folder, given.driver)
    tables = tables_of(folder, given)
    catalog = load_catalog(warn=print)
    profile = check_tables(tables, catalog, Path("bench.toml"))
    console, memory, seconds = Console(open(os.devnull, "w")), {}, {}  # noqa: SIM115
    with peak(memory, "baseline"):
        splits = read_splits(profile, catalog, folder)
    prepared = Prepared(folder, splits, {name: name for name in splits.named()})
    with Scheduler(console) as scheduler:
        context = Context(profile, tables, Path("bench.toml"), catalog, Store(folder / "store"), console, scheduler)
        scheduler.start(tables)
        from fineseg.scheduling import prediction

        prediction.ShardPredictor = partial(Stub, given.detections)  # type: ignore[misc, assignment]
        start = time.monotonic()
        with peak(memory, "predict"):
            found = predict(context, prepared, {"validation": {"a": Trained("a", "key", folder)}})
        seconds["predict"] = time.monotonic() - start
    if not given.no_score:
        start = time.monotonic()
        with peak(memory, "evaluate"):
            evaluate(context, prepared, found["a", "validation"])
        seconds["evaluate"] = time.monotonic() - start
    assert found["a", "validation"].files[-1].is_file()
    columns = [f"{memory.get(name, float('nan')):.0f}" for name in ("baseline", "predict", "evaluate")]
    columns += [f"{seconds.get(name, float('nan')):.0f}" for name in ("predict", "evaluate")]
    print("| images x detections | baseline, MiB | predict, MiB | evaluate, MiB | predict, s | evaluate, s |")
    print("|---|---|---|---|---|---|")
    print(f"| {given.driver} x {given.detections} | {' | '.join(columns)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--shard", type=int, default=6, help="images a file; 50 in a run, where it costs less")
    parser.add_argument("--driver", type=int, metavar="IMAGES")
    parser.add_argument("--detections", type=int, default=10, help="an image, with --driver")
    parser.add_argument("--no-score", action="store_true", help="with --driver: predict alone")
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        print(run_loop(tables_of(given.loop, given), given.loop))
        return
    from fineseg.scheduling.session import ENVIRONMENT

    os.environ |= ENVIRONMENT  # its settings of the allocator are to serve both sides
    with tempfile.TemporaryDirectory() as place:
        if given.driver:
            measure_driver(given, Path(place))
        else:
            measure_rates(given, Path(place))


if __name__ == "__main__":
    main()
