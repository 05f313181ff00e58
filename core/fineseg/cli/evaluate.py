"""`fineseg evaluate`."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from fineseg import FinesegError
from fineseg.cli import print_table
from fineseg.profile.faults import shortened

if TYPE_CHECKING:
    from fineseg.metrics.mask_ap import AreaRanges
    from fineseg.metrics.panoptic_quality import ClassQuality, Quality
    from fineseg.stages.files import FileScores
    from fineseg.stages.panoptic_files import PanopticScores

PATH = click.Path(path_type=Path)
TITLES = {"segm": "masks", "bbox": "boxes", "boundary": "boundaries"}
OPTIONS_OF_TASKS = (
    ("--area", "areas", "instance"),
    ("--max-detections", "max_detections", "instance"),
    ("--prediction-folder", "prediction_folder", "panoptic"),
    ("--ground-truth-folder", "truth_folder", "panoptic"),
)
"""Option, its parameter, and the task that it means something for."""


@click.command()
@click.option(
    "--task", type=click.Choice(["instance", "panoptic"]), default="instance", show_default=True, help="What is scored."
)
@click.option(
    "--predictions",
    type=PATH,
    required=True,
    help="Results in COCO's form, a submission's JSON or zip too; panoptic: COCO panoptic JSON.",
)
@click.option("--ground-truth", "truth", type=PATH, required=True, help="COCO instances or panoptic file.")
@click.option(
    "--prediction-folder", type=PATH, help="Panoptic: folder of the PNGs; that called like the JSON if absent."
)
@click.option("--ground-truth-folder", "truth_folder", type=PATH, help="Panoptic: the same for the ground truth.")
@click.option(
    "--area",
    "areas",
    multiple=True,
    metavar="NAME:LOW:HIGH",
    help="Instance: area range of the true mask [pixels]; repeatable, replaces COCO's small, medium, large.",
)
@click.option(
    "--max-detections",
    default="1,10,100",
    show_default=True,
    metavar="N,N,...",
    help="Instance: detections per image and class that count; figures are taken at the largest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs: exact figures, null without truth.")
@click.pass_context
def command(
    context: click.Context,
    task: str,
    predictions: Path,
    truth: Path,
    prediction_folder: Path | None,
    truth_folder: Path | None,
    areas: tuple[str, ...],
    max_detections: str,
    as_json: bool,
) -> None:
    """Score results as COCO does, in percent: AP of masks, boxes and mask boundaries; or panoptic quality."""
    _refuse_options_of_other_tasks(context, task)

    from fineseg.console import Console

    scores: FileScores | PanopticScores
    if task == "panoptic":
        from fineseg.stages.panoptic_files import score_panoptic_files

        scores = score_panoptic_files(predictions, prediction_folder, truth, truth_folder, Console())
        show = partial(print_panoptic_scores, scores)
    else:
        ranges, limits = area_ranges(areas), detection_limits(max_detections)

        from fineseg.stages.files import score_file

        scores = score_file(predictions, truth, ranges, limits, Console())
        show = partial(print_scores, scores)
    if as_json:
        click.echo(json.dumps(scores.plain(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        show()


def _refuse_options_of_other_tasks(context: click.Context, task: str) -> None:
    for option, parameter, owner in OPTIONS_OF_TASKS:
        if owner != task and context.get_parameter_source(parameter) is not ParameterSource.DEFAULT:
            raise FinesegError(f"{option} is for --task {owner}; this is --task {task}")


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
    if not all(re.fullmatch(r"\s*0*[1-9]\d{0,8}\s*", word, re.ASCII) for word in words):
        raise FinesegError(f"--max-detections {shortened(text)}: must be whole numbers above 0, such as 1,10,100")
    return [int(word) for word in words]


def print_scores(scores: "FileScores") -> None:
    """Print the figures of each kind, then a row for each class."""
    names = list(scores.kinds["segm"].summary)
    rows = [[TITLES[kind], *_figures(result.summary, names)] for kind, result in scores.kinds.items() if kind in TITLES]
    print_table(["AP in %", *(f"{name:>6}" for name in names)], rows)
    click.echo()
    columns = ("AP", "AP50", "AP75")
    table = [
        [name, *_figures({"AP": row.ap, "AP50": row.ap50, "AP75": row.ap75}, columns), f"{row.objects:7}"]
        for name, row in zip(scores.class_names(), scores.kinds["segm"].classes, strict=True)
    ]
    print_table(["masks by class", *(f"{name:>6}" for name in columns), "objects"], table)
    holes = scores.kinds["holes"].summary
    if holes["objects"]:
        matched = f"{holes['matched']:.0f} of {holes['objects']:.0f} objects that have any"
        click.echo(f"\nIoU of holes in %: {_figures(holes, ('IoU',))[0].strip()}, over {matched}")


def print_panoptic_scores(scores: "PanopticScores") -> None:
    """Print the figures of all classes, things and stuff, then a row for each class."""
    columns = ("PQ", "SQ", "RQ")
    rows = [[name, *_quality(group), f"{group.n:7}"] for name, group in scores.result.groups.items()]
    print_table(["in %", *(f"{name:>6}" for name in columns), "classes"], rows)
    click.echo()
    table = [
        [name, *_quality(row), f"{row.tp:7}", f"{row.fp:7}", f"{row.fn:7}"]
        for name, row in zip(scores.class_names(), scores.result.classes, strict=True)
    ]
    print_table(["by class", *(f"{name:>6}" for name in columns), "matched", "  wrong", " missed"], table)


def _quality(row: "Quality | ClassQuality") -> list[str]:
    return _figures({"PQ": row.pq, "SQ": row.sq, "RQ": row.rq}, ("PQ", "SQ", "RQ"))


def _figures(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Return figures of a table's width: a dash without truth, nothing where a figure is not taken."""
    shown = {name: "-" if math.isnan(value) else f"{value:.2f}" for name, value in values.items()}
    return [f"{shown.get(name, ''):>6}" for name in names]
