"""What a search on held-out predictions gains over linear interpolation (Eq. 1) alone, and how long it takes.

    python tests/benchmarks/bench_search.py RUN_FOLDER [RUN_FOLDER ...]
    python tests/benchmarks/bench_search.py --drawn 2000

Of run folders, such as three seeds of one profile, it searches on each one's stored predictions of the validation split
and prints a row for each: AP without the search, nested, on the images that were searched on, the gain with its
standard error, CPU seconds; then the mean gain and its spread over the runs. The data are those of the run's profile.
`--drawn` times a search on five drawn models of so many images with 100 detections each. Prints markdown.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineseg import Category, ImageInfo, Instances, ModelScore, Split, TrueObject, make_instances
from fineseg.catalog import load_catalog
from fineseg.data.masks import encode
from fineseg.predictions import read_instances
from fineseg.profile.combine_schema import SearchTable
from fineseg.profile.schema import Profile
from fineseg.store import read_json
from fineseg.tuning.matching import parts_of
from fineseg.tuning.measured import model_scores, score_maps
from fineseg.tuning.nested import Nested, nested_search, sets_of_parts
from fineseg.tuning.objective import Objective, figure_of
from fineseg.tuning.overlaps import Overlaps
from fineseg.tuning.setting import Setting

ENSEMBLER = "linear-interpolation"
SPACE = {"nms_iou": {"uniform": [0.3, 0.7]}, "theta_min": {"choice": [0.4, 0.6, 0.8, 1.0]}}
SIDE = 192


def searched(
    split: Split,
    found: Sequence[Sequence[Instances]],
    ranges: dict[str, tuple[float, float]],
    limit: int,
    table: SearchTable,
    ensembler: str,
    calibration: str,
) -> tuple[Nested, float, int]:
    """Search on models' predictions of a split, in the order of its images' ids; return also seconds and settings."""
    started = time.process_time()
    part, options = load_catalog(warn=print).choose("ensembler", ensembler, {})
    overlaps = Overlaps(split, found)
    groups = [image.group for image in overlaps.images]
    parts = parts_of(groups, table.folds, table.seed)
    sets = sets_of_parts(parts, table.folds)
    scores = [model_scores(overlaps, f"m{n}", each, ranges, limit, sets) for n, each in enumerate(found)]
    members = [[model[n] for model in found] for n in range(len(groups))]
    if calibration != "none":
        maps: Any = [score_maps(overlaps, each, calibration, limit, sets) for each in found]  # type: ignore[arg-type]
        members = [
            [m.with_scores(maps[k][p](m.scores)) for k, m in enumerate(row)]
            for row, p in zip(members, parts, strict=True)
        ]

    def build(changed: Any, number: int) -> Any:
        own: list[ModelScore] = [each[number] for each in scores]
        return part.build(type(options).model_validate({**options.model_dump(), **changed}), own)

    objective = Objective(overlaps, members, parts, build, figure_of(table.metric, {}, limit), sets)
    start = Setting((1.0,) * len(found))
    nested, _ = nested_search(objective, groups, start, table, options.model_dump(), lambda _: None)
    return nested, time.process_time() - started, objective.merged_settings


def of_run(run: Path) -> tuple[Split, list[list[Instances]], Profile]:
    """Return the validation split of a run folder and what its models say of it, by the images' ids."""
    profile = Profile.model_validate(read_json(run / "profile.json"))
    catalog = load_catalog(warn=print)
    part, options = catalog.choose("dataset", profile.data.dataset.name, profile.data.dataset.options)
    root = Path(read_json(run / "manifest.json")["data"]["root"])
    name = profile.data.validation
    if not isinstance(name, str):
        raise SystemExit(f"{run}: the validation images are no split of the data set")
    split = part.read(options, root, name)
    models = [
        read_instances(sorted((run / "predictions" / model / "validation").glob("*.parquet")))
        for model in profile.chosen
    ]
    ids = sorted(image.id for image in split.images)
    return split, [[model[i] for i in ids] for model in models], profile


