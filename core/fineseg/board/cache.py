"""What was read of run folders, kept beside them in SQLite: a board of hundreds of runs reads only what has changed.

It is a cache and no more: one that is lost, damaged, of another version, or cannot be written is made anew or done
without. Any number of processes may use it at once.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from fineseg.board.read import FILES, Broken, Entry, find_runs, read_entry
from fineseg.errors import FinesegError

NAME = ".board.sqlite"
VERSION = 1
"""Of what is kept; another one's is thrown away."""
PATIENCE = 20.0
"""Seconds to wait for another process that writes."""
SURROUNDINGS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_PERM,
}
"""Answers of SQLite that say nothing against the file: another process writes, or nobody may."""


def read_board(top: Path) -> tuple[list[Entry], list[Broken]]:
    """Return what stands in the folders below `top`, and the folders that cannot be listed; raises `FinesegError`."""
    if not top.is_dir():
        raise FinesegError(f"{top}: no such folder; give one that runs lie in, such as runs")
    stamps = {str(folder): (kind, stamp_of(folder, kind)) for folder, kind in find_runs(top)}
    known = _known(top / NAME, stamps)
    entries, fresh, broken = [], {}, []
    for folder, (kind, _) in stamps.items():
        entry = known.get(folder)
        if entry is None:
            try:
                entry = fresh[folder] = read_entry(Path(folder), kind)
            except FinesegError as error:
                broken.append(Broken(Path(folder), str(error)))
                continue
        entries.append(entry)
    _remember(top / NAME, {folder: (stamps[folder][1], entry) for folder, entry in fresh.items()}, list(stamps))
    return entries, broken


def stamp_of(folder: Path, kind: str) -> str:
    """Return what changes when a file of the folder that is read changes: sizes and times."""
    found: list[tuple[int, int]] = []
    for name in FILES.get(kind, ()):
        with suppress(OSError):
            status = (folder / name).stat()
            found.append((status.st_size, status.st_mtime_ns))
    return json.dumps([kind, found])


def _known(file: Path, stamps: Mapping[str, tuple[str, str]]) -> dict[str, Entry]:
    """Return the entries that are kept of folders which have not changed since; folders are named from the cache's."""
    if not file.is_file():
        return {}
    found: dict[str, Entry] = {}
    try:
        with _opened(file) as base:
            if base.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise sqlite3.DatabaseError("another version")
            for name, stamp, text in base.execute("SELECT folder, stamp, entry FROM entries"):
                folder = str(file.parent / name)
                if folder in stamps and stamps[folder][1] == stamp:
                    found[folder] = {**json.loads(text), "folder": folder}
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        _remove_unless_busy(file, error)
        return {}
    return found


def _remember(file: Path, fresh: Mapping[str, tuple[str, Entry]], there: Sequence[str]) -> None:
    """Keep what was read, and forget folders that are gone."""
    rows = [(_name(file, folder), stamp, json.dumps(entry)) for folder, (stamp, entry) in fresh.items()]
    try:
        with _opened(file) as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute(f"PRAGMA user_version = {VERSION}")
            base.execute("CREATE TABLE IF NOT EXISTS entries (folder TEXT PRIMARY KEY, stamp TEXT, entry TEXT)")
            kept = {name for (name,) in base.execute("SELECT folder FROM entries")}
            gone = kept - {_name(file, folder) for folder in there}
            base.executemany("DELETE FROM entries WHERE folder = ?", [(name,) for name in gone])
            base.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
    except sqlite3.DatabaseError as error:
        _remove_unless_busy(file, error)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as base:
        yield base


def _name(file: Path, folder: str) -> str:
    return os.path.relpath(folder, file.parent)


def _remove_unless_busy(file: Path, error: Exception) -> None:
    """Throw a damaged cache away; where only the surroundings are against it, the next board reads again."""
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in SURROUNDINGS:
        return
    for path in (file, file.with_name(f"{file.name}-journal")):
        with suppress(OSError):
            path.unlink()
