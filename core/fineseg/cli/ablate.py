"""`fineseg ablate PROFILE TABLE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg.cli.profile_options import load, profile_options, work_options


@click.command()
@profile_options
@click.argument("table")
@click.option("--rows", metavar="A,B", help="Run these rows alone; of others, what the store holds is shown.")
@work_options("<table>-<time>")
def command(
    table: str,
    rows: str | None,
    out: Path | None,
    store_path: Path,
    address: str | None,
    verbose: bool,
    **profile: object,
) -> None:
    """Train and score each row of [tables.TABLE] of PROFILE. The same command again does only what is missing."""
    from fineseg.ablate import ablate
    from fineseg.console import Console
    from fineseg.scheduling.session import RaySettings
    from fineseg.store import Store

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    name, when = loaded.profile.competition.name, datetime.now().strftime(f"{table}-%Y%m%d-%H%M%S")
    folder = (out or Path("runs") / name / when).absolute()
    only = [name.strip() for name in rows.split(",") if name.strip()] if rows is not None else None
    ray = RaySettings(address, folder / "logs", verbose)
    ablate(loaded, table, catalog, Console(), Store(store_path), folder, ray, only=only)
