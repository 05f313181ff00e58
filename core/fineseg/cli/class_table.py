"""`fineseg class-table`."""

import math
from pathlib import Path

import click

from fineseg.cli import print_table
from fineseg.cli.ensemble import PATH


@click.command()
@click.option("--instances", multiple=True, required=True, type=PATH, help="Results in COCO's form; one a model.")
@click.option("--ground-truth", "truth", type=PATH, required=True, help="COCO instances or panoptic file.")
@click.option("--default", default="", help="Model that keeps a class at equal AP or none; else that of the best AP.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Percent of AP by which another must be better in a class.",
)
@click.option("--out", type=PATH, required=True, help="JSON file to write.")
def command(instances: tuple[Path, ...], truth: Path, default: str, margin: float, out: Path) -> None:
    """Say which of several models has the better mask AP in each class, for `fineseg fuse --class-table`.

    Models are called like their files, without the ending. Measure on images that no model was trained on, and that are
    not those to be scored.
    """
    from fineseg.console import Console
    from fineseg.stages.class_table_files import make_class_table

    table = make_class_table(instances, truth, Console(), out, default=default, margin=margin)
    rows = []
    for position, model in enumerate(table.models):
        ap = table.overall[position]
        figure = "-" if math.isnan(ap) else f"{ap:.2f}"
        rows.append([model, f"{figure:>6}", f"{table.classes_of(position):7}"])
    print_table(["model", "    AP", "classes"], rows)
    click.echo(f"{out}: {len(table.chosen)} classes; default {table.models[table.default]}")
