"""`fineseg new PROFILE`: a first profile for data in COCO's format."""

import shlex
from pathlib import Path
from typing import Literal

import click

from fineseg.cli import warn
from fineseg.cli.profile_options import PATH, store_option


@click.command()
@click.argument("profile", type=PATH)
@click.option(
    "--coco",
    type=PATH,
    required=True,
    help="COCO annotation file, instances or panoptic, of the images to train on.",
)
@click.option("--images", type=PATH, required=True, help="Folder that its file names are relative to.")
@click.option("--val", type=PATH, help="COCO annotation file of images to score on.")
@click.option("--val-images", type=PATH, help="Their folder; that of --images if absent.")
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Part of the images to hold out and score on; 0.1 without --val.",
)
@click.option(
    "--task",
    type=click.Choice(["instance", "panoptic"]),
    help="What to learn; what the files tell if absent. Of panoptic files instance means the things alone.",
)
@click.option("--weights", help="ImageNet weights to start from: a file, an http(s) address, or none.")
@store_option
def command(
    profile: Path,
    coco: Path,
    images: Path,
    val: Path | None,
    val_images: Path | None,
    val_fraction: float | None,
    task: Literal["instance", "panoptic"] | None,
    weights: str | None,
    store_path: Path,
) -> None:
    """Write PROFILE for annotations in COCO's format, with numbers that fit the data and this machine, and why."""
    from fineseg.catalog import load_catalog
    from fineseg.data.findings import told
    from fineseg.proposal.places import Request
    from fineseg.proposal.propose import duration_words
    from fineseg.proposal.surroundings import find_weights, this_machine
    from fineseg.proposal.writing import propose_profile, refuse_existing, write_checked

    if val is not None and val_fraction is not None:
        raise click.UsageError("--val names the images to score on: leave out --val-fraction")
    if val is None and val_images is not None:
        raise click.UsageError("--val-images is the folder of --val: give both")
    refuse_existing(profile)
    catalog = load_catalog(warn=warn)
    request = Request(profile, coco, images, val, val_images, val_fraction or 0.1, task)
    start: list[str] = []

    def ask(small: bool) -> tuple[str, str]:
        source, why = find_weights(weights, small, profile)
        start.append("ImageNet" if source else "random")
        return source, why

    proposed = propose_profile(request, catalog, this_machine(), ask)
    for line in told(write_checked(profile, proposed.text, catalog, store_path), "warning"):
        warn(line)
    took = (
        f"about {duration_words(proposed.fit.seconds)} of training from {start[0]} weights, {proposed.fit.gib:.1f} GiB"
    )
    click.echo(f"wrote {profile}: {took}; read why in it; next: fineseg run {shlex.quote(str(profile))}")
