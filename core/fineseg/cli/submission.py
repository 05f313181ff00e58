"""`fineseg submission`."""

from pathlib import Path

import click

from fineseg.cli.profile_options import PATH, layer_options, load, store_option


@click.group()
def command() -> None:
    """Check a submission file, whoever wrote it."""


@command.command("check")
@click.argument("file", type=PATH)
@click.option("--profile", type=PATH, required=True, help="Profile that says what is right: test split and format.")
@layer_options
@store_option
def check(file: Path, store_path: Path, **profile: object) -> None:
    """Check FILE against the format and the test split of a profile: every fault, or one line on what it holds."""
    from fineseg.console import Console
    from fineseg.stages.files import check_submission

    loaded, catalog = load(**profile)  # type: ignore[arg-type]
    click.echo(check_submission(loaded, catalog, Console(), store_path, file))
