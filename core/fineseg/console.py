"""What a person sees while something runs: tasks with rate and time left, plain lines where no terminal is attached.

Long work reports to a `Task`; a ticker repaints, or prints now and then, also while nothing is reported, so that a run
is never silent for long.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len, set_cell_size

PLAIN_INTERVAL = 3.0
PLAIN_SHARE = 0.1
PLAIN_MOST = 60.0
"""Without a terminal a task is told of again after this share of its time so far, within these bounds [s]: the log of
a night has a line a minute, not thousands."""
TICK = 0.5
"""Seconds between two looks at what goes on."""
SIZE = os.terminal_size((80, 24))
"""Columns and rows of a terminal that does not tell."""
WAITING = 3
"""So many tasks that wait have a line; more are counted."""
MOMENT = 1.0
"""A task that took less [s] leaves no line behind."""


class Task:
    """One thing that goes on: `done` of `total` units, and a few words on what happens now.

    One that `waits` begins with its first update; what it waited is no part of the time it took.
    """

    def __init__(self, title: str, total: int | None, unit: str, *, waits: bool = False) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self.waits = waits
        self.started = time.monotonic()
        self.told = self.started
        self._rate_from: tuple[float, int] | None = None

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """State how far it is."""
        if self.waits:
            self.waits, self.started = False, time.monotonic()
        if self._rate_from is None and done:
            self._rate_from = (time.monotonic(), done)
        self.done, self.note = done, " ".join(note.split())
        self.total = total if total is not None else self.total

    def complete(self) -> None:
        """State that all of it is done, of which the last may not have been heard."""
        self.update(self.total or self.done, note=self.note)

    def line(self) -> str:
        """Return the state as one line of text."""
        if self.waits:
            return f"{self.title}  waiting"
        parts = self._progress()
        rate = self._rate()
        if rate and self.total and self.done < self.total:
            parts += [f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"]
            parts += [f"{duration((self.total - self.done) / rate)} left"]
        else:
            parts.append(duration(self.seconds))
        return "  ".join([*parts, self.note] if self.note else parts)

    def closing(self) -> str:
        """Return the line that stays when the task has ended."""
        parts = [*self._progress(), f"took {duration(self.seconds)}"]
        return "  ".join([*parts, self.note] if self.note else parts)

    @property
    def seconds(self) -> float:
        """Time since the task began."""
        return time.monotonic() - self.started

    def _progress(self) -> list[str]:
        return [self.title, f"{self.done}/{self.total} {self.unit}".rstrip()] if self.total else [self.title]

    def _rate(self) -> float | None:
        if self._rate_from is None:
            return None
        since, done = self._rate_from
        elapsed = time.monotonic() - since
        return (self.done - done) / elapsed if elapsed > 0.5 and self.done > done else None


class Console:
    """Prints to one stream; a terminal gets lines that are repainted, anything else plain lines now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.tty = self.stream.isatty() and os.environ.get("TERM") != "dumb"  # one that cannot move its cursor
        self._tasks: list[Task] = []
        self._painted: list[str] = []
        self._lock = threading.RLock()
        self._ticker: threading.Thread | None = None
        self._stop = threading.Event()
        self._log: Path | None = None

    def keep(self, log: Path) -> None:
        """Also append every line that stays, and every task that ends, to a file."""
        self._log = log

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._note(text)
        with self._lock:
            self._write(f"{text}\n")

    def _note(self, text: str) -> None:
        if self._log is not None:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{datetime.now().isoformat(timespec='seconds')}  {text}\n")

    @contextmanager
    def task(self, title: str, total: int | None = None, unit: str = "", *, waits: bool = False) -> Iterator[Task]:
        """Show a task while the block runs, and one closing line when it took more than a moment; none if it waited."""
        task = Task(title, total, unit, waits=waits)
        with self._lock:
            self._tasks.append(task)
        self._start()
        try:
            yield task
        except BaseException:
            self._end(task)
            self._note(f"{task.line()}  (broken off)")
            raise
        self._end(task)
        if task.seconds >= MOMENT and not task.waits:
            self.say(task.closing())
        else:
            self._note(task.closing())

    def _start(self) -> None:
        with self._lock:
            if self._ticker is None:
                self._stop = threading.Event()
                self._ticker = threading.Thread(target=self._tick, args=(self._stop,), daemon=True)
                self._ticker.start()

    def _end(self, task: Task) -> None:
        with self._lock:
            self._tasks.remove(task)
            self._write()
            if not self._tasks and self._ticker is not None:
                self._stop.set()
                self._ticker = None

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(TICK):
            with self._lock:
                if self.tty:
                    self._write()
                elif lines := self._due():
                    self._write("".join(f"{line}\n" for line in lines))

    def _write(self, text: str = "") -> None:
        """Put text that stays in the place of what is painted, and paint what goes on now below it.

        All in one piece: a terminal that shows the erased state in between would flicker.
        """
        if self.tty:
            size = self._size()
            # in a window that has become narrower since, a line takes several rows
            rows = sum(max(1, -(-cell_len(line) // size.columns)) for line in self._painted)
            self._painted = [_cut(line, size.columns - 1) for line in self._lines(max(size.lines - 1, 1))]
            text = "".join([_erasure(rows), text, *(f"{line}\n" for line in self._painted)])
        self.stream.write(text)
        self.stream.flush()

    def _lines(self, most: int) -> list[str]:
        """Return what goes on, a line each, but `most`: what has scrolled out of the window cannot be erased."""
        running = [task.line() for task in self._tasks if not task.waits]
        waiting = [task.line() for task in self._tasks if task.waits]
        if len(waiting) > WAITING:
            waiting[WAITING:] = [f"and {len(waiting) - WAITING} more waiting"]
        lines = [*running, *waiting]
        return lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more lines"]

    def _due(self) -> list[str]:
        """Return lines of the tasks of which nothing was said for long enough; those that wait are not worth one."""
        now, lines = time.monotonic(), []
        running = [task for task in self._tasks if not task.waits]
        for task in running or self._tasks[:1]:
            if now - task.told >= min(max(PLAIN_INTERVAL, PLAIN_SHARE * task.seconds), PLAIN_MOST):
                task.told = now
                lines.append(task.line())
        return lines

    def _size(self) -> os.terminal_size:
        """Return the terminal's size: a longer line would wrap, and erasing counts rows."""
        try:
            found = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return SIZE
        return os.terminal_size((found.columns or SIZE.columns, found.lines or SIZE.lines))


def _erasure(rows: int) -> str:
    """Return what erases so many rows above the cursor, and all below; a key, such as Ctrl-C, has moved it aside."""
    return f"\r\x1b[{rows}A\x1b[J" if rows else ""


def _cut(line: str, columns: int) -> str:
    """Return as much of a line as so many columns take; some characters are two columns wide."""
    return line if cell_len(line) <= columns else set_cell_size(line, columns)


def here(path: Path) -> str:
    """Return a path as one types it in the working folder: relative where it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def duration(seconds: float) -> str:
    """Return a time span as people write it: `41 s`, `3:05`, `2:10:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
