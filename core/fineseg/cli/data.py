"""`fineseg data`: looking at annotation files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fineseg import FinesegError
from fineseg.cli import print_table

if TYPE_CHECKING:
    from fineseg.data.sizes import AreaRanges, Sizes

FORMATS = (".png", ".svg")
COLUMNS = ("file", "images", "objects", "median", "of image", "by COCO's 32, 96", "terciles [px]", "by terciles")


@click.group()
def command() -> None:
    """Look at annotation files."""


@command.command("sizes", short_help="Show how large objects are; propose area ranges.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Images drawn at random from each file; all, where it has fewer.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw.")
@click.option("--boxes", is_flag=True, help="Take boxes for objects' areas instead of masks.")
@click.option("--out", type=click.Path(path_type=Path), help="Draw the distributions into this .png or .svg file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def sizes(files: tuple[Path, ...], images: int, seed: int, boxes: bool, out: Path | None, as_json: bool) -> None:
    """Show how large the objects in COCO files are, and propose area ranges with a third of the objects each."""
    from fineseg.data.sizes import propose_ranges, read_sizes

    if out is not None and out.suffix.lower() not in FORMATS:
        raise FinesegError(f"--out {out}: the figure is written as {' or '.join(FORMATS)}; give a name that ends so")
    found = [read_sizes(file, images=images, seed=seed, boxes=boxes) for file in files]
    proposed = [propose_ranges(each.pixels) for each in found]
    named = list(zip(short_names(files), found, proposed, strict=True))
    rows = [size_row(*each) for each in named]
    if out is not None:
        from fineseg.report.size_figure import Measured, write_size_figure

        write_size_figure(out, [Measured(*each) for each in named], boxes=boxes)
    if as_json:
        click.echo(json.dumps({"seed": seed, "boxes": boxes, "files": rows}, indent=1))
        return
    print_table(COLUMNS, [_cells(row) for row in rows])
    click.echo("area_ranges with edges at the terciles of the size:")
    for row in rows:
        click.echo(f"  {row['file']}: {_ranges_in_toml(row['area_ranges'])}")
    if out is not None:
        click.echo(f"wrote {out}")


def size_row(name: str, found: "Sizes", ranges: "AreaRanges | None") -> dict[str, Any]:
    """Return what is told of one file as plain data; sizes in pixels, shares of the objects from 0 to 1."""
    import numpy as np

    from fineseg.data.sizes import shares
    from fineseg.metrics.mask_ap import COCO_AREA_RANGES

    return {
        "file": name,
        "images": found.images,
        "of_images": found.of_images,
        "objects": len(found.pixels),
        "crowds": found.crowds,
        "empty": found.empty,
        "median": float(np.median(found.pixels)),
        "median_relative": float(np.median(found.relative)),
        "area_ranges": ranges,
        "shares": shares(found.pixels, ranges) if ranges else None,
        "coco_shares": shares(found.pixels, COCO_AREA_RANGES),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row of the table; the last columns are shares of the objects in small, medium and large."""
    images = f"{row['images']:,} of {row['of_images']:,}"
    median = (f"{row['median']:.1f} px", f"{row['median_relative']:.1%}")
    edges = "-"
    if row["area_ranges"]:
        edges = " and ".join(f"{high**0.5:.0f}" for _, high in list(row["area_ranges"].values())[:-1])
    thirds = _percents(row["shares"]) if row["shares"] else "-"
    return row["file"], images, f"{row['objects']:,}", *median, _percents(row["coco_shares"]), edges, thirds


def _percents(shares: Mapping[str, float]) -> str:
    return " / ".join(f"{share:.0%}" for share in shares.values())


def _ranges_in_toml(ranges: "AreaRanges | None") -> str:
    """Return proposed ranges as a profile has them in its table `[metric]`."""
    if ranges is None:
        return "none, as the sizes are too alike"
    inner = ", ".join(f"{name} = [{low:.0f}, {_bound(high)}]" for name, (low, high) in ranges.items())
    return f"area_ranges = {{ {inner} }}"


def _bound(high: float) -> str:
    return f"{high:.0f}" if high < 1e10 else "1e10"


def short_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: its stem, or the whole path where stems repeat."""
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]
