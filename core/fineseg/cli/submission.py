"""`fineseg submission`."""

import json
from pathlib import Path

import click

from fineseg.cli.profile_options import PATH, layer_options, load, store_option


@click.group()
def command() -> None:
    """Check a submission file, whoever wrote it, or explain where it comes from."""


@command.command("check", short_help="Check a file against a profile's test split.")
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


@command.command("explain", short_help="Say what made a file: command, data, weights.")
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@store_option
def explain(file: Path, as_json: bool, store_path: Path) -> None:
    """Say where FILE comes from: command, profile, versions, commit, data, weights, seeds, machine, scores, cost."""
    from fineseg.provenance.page import page
    from fineseg.provenance.record import content_hash, explained

    record, found = explained(file, store_path)
    digest = content_hash(file)
    if as_json:
        click.echo(json.dumps({"file": str(file), "content": digest, "found": found, "record": record}, indent=1))
        return
    for line in page(record, f"{file}, {file.stat().st_size:,} bytes, content sha256 {digest[:16]}", found):
        click.echo(line)
