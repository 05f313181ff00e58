"""An ablation table, from a checked profile to scores a row, beside a paper's, and a report.

prepare -> train what rows need -> predict and score the held-out split for each -> table.json, table.md, report.html.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.console import Console, duration, here
from fineseg.cost import cost_table, rows_before
from fineseg.errors import FinesegError
from fineseg.profile.faults import suggest
from fineseg.profile.load import Loaded
from fineseg.profile.row_schema import AblationTable
from fineseg.profile.tables import Row, rows_of, start_of, table_named
from fineseg.report.ablation import as_markdown, as_text, write_ablation_report
from fineseg.report.records import ReportData
from fineseg.run import Watch, work_done
from fineseg.runs import environment, git_state
from fineseg.scheduling.scheduler import Scheduler
from fineseg.scheduling.session import RaySettings
from fineseg.stages.ablate import Outcome, run_rows, training_work
from fineseg.stages.context import Context
from fineseg.stages.prepare import prepare
from fineseg.store import CURVE, RUN_LOG, Store, only_run_in, read_rows, write_json, write_text

HEADLINES = {"instance": ("segm", "AP"), "panoptic": ("panoptic", "PQ")}
"""Kind and figure by task: what a row gains is said in it."""
Headline = tuple[str, str]


def ablate(
    loaded: Loaded,
    name: str,
    catalog: Catalog,
    console: Console,
    store: Store,
    out: Path,
    ray: RaySettings,
    *,
    only: Sequence[str] | None,
) -> Path:
    """Run the rows of a profile's `[tables.NAME]`; return the folder with table.json, table.md and report.html.

    `only` are rows to run; all where it is None. Raises `FinesegError` once all is written when a row failed.
    """
    table = table_named(loaded.profile, name, loaded.file)
    rows = rows_of(loaded.tables, loaded.profile, name, catalog, loaded.file)
    wanted = _wanted(name, rows, only)
    started, watch = datetime.now().astimezone(), Watch()
    console.keep(out / RUN_LOG)
    profile, tables = start_of(loaded.tables, loaded.profile, name, catalog, loaded.file)
    with only_run_in(out), Scheduler(console, ray, store.root) as scheduler:
        context = Context(profile, tables, loaded.file, catalog, store, console, scheduler)
        with watch.stage("prepare"):
            prepared = prepare(context)
        before, rows_then = work_done(store), rows_before(store.root)
        with watch.stage("rows"):
            outcomes = run_rows(context, prepared, rows, wanted)
    record = {
        "command": shlex.join(["fineseg", *sys.argv[1:]]),
        "started": started.isoformat(timespec="seconds"),
        "seconds": dict(watch.seconds),
        "work": {kind: count - before[kind] for kind, count in work_done(store).items()},
        "competition": profile.competition.name,
        **ablation_record(name, table, outcomes, profile.competition.task),
        "cost": cost_table([("train", o.row.name, e.folder) for o in outcomes for e in o.trained.values()], rows_then),
    }
    write_json(out / "table.json", record)
    write_text(out / "table.md", as_markdown(record))
    with console.task("write report"):
        report = _write_report(loaded, context, record, outcomes, out)
    _say_result(console, record, out, report, sum(watch.seconds.values()))
    failed = [f"row '{outcome.row.name}': {outcome.why}" for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise FinesegError("\n".join(failed))
    return out


def _wanted(name: str, rows: Sequence[Row], only: Sequence[str] | None) -> list[str]:
    known = [row.name for row in rows]
    if only is None:
        return known
    if not only:
        raise FinesegError(f"--rows: name rows of tables.{name}: {', '.join(known)}")
    for asked in only:
        if asked not in known:
            raise FinesegError(f"--rows {asked}: no such row in tables.{name}; {suggest(asked, known)}")
    return list(only)


def ablation_record(
    name: str, table: AblationTable, outcomes: Sequence[Outcome], task: str = "instance"
) -> dict[str, Any]:
    """Return what table.json tells of the rows, as plain data; figures are in percent, None where there is no truth."""
    headline = HEADLINES[task]
    found = {outcome.row.name: outcome for outcome in outcomes}
    first: dict[tuple[str, ...], str] = {}
    rows = []
    for outcome in outcomes:
        row, keys = outcome.row, tuple(entry.key for entry in outcome.trained.values())
        shared = first.setdefault(keys, row.name) if keys else row.name
        rows.append(
            {
                "name": row.name,
                "words": row.words,
                "on": row.on,
                "base": row.base,
                "set": dict(row.table.set),
                "scores": row.scores,
                "note": row.table.note,
                "status": outcome.status,
                "why": outcome.why,
                "metrics": outcome.metrics(),
                "gain": _gain(outcome, found.get(row.base or ""), headline),
                "published": dict(row.table.published),
                "published_gain": _published_gain(outcome, found, headline),
                "trainings": [_training(each) for each in outcome.trained.values() if outcome.status == "scored"],
                "shares_training_of": shared if shared != row.name else None,
            }
        )
    start = dict(table.set)
    return {"table": name, "title": table.title, "headline": list(headline), "start": start, "rows": rows}


def _training(entry: Any) -> dict[str, Any]:
    return {"model": entry.model, "key": entry.key, "folder": str(entry.folder), **training_work(entry)}


def _score(outcome: Outcome | None, headline: Headline) -> float | None:
    """Return a row's headline figure, None where it has none."""
    kind, figure = headline
    return None if outcome is None else outcome.metrics().get(kind, {}).get(figure)


