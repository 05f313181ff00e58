"""`fineseg sweep PROFILE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg.cli.profile_options import as_arguments, given_budget, load, profile_options, work_options


@click.command()
@profile_options
@click.option("--samples", type=click.IntRange(min=1), help="Trials in all, instead of sweep.samples.")
@click.option(
    "--budget",
    metavar="AMOUNT",
    help="Time such as 8h or 30m, or work such as 2gpu-h or 30cpu-m, instead of sweep.budget: after it no trial "
    "starts, and those that run stop at their next validation.",
)
@work_options("sweep-<time>")
def command(
    samples: int | None,
    budget: str | None,
    out: Path | None,
    store_path: Path,
    address: str | None,
    verbose: bool,
    **profile: object,
) -> None:
    """Train a model under many settings, as [sweep] of PROFILE says. The same command again does what is missing."""
    given = given_budget(budget)

    from fineseg.console import Console
    from fineseg.scheduling.session import RaySettings
    from fineseg.store import Store
    from fineseg.sweep import sweep

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    name = loaded.profile.competition.name
    folder = (out or Path("runs") / name / datetime.now().strftime("sweep-%Y%m%d-%H%M%S")).absolute()
    sweep(
        loaded,
        catalog,
        Console(),
        Store(store_path),
        folder,
        RaySettings(address, folder / "logs", verbose),
        samples=samples,
        budget=given,
        next_run=as_arguments(**profile),  # type: ignore[arg-type]
    )
