"""Time a training step through Ray Train and fineseg's hooks against mmengine's bare Runner on the same training.

    python tests/benchmarks/bench_training.py                   a small model, 192 pixels, steps of some 0.2 s
    python tests/benchmarks/bench_training.py --side 96         smaller steps, in which overhead shows more

Both sides build the same PointRend, draw the same batches and take the same steps on one thread; the bare side has
mmengine's default hooks. They take turns, each in processes of its own. An epoch's time runs from the end of the one
before; the first is left out, checkpoints come after the last. Prints one row of a markdown table, medians over all
epochs, and what comes before the first step and after the last one, in seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

NEVER = 10_000  # epochs between checkpoints


def tables_of(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the merged profile of the training."""
    from small_models import small_model

    return {
        "competition": {"name": "bench"},
        "data": {
            "dataset": {"name": "coco-instance", "annotations": "annotations/{split}.json", "images": "images"},
            "root": str(folder),
        },
        "train": {
            "epochs": given.epochs + 1,
            "lr": 1e-3,
            "batch": given.batch,
            "optimiser": {"name": "adamw"},
            "long_side": given.side,
            "short_side": [given.side, given.side],
            "cpus": 1,
            "checkpoint_every": NEVER,
        },
        "models": {"a": small_model().model_dump(mode="json")},
    }


def run_bare(tables: dict[str, Any], folder: Path) -> list[float]:
    """Train with mmengine's Runner and its default hooks; return the seconds of each epoch's steps."""
    import torch
    from mmengine.dataset import DefaultSampler, pseudo_collate
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from fineseg.catalog import load_catalog
    from fineseg.mm.dataset import TrainingImages
    from fineseg.mm.model import build_model
    from fineseg.mm.training import optimiser_config, schedule_config
    from fineseg.mm.training_hook import TrainingHook
    from fineseg.profile.check import check_tables
    from fineseg.runs import read_splits

    torch.set_num_threads(1)
    catalog = load_catalog(warn=print)
    profile = check_tables(tables, catalog, Path("bench.toml"))
    splits = read_splits(profile, catalog, folder)
    train, images = profile.train, TrainingImages(splits.train, profile.train)
    torch.manual_seed(train.seed)
    built = build_model(profile.models["a"], catalog, len(splits.train.categories), weights_cache=folder)
    ends = [0.0]

    class Clock(Hook):
        """Notes the time after each epoch, and seeds as fineseg does: both sides are to draw the same."""

        priority = "LOWEST"
        job = argparse.Namespace(train=train, rank=0)

        def before_train_epoch(self, runner: Runner) -> None:
            ends[0] = ends[0] or time.monotonic()
            TrainingHook.before_train_epoch(self, runner)  # type: ignore[arg-type]

        def after_train_epoch(self, runner: Runner) -> None:
            ends.append(time.monotonic())

    loader = {
        "batch_size": train.batch,
        "num_workers": 0,
        "dataset": images,
        "sampler": {"type": DefaultSampler, "shuffle": True, "seed": train.seed},
        "collate_fn": {"type": pseudo_collate},
    }
    runner = Runner(
        built.module,
        work_dir=tempfile.mkdtemp(dir=folder),
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": train.epochs},
        optim_wrapper=optimiser_config(train, dict(built.paramwise)),
        param_scheduler=schedule_config(train, -(-len(images) // train.batch)),
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": NEVER}},
        custom_hooks=[Clock()],
        randomness={"seed": train.seed},
        env_cfg={"mp_cfg": {"mp_start_method": "spawn", "opencv_num_threads": 1}},
    )
    runner.train()
    return [end - start for start, end in pairwise(ends)]


def time_bare(given: argparse.Namespace, folder: Path) -> tuple[list[float], float]:
    """Return the bare side's epochs and the rest of its process's time [s]."""
    start = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--bare", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    epochs: list[float] = json.loads(done.stdout.splitlines()[-1])
    return epochs, time.monotonic() - start - sum(epochs)


def time_ours(tables: dict[str, Any], data: Path, folder: Path) -> tuple[list[float], float, float]:
    """Return our side's epochs, the time that Ray takes to start and stop, and the rest of the training's time [s]."""
    from fineseg.scheduling.orders import TrainingOrder
    from fineseg.scheduling.session import ray_session
    from fineseg.store import read_rows

    folder.mkdir()
    order = TrainingOrder(
        model="a",
        tables=tables,
        file="bench.toml",
        data_root=str(data),
        folder=str(folder),
        weights_cache=str(data),
        workers=1,
        cpus=1,
        keep=1,
        best_by=None,
        epochs=tables["train"]["epochs"],
    )
    start = time.monotonic()
    with ray_session():
        from fineseg.scheduling.training import train_all

        begin = time.monotonic()
        failures = train_all([order], lambda topic, state: None, lambda order: None, print)
        whole = time.monotonic() - begin
    session = time.monotonic() - start - whole
    if failures != [None]:
        raise SystemExit(str(failures))
    epochs = [row["seconds"] for row in read_rows(folder / "ledger.jsonl")]
    return epochs, session, whole - sum(epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="that are timed in each pair")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        print(json.dumps(run_bare(tables_of(given.bare, given), given.bare)))
        return

    from fineseg.scheduling.session import ENVIRONMENT
    from fineseg_datasets.showroom import write_split

    os.environ |= ENVIRONMENT  # its settings of the allocator are to serve both sides
    steps = -(-given.images // given.batch)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place)
        for split, count in (("train", given.images), ("val", 2)):
            write_split(data, split, count, (given.side, given.side), seed=1)
        ratios, ours, bare, rests = [], [], [], []
        for pair in range(given.pairs):
            found, session, rest = time_ours(tables_of(data, given), data, data / f"ours-{pair}")
            plain, bare_rest = time_bare(given, data)
            ours += [seconds / steps for seconds in found[1:]]
            bare += [seconds / steps for seconds in plain[1:]]
            ratios.append(statistics.median(found[1:]) / statistics.median(plain[1:]))
            rests.append((session, rest, bare_rest))
            print(f"pair {pair + 1}: ratio {ratios[-1]:.3f}", file=sys.stderr)
    session, rest, bare_rest = (statistics.median(column) for column in zip(*rests, strict=True))
    print(
        "| side, batch | steps of each | fineseg, ms a step | bare, ms a step | ratio (pairs) | beside the steps, s |"
    )
    print("|---|---|---|---|---|---|")
    times = f"{1000 * statistics.median(ours):.1f} | {1000 * statistics.median(bare):.1f}"
    ratio = f"{statistics.median(ratios):.3f} ({', '.join(f'{each:.3f}' for each in sorted(ratios))})"
    beside = f"Ray {session:.1f} + {rest:.1f}; bare {bare_rest:.1f}"
    print(f"| {given.side}, {given.batch} | {len(ours) * steps} | {times} | {ratio} | {beside} |")


if __name__ == "__main__":
    main()
