"""What was read of run folders, kept beside them in SQLite: a board of hundreds of runs reads only what has changed.

It is a cache and no more: one that is lost, damaged, of another version, or cannot be written is made anew or done
without. Any number of processes may use it at once.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from fineseg.board.read import FILES, Broken, Entry, find_runs, read_entry
from fineseg.errors import FinesegError
from fineseg.profile.schema import Profile
from fineseg.store import content_key

NAME = ".board.sqlite"
VERSION = 1
"""Of what is kept; another one's is thrown away."""
UNMADE = 0
"""SQLite's own first version: another process has made the file, and not its table yet."""
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
        raise FinesegError(f"{top}: no such folder; give one in which `fineseg run` has left runs")
    stamps = {str(folder): (kind, stamp_of(folder, kind)) for folder, kind in find_runs(top)}
    kept = _kept(top / NAME)
    known = {folder: entry for folder, (stamp, entry) in kept.items() if stamps.get(folder, ("", ""))[1] == stamp}
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
    gone = kept.keys() - stamps.keys()
    if fresh or gone:
        _remember(top / NAME, {folder: (stamps[folder][1], entry) for folder, entry in fresh.items()}, gone)
    return entries, broken


def stamp_of(folder: Path, kind: str) -> str:
    """Return what changes when a file of the folder that is read changes, or what is added to it: sizes, times, schema.

    Entries hold settings that were completed with the schema's defaults.
    """
    found: list[tuple[int, int]] = []
    for name in FILES.get(kind, ()):
        with suppress(OSError):
            status = (folder / name).stat()
            found.append((status.st_size, status.st_mtime_ns))
    return json.dumps([kind, found, schema_digest()])


@lru_cache(maxsize=1)
def schema_digest() -> str:
    """Return a digest of a profile's schema, its defaults among it."""
    return content_key(Profile.model_json_schema())


def _kept(file: Path) -> dict[str, tuple[str, Entry]]:
    """Return folder -> stamp and entry of what is kept; in the file folders are named from its own."""
    if not file.is_file():
        return {}
    found: dict[str, tuple[str, Entry]] = {}
    try:
        with _opened(file) as base:
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version == UNMADE:
                return {}
            if version != VERSION:
                raise sqlite3.DatabaseError("another version")
            for name, stamp, text in base.execute("SELECT folder, stamp, entry FROM entries"):
                folder = str(file.parent / name)
                found[folder] = stamp, {**json.loads(text), "folder": folder}
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        _remove_unless_busy(file, error)
        return {}
    return found


def _remember(file: Path, fresh: Mapping[str, tuple[str, Entry]], gone: Collection[str]) -> None:
    """Keep what was read, and forget folders that are gone."""
    rows = [(_name(file, folder), stamp, json.dumps(entry)) for folder, (stamp, entry) in fresh.items()]
    try:
        with _opened(file) as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute(f"PRAGMA user_version = {VERSION}")
            base.execute("CREATE TABLE IF NOT EXISTS entries (folder TEXT PRIMARY KEY, stamp TEXT, entry TEXT)")
            base.executemany("DELETE FROM entries WHERE folder = ?", [(_name(file, folder),) for folder in gone])
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
