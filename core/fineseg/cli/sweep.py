"""`fineseg sweep PROFILE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg import FinesegError
from fineseg.cli.profile_options import as_arguments, load, profile_options, store_option


@click.command()
@profile_options
@click.option("--samples", type=click.IntRange(min=1), help="Trials in all, instead of sweep.samples.")
@click.option(
    "--budget",
    metavar="TIME",
    help="Time such as 8h, 30m or 90s, instead of sweep.budget: after it no trial starts, and those that run stop at "
    "their next validation.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default runs/<competition>/sweep-<time>.")
@store_option
@click.option("--ray", "ray_address", metavar="ADDRESS", help="Join a Ray cluster instead of starting a local one.")
def command(
    samples: int | None,
    budget: str | None,
    out: Path | None,
    store_path: Path,
    ray_address: str | None,
    **profile: object,
) -> None:
    """Train a model under many settings, as [sweep] of PROFILE says. The same command again does what is missing."""
    seconds = given_budget(budget)

    from fineseg.console import Console
    from fineseg.store import Store
    from fineseg.sweep import sweep

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    name = loaded.profile.competition.name
    folder = out or Path("runs") / name / datetime.now().strftime("sweep-%Y%m%d-%H%M%S")
    sweep(
        loaded,
        catalog,
        Console(),
        Store(store_path),
        folder.absolute(),
        ray_address,
        samples=samples,
        budget=seconds,
        next_run=as_arguments(**profile),  # type: ignore[arg-type]
    )


def given_budget(text: str | None) -> float | None:
    """Turn `8h` into seconds; raises `FinesegError`."""
    from fineseg.profile.schema import seconds_of

    try:
        return None if text is None else seconds_of(text)
    except ValueError as error:
        raise FinesegError(f"--budget: {error}") from None
