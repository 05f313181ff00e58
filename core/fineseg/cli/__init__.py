"""The command line: one file per verb (parse, call one library function, print), looked up lazily by `main`."""

import sys
from collections.abc import Sequence

import click


def warn(line: str) -> None:
    """Print one warning to stderr, so that stdout stays what the command was asked for."""
    click.echo(f"warning: {line}", err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn and wrapped on a terminal, aligned columns of plain text for anything that reads it."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))  # Text: a bracket in a type is no markup
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