def drawn(images: int, models: int = 5, classes: int = 34, detections: int = 100) -> tuple[Split, Any]:
    """Draw squares, and models of different quality that see them with a jitter beside many that are not there."""
    rng = np.random.default_rng(0)
    infos = tuple(ImageInfo(n, Path(f"{n}.png"), SIDE, SIDE) for n in range(images))
    objects: dict[int, tuple[TrueObject, ...]] = {}
    found: list[list[Instances]] = [[] for _ in range(models)]
    masks: dict[tuple[int, ...], bytes] = {}

    def square(x: int, y: int, side: int) -> bytes:
        if (x, y, side) not in masks:
            plane = np.zeros((SIDE, SIDE), dtype=bool)
            plane[y : y + side, x : x + side] = True
            masks[x, y, side] = encode(plane)
        return masks[x, y, side]

    for info in infos:
        places = np.stack([*rng.integers(0, SIDE - 50, (2, 8)), rng.integers(12, 50, 8)], axis=1)
        labels = rng.integers(0, classes, 8)
        objects[info.id] = tuple(
            TrueObject(
                n,
                int(label),
                (x, y, x + s, y + s),
                {"size": [SIDE, SIDE], "counts": square(x, y, s)},
                float(s * s),
            )
            for n, (label, (x, y, s)) in enumerate(zip(labels, places.tolist(), strict=True))
        )
        for model, each in enumerate(found):
            which = rng.integers(0, 8, detections)
            jitter = rng.normal(0, 1 + model, (detections, 3))
            near = np.clip(places[which] + jitter, [0, 0, 4], [SIDE - 56, SIDE - 56, 55]).astype(int) // 2 * 2
            wrong = rng.random(detections) < 0.5
            label = np.where(wrong, rng.integers(0, classes, detections), labels[which])
            score = np.clip(
                0.9 - 0.06 * np.abs(jitter).sum(axis=1) - 0.4 * wrong + rng.normal(0, 0.1, detections), 0.05, 1
            )
            boxes = np.stack([near[:, 0], near[:, 1], near[:, 0] + near[:, 2], near[:, 1] + near[:, 2]], axis=1)
            rle = [square(*row) for row in near.tolist()]
            each.append(make_instances(info.id, (SIDE, SIDE), label, score, boxes, rle))
    categories = tuple(Category(n, f"class {n}") for n in range(classes))
    return Split("drawn", categories, infos, objects), found


def row(name: str, nested: Nested, seconds: float, settings: int) -> str:
    """Return a row of the table."""
    gain = nested.nested - nested.unsearched
    figures = (
        f"{nested.unsearched:.2f} | {nested.nested:.2f} | {nested.searched:.2f} | {gain:+.2f} ± {nested.error:.2f}"
    )
    weights = ", ".join(f"{weight:g}" for weight in nested.setting.weights)
    return f"| {name} | {figures} | {'yes' if nested.accepted else 'no'} | {weights} | {settings} | {seconds:.0f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--drawn", type=int, default=0, metavar="IMAGES")
    parser.add_argument("--ensembler", default=ENSEMBLER)
    parser.add_argument("--calibration", default="none")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=1, help="divisions into parts for each run")
    parser.add_argument("--no-space", action="store_true")
    given = parser.parse_args()
    space: Any = {} if given.no_space or given.ensembler != ENSEMBLER else SPACE
    print("| run | AP unsearched | nested | searched on | gain ± its error | used | weights | settings | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    gains = []
    sources: list[tuple[str, Split, Any, dict[str, Any], int]] = []
    for run in given.runs:
        split, found, profile = of_run(run)
        limit = max(profile.metric.max_detections)
        sources.append((run.name, split, found, dict(profile.metric.area_ranges), limit))
    if given.drawn:
        split, found = drawn(given.drawn)
        sources.append((f"drawn, 5 x {given.drawn} x 100", split, found, {"small": (0.0, 400.0)}, 100))
    for name, split, found, ranges, limit in sources:
        for seed in range(given.seeds):
            table = SearchTable.model_validate({"space": space, "trials": given.trials, "seed": seed})
            nested, seconds, settings = searched(split, found, ranges, limit, table, given.ensembler, given.calibration)
            gains.append(nested.nested - nested.unsearched)
            print(row(f"{name}, seed {seed}", nested, seconds, settings), flush=True)
    if len(gains) > 1:
        print(f"\nmean gain {np.mean(gains):+.2f}, standard deviation {np.std(gains, ddof=1):.2f}, of {len(gains)}")


if __name__ == "__main__":
    main()
