"""`fineseg evaluate`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fineseg import FinesegError
from fineseg.cli import print_table

if TYPE_CHECKING:
    from fineseg.metrics.mask_ap import AreaRanges
    from fineseg.stages.files import FileScores

PATH = click.Path(path_type=Path)
TITLES = {"segm": "masks", "bbox": "boxes", "boundary": "boundaries"}


@click.command()
@click.option("--task", type=click.Choice(["instance"]), default="instance", show_default=True, help="What is scored.")
@click.option("--predictions", type=PATH, required=True, help="Results in COCO's form; a submission's JSON or zip too.")
@click.option("--ground-truth", "truth", type=PATH, required=True, help="COCO instances file.")
@click.option(
    "--area",
    "areas",
    multiple=True,
    metavar="NAME:LOW:HIGH",
    help="Area range of the true mask [pixels]; repeatable, replaces COCO's small, medium, large.",
)
@click.option(
    "--max-detections",
    default="1,10,100",
    show_default=True,
    metavar="N,N,...",
    help="Detections per image and class that count; figures are taken at the largest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs: exact figures, null without truth.")
def command(
    task: str, predictions: Path, truth: Path, areas: tuple[str, ...], max_detections: str, as_json: bool
) -> None:
    """Score a results file as COCO does: AP in percent of masks, boxes where it has them, and mask boundaries."""
    ranges, limits = area_ranges(areas), detection_limits(max_detections)

    from fineseg.console import Console
    from fineseg.stages.files import score_file

    scores = score_file(predictions, truth, ranges, limits, Console())
    if as_json:
        click.echo(json.dumps(scores.plain(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_scores(scores)


def area_ranges(settings: tuple[str, ...]) -> "AreaRanges":
    """Turn `NAME:LOW:HIGH` settings into ranges, none into COCO's; raises `FinesegError`."""
    from fineseg.metrics.mask_ap import COCO_AREA_RANGES

    ranges: dict[str, tuple[float, float]] = {}
    for setting in settings:
        name, *ends = setting.split(":")
        try:
            low, high = map(float, ends)
        except ValueError:
            low, high = math.nan, math.nan
        if not (name and 0 <= low < high):
            raise FinesegError(f"--area {setting}: must be NAME:LOW:HIGH in pixels, such as small:0:1024")
        if name in ranges:
            raise FinesegError(f"--area {setting}: there is a range '{name}' already; give each another name")
        ranges[name] = (low, high)
    return ranges or COCO_AREA_RANGES


def detection_limits(text: str) -> list[int]:
    """Turn `1,10,100` into limits; raises `FinesegError`."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise FinesegError(f"--max-detections {text}: must be whole numbers above 0, such as 1,10,100")
    return [int(word) for word in words]


def print_scores(scores: "FileScores") -> None:
    """Print the figures of each kind, then a row for each class."""
    names = list(scores.kinds["segm"].summary)
    rows = [[TITLES[kind], *_figures(result.summary, names)] for kind, result in scores.kinds.items()]
    print_table(["AP in %", *(f"{name:>6}" for name in names)], rows)
    click.echo()
    columns = ("AP", "AP50", "AP75")
    table = [
        [name, *_figures({"AP": row.ap, "AP50": row.ap50, "AP75": row.ap75}, columns), f"{row.objects:7}"]
        for name, row in zip(scores.class_names(), scores.kinds["segm"].classes, strict=True)
    ]
    print_table(["masks by class", *(f"{name:>6}" for name in columns), "objects"], table)


def _figures(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Return figures of a table's width: a dash without truth, nothing where a figure is not taken."""
    shown = {name: "-" if math.isnan(value) else f"{value:.2f}" for name, value in values.items()}
    return [f"{shown.get(name, ''):>6}" for name in names]
