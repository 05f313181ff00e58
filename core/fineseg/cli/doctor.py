"""`fineseg doctor`."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from fineseg import __version__
from fineseg.cli.profile_options import store_option

COLOURS = {"ok": "green", "note": "yellow", "broken": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, with all that was found out.")
@store_option
@click.pass_context
def command(context: click.Context, as_json: bool, store_path: Path) -> None:
    """Check this machine and environment, and say what mends each fault. Exit code 1 when something is broken."""
    from fineseg.doctor.checks import diagnose
    from fineseg.doctor.probe import probe

    facts = probe(store_path)
    findings = diagnose(facts)
    counts = Counter(finding.status for finding in findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        table = {"fineseg": __version__, "broken": counts["broken"], "notes": counts["note"], "findings": rows}
        click.echo(json.dumps({**table, "facts": asdict(facts)}, indent=1))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            status = click.style(f"{finding.status:<6}", fg=COLOURS[finding.status])
            click.echo(f"{status}  {finding.check:<{width}}  {finding.what}")
            if finding.mend:
                click.echo(f"{'':{8 + width}}  mend: {finding.mend}")
        click.echo(f"{counts['broken']} broken, {counts['note']} to note")
    context.exit(1 if counts["broken"] else 0)
