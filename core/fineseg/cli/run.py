"""`fineseg run PROFILE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg.cli.profile_options import load, profile_options


@click.command()
@profile_options
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default runs/<competition>/<time>.")
@click.option(
    "--store",
    "store_path",
    type=click.Path(path_type=Path),
    default=Path(".fineseg"),
    show_default=True,
    help="Where results live under content keys, shared by runs.",
)
@click.option("--ray", "ray_address", metavar="ADDRESS", help="Join a Ray cluster instead of starting a local one.")
def command(out: Path | None, store_path: Path, ray_address: str | None, **profile: object) -> None:
    """Train, predict, combine, score and submit what PROFILE describes. The same command again does what is missing."""
    from fineseg.console import Console
    from fineseg.run import run
    from fineseg.store import Store

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    name = loaded.profile.competition.name
    folder = out or Path("runs") / name / datetime.now().strftime("%Y%m%d-%H%M%S")
    run(loaded, catalog, Console(), Store(store_path), folder.absolute(), ray_address)
