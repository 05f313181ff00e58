"""`fineseg ablate PROFILE TABLE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg.cli.profile_options import load, profile_options, store_option


@click.command()
@profile_options
@click.argument("table")
@click.option("--rows", metavar="A,B", help="Run these rows alone; of others, what the store holds is shown.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default runs/<competition>/<table>-<time>.")
@store_option
@click.option("--ray", "ray_address", metavar="ADDRESS", help="Join a Ray cluster instead of starting a local one.")
def command(
    table: str, rows: str | None, out: Path | None, store_path: Path, ray_address: str | None, **profile: object
) -> None:
    """Train and score each row of [tables.TABLE] of PROFILE. The same command again does only what is missing."""
    from fineseg.ablate import ablate
    from fineseg.console import Console
    from fineseg.store import Store

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    folder = out or Path("runs") / loaded.profile.competition.name / datetime.now().strftime(f"{table}-%Y%m%d-%H%M%S")
    only = [name.strip() for name in rows.split(",") if name.strip()] if rows is not None else None
    ablate(loaded, table, catalog, Console(), Store(store_path), folder.absolute(), ray_address, only=only)