def _gain(outcome: Outcome, base: Outcome | None, headline: Headline) -> float | None:
    own, below = _score(outcome, headline), _score(base, headline)
    return None if own is None or below is None else own - below


def _published_gain(outcome: Outcome, found: Mapping[str, Outcome], headline: Headline) -> dict[str, Any] | None:
    """Return the published difference to the nearest row below that has a figure, and the measured one of the same two.

    Where that row is left out, what it builds on is measured in its place.
    """
    _, figure = headline
    published = outcome.row.table.published.get(figure)
    over = found.get(outcome.row.on or "")
    while over is not None and figure not in over.row.table.published:
        over = found.get(over.row.on or "")
    if published is None or over is None:
        return None
    measured = over
    while measured.status == "left out" and measured.row.base is not None:
        measured = found[measured.row.base]
    return {
        "over": over.row.name,
        figure: published - over.row.table.published[figure],
        "measured": _gain(outcome, measured, headline),
    }


def _write_report(
    loaded: Loaded, context: Context, record: Mapping[str, Any], outcomes: Sequence[Outcome], out: Path
) -> Path:
    manifest = {
        **{name: record[name] for name in ("command", "started", "seconds", "work", "cost", "table")},
        "profile": context.profile.model_dump(mode="json"),
        "environment": environment(context.catalog),
        "git": git_state(loaded.file.absolute().parent),
        "trainings": {row["name"]: row["trainings"][0] for row in record["rows"] if len(row["trainings"]) == 1},
    }
    title = context.profile.competition.title or context.profile.competition.name
    curves = {
        outcome.row.name: read_rows(entry.folder / CURVE)
        for outcome in outcomes
        for entry in outcome.trained.values()
        if outcome.status == "scored" and len(outcome.trained) == 1
    }
    data = ReportData(
        title=f"{title}: {record['title'] or record['table']}",
        profile=str(loaded.file),
        manifest=manifest,
        curves=curves,
    )
    return write_ablation_report(out / "report.html", data, record)


def _say_result(console: Console, record: Mapping[str, Any], out: Path, report: Path, seconds: float) -> None:
    for line in as_text(record).splitlines():
        console.say(line)
    waiting = [row["name"] for row in record["rows"] if row["status"] in ("failed", "not run")]
    if waiting:
        console.say(f"without a score: {', '.join(waiting)}; the same command without --rows runs what is missing")
    console.say(f"wrote table.json and table.md in {here(out)}")
    console.say(f"done in {duration(seconds)}: open {here(report)} in a browser")
