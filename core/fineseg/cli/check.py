"""`fineseg check PROFILE`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fineseg.cli import warn
from fineseg.cli.profile_options import as_arguments, load, profile_options, store_option

if TYPE_CHECKING:
    from fineseg.catalog import Catalog
    from fineseg.profile import Loaded


@click.command()
@profile_options
@click.option("--explain", metavar="KEY", help="Say which layer set a dotted key, e.g. train.lr.")
@click.option(
    "--data", "with_data", is_flag=True, help="Also open annotations and images, and score truth as prediction."
)
@click.option("--json", "as_json", is_flag=True, help="With --data: print all findings as JSON, nothing else.")
@store_option
def command(explain: str | None, with_data: bool, as_json: bool, store_path: Path, **profile: object) -> None:
    """Check PROFILE: every fault at once, without building anything."""
    from fineseg.profile.tables import check_ablations

    if as_json and (explain is not None or not with_data):
        raise click.UsageError("--json prints what --data finds: give --data, and no --explain")
    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    check_ablations(loaded.tables, loaded.profile, catalog, loaded.file)
    if explain is not None:
        steps = loaded.explain(explain)
        for number, (origin, value) in enumerate(steps, start=1):
            mark = "in force" if number == len(steps) else "overridden"
            click.echo(f"{explain} = {json.dumps(value, default=str)}  ({mark}, set by {origin})")
        return
    if with_data:
        _check_data(loaded, catalog, store_path, as_json)
        if as_json:
            return
    models = ", ".join(loaded.profile.chosen)
    click.echo(f"{loaded.file}: ok; models {models}; next: fineseg run {as_arguments(**profile)}")  # type: ignore[arg-type]


def _check_data(loaded: "Loaded", catalog: "Catalog", store: Path, as_json: bool) -> None:
    """Print what is wrong with the data, most harmful first; exit with 1 when it is worse than a warning."""
    from fineseg.data.findings import told
    from fineseg.stages.check import check_profile_data

    findings = check_profile_data(loaded, catalog, store)
    if as_json:
        click.echo(json.dumps([finding.plain() for finding in findings], indent=1, ensure_ascii=False))
    else:
        for line in told(findings, "error"):
            click.echo(f"error: {line}", err=True)
        for line in told(findings, "warning"):
            warn(line)
    if any(finding.severity == "error" for finding in findings):
        raise click.exceptions.Exit(1)
