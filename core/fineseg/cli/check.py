"""`fineseg check PROFILE`."""

import json
from pathlib import Path

import click

from fineseg.cli import warn
from fineseg.cli.profile_options import as_arguments, load, profile_options, store_option


@click.command()
@profile_options
@click.option("--explain", metavar="KEY", help="Say which layer set a dotted key, e.g. train.lr.")
@click.option(
    "--data", "with_data", is_flag=True, help="Also open annotations and images, and score truth as prediction."
)
@store_option
def command(explain: str | None, with_data: bool, store_path: Path, **profile: object) -> None:
    """Check PROFILE: every fault at once, without building anything."""
    from fineseg.profile.tables import check_ablations

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    check_ablations(loaded.tables, loaded.profile, catalog, loaded.file)
    if explain is not None:
        steps = loaded.explain(explain)
        for number, (origin, value) in enumerate(steps, start=1):
            mark = "in force" if number == len(steps) else "overridden"
            click.echo(f"{explain} = {json.dumps(value, default=str)}  ({mark}, set by {origin})")
        return
    if with_data:
        from fineseg.stages.check import check_profile_data

        warnings = check_profile_data(loaded, catalog, store_path)
        for line in warnings:
            warn(line)
    models = ", ".join(loaded.profile.chosen)
    click.echo(f"{loaded.file}: ok; models {models}; next: fineseg run {as_arguments(**profile)}")  # type: ignore[arg-type]
