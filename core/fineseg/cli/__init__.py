"""The command line: one file per verb (parse, call one library function, print), looked up lazily by `main`."""

import click


def warn(line: str) -> None:
    """Print one warning to stderr, so that stdout stays what the command was asked for."""
    click.echo(f"warning: {line}", err=True)
