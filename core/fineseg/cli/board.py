"""`fineseg board` and `fineseg diff`: runs side by side."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fineseg.cli import print_table, warn
from fineseg.cli.profile_options import PATH

if TYPE_CHECKING:
    from fineseg.board.read import Broken

SHOWN = 3
COLUMNS = ("score", "run", "started", "cost", "what differs")


@click.command()
@click.argument("folder", type=PATH, default=Path("runs"))
@click.option("--metric", help="Figure to sort by, such as AP50; each run's headline if absent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, with all scores and settings.")
def command(folder: Path, metric: str | None, as_json: bool) -> None:
    """List the runs, sweeps and tables below FOLDER (runs if absent), best first: scores, cost and what differs."""
    from fineseg.board.cache import read_board
    from fineseg.board.rank import grouped
    from fineseg.errors import one_line

    entries, broken = read_board(folder)
    groups = grouped(entries, metric)
    if as_json:
        unread = [{"folder": str(each.folder), "why": each.why} for each in broken]
        click.echo(json.dumps({"competitions": groups, "broken": unread}, indent=1))
        return
    for number, (name, rows) in enumerate(groups.items()):
        click.echo(("\n" if number else "") + one_line(name))
        print_table(COLUMNS, [_cells(row, folder) for row in rows])
    if not groups:
        click.echo(f"{folder}: no finished run")
    for line in _not_listed(broken):
        warn(line)


def _cells(row: dict[str, Any], top: Path) -> tuple[str, ...]:
    from fineseg.board.rank import in_short
    from fineseg.errors import one_line

    path = Path(row["folder"])
    place = str(path.relative_to(top)) if path != top else "."
    score = "-" if row["score"] is None else f"{row['metric']} {row['score']:.1f}"
    kind = "" if row["kind"] == "run" else f"{row['kind']} of {len(row['models'])}"
    differs = in_short(row["differs"]) or kind
    return tuple(one_line(cell) for cell in (score, place, row["started"][:10], _cost(row["cost"]), differs))


def _not_listed(broken: "list[Broken]") -> list[str]:
    """Return a line for each reason, with the first few folders that have it."""
    reasons: dict[str, list[str]] = {}
    for each in broken:
        reasons.setdefault(each.why, []).append(str(each.folder))
    lines = []
    for why, names in reasons.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"not listed: {', '.join(names[:SHOWN])}{more}: {why}")
    return lines


def _cost(cost: dict[str, float]) -> str:
    words = [
        f"{cost[name]:.2g} {unit}" for name, unit in (("gpu_hours", "GPU-h"), ("cpu_hours", "CPU-h")) if cost[name]
    ]
    return " ".join(words) or "-"


@click.command()
@click.argument("run_a", type=PATH)
@click.argument("run_b", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def diff(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Say which settings, scores and classes changed from RUN_A to RUN_B, the folders of two runs."""
    from fineseg.board.compare import changed, compare_runs
    from fineseg.board.rank import shown

    found = compare_runs(run_a, run_b)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    clauses = [f"data of {', '.join(found['data'])} differ"] if found["data"] else []
    clauses += [] if found["comparable"] else ["scores on other validation images are no comparison"]
    if clauses:
        warn(": ".join(clauses))
    if found["settings"]:
        print_table(("setting", "A", "B"), [(key, *map(shown, pair)) for key, pair in found["settings"].items()])
    else:
        click.echo("no setting differs")
    rows = [
        (name, figure, *_change(pair))
        for name, scores in found["scores"].items()
        for number, (figure, pair) in enumerate(scores.items())
        if number == 0 or changed(*pair)
    ]
    print_table(("model", "figure", "A", "B", "+/-"), rows)
    _print_classes(found["classes"])


def _print_classes(classes: dict[str, list[dict[str, Any]]] | None) -> None:
    if classes is None:
        click.echo("no classes: a run was made before runs told of them; the same command again writes classes.json")
        return
    rows = [
        (row["class"], name, row["figure"], *_change(row["scores"])) for name, each in classes.items() for row in each
    ]
    if rows:
        print_table(("class", "model", "figure", "A", "B", "+/-"), rows)
    else:
        click.echo("no class changed by 0.05 or more")


def _change(pair: list[float | None]) -> tuple[str, str, str]:
    """Return two scores and their difference as text."""
    a, b = pair
    difference = "" if a is None or b is None else f"{b - a:+.1f}"
    return *("-" if each is None else f"{each:.1f}" for each in pair), difference  # type: ignore[return-value]
