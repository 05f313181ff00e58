"""`fineseg run PROFILE`."""

from datetime import datetime
from pathlib import Path

import click

from fineseg import FinesegError
from fineseg.cli.profile_options import given_budget, load, profile_options, work_options
from fineseg.profile.faults import suggest


@click.command()
@profile_options
@work_options("<time>")
@click.option(
    "--weights",
    metavar="MODEL=FILE",
    multiple=True,
    help="Predict with these weights instead of training MODEL; may be given for each model.",
)
@click.option(
    "--budget",
    metavar="AMOUNT",
    help="What all trainings may spend: work such as 2gpu-h or 30cpu-m, or time such as 8h. When it is spent they stop "
    "at their next checkpoint, from which the same command goes on.",
)
def command(
    out: Path | None,
    store_path: Path,
    address: str | None,
    verbose: bool,
    weights: tuple[str, ...],
    budget: str | None,
    **profile: object,
) -> None:
    """Train, predict, combine, score and submit what PROFILE describes. The same command again does what is missing."""
    allowed = given_budget(budget)

    from fineseg.console import Console
    from fineseg.run import run
    from fineseg.scheduling.session import RaySettings
    from fineseg.store import Store

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    name = loaded.profile.competition.name
    folder = (out or Path("runs") / name / datetime.now().strftime("%Y%m%d-%H%M%S")).absolute()
    given = given_weights(weights, list(loaded.profile.chosen))
    ray = RaySettings(address, folder / "logs", verbose)
    run(loaded, catalog, Console(), Store(store_path), folder, ray, given, allowed)


def given_weights(settings: tuple[str, ...], models: list[str]) -> dict[str, Path]:
    """Turn `MODEL=FILE` settings into a table; raises `FinesegError` for another form or an unknown model."""
    given = {}
    for setting in settings:
        model, equals, file = setting.partition("=")
        if not equals or not file:
            raise FinesegError(f"--weights {setting}: must be MODEL=FILE, such as {models[0]}=weights.pth")
        if model not in models:
            raise FinesegError(f"--weights {setting}: no model '{model}'; {suggest(model, models)}")
        given[model] = Path(file)
    return given
