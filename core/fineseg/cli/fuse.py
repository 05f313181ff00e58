"""`fineseg fuse`."""

from pathlib import Path

import click

from fineseg import FinesegError
from fineseg.cli import warn
from fineseg.cli.ensemble import PATH, choose, given_options


@click.command()
@click.option("--instances", multiple=True, required=True, type=PATH, help="Results in COCO's form; one a model.")
@click.option(
    "--semantic",
    "semantics",
    multiple=True,
    required=True,
    type=PATH,
    help="List of {image_id, category_id, segmentation}, a mask for each class of an image; one a model.",
)
@click.option("--images", type=PATH, required=True, help="JSON with the list of images to fuse, as in annotations.")
@click.option("--categories", type=PATH, required=True, help="JSON list of all classes, with isthing.")
@click.option("--method", required=True, metavar="NAME", help="Panoptic fuser; `fineseg plugins list` names them.")
@click.option("--class-table", "table", type=PATH, help="What `fineseg class-table` wrote: AP of models by class.")
@click.option("--option", "settings", multiple=True, metavar="KEY=VALUE", help="Set an option of the part; repeatable.")
@click.option("--out", type=PATH, required=True, help="New folder: panoptic.json and the PNGs in panoptic/.")
def command(
    instances: tuple[Path, ...],
    semantics: tuple[Path, ...],
    images: Path,
    categories: Path,
    method: str,
    table: Path | None,
    settings: tuple[str, ...],
    out: Path,
) -> None:
    """Fuse instances and semantics, of one or several models, into panoptic maps that `evaluate` scores.

    Models are called like their files, without the ending.
    """
    raw = given_options(settings)

    from fineseg.console import Console
    from fineseg.stages.fuse_files import Inputs, fuse_files

    part, options = choose(method, raw, "panoptic-fuser")
    if table is not None and part.class_table is None:
        raise FinesegError(f"--class-table: fuser '{method}' does not choose models by class; leave it out")
    inputs = Inputs(instances, semantics, images, categories, table)
    fused = fuse_files(inputs, part, options, Console(), out)
    for file, count in fused.left_aside.items():
        warn(f"{file}: {count} entries are of images that {images} does not list; they are left aside")
    if fused.table is not None:
        for position, model in enumerate(fused.table.models):
            click.echo(f"{model}: its instances count in {fused.table.classes_of(position)} classes")
    click.echo(
        f"{fused.file}: {fused.segments} segments of {len(fused.classes)} classes in {fused.images} images, by {method}"
    )
