"""What a person sees while something runs: tasks with rate and time left, plain lines where no terminal is attached.

Long work reports to a `Task`; a ticker repaints or prints every few seconds, also while nothing is reported, so that a
run is never silent for long.
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

PLAIN_INTERVAL = 3.0
TTY_INTERVAL = 0.5
COLUMNS = 80
"""Width of a terminal that does not tell."""
MOMENT = 1.0
"""A task that took less [s] leaves no line behind."""


class Task:
    """One thing that goes on: `done` of `total` units, and a few words on what happens now."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self.started = time.monotonic()
        self._rate_from: tuple[float, int] | None = None

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """State how far it is."""
        if self._rate_from is None and done:
            self._rate_from = (time.monotonic(), done)
        self.done, self.note = done, " ".join(note.split())
        self.total = total if total is not None else self.total

    def line(self) -> str:
        """Return the state as one line of text."""
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
        self.tty = self.stream.isatty()
        self._tasks: list[Task] = []
        self._painted = 0
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
            self._erase()
            print(text, file=self.stream, flush=True)
            self._paint()

    def _note(self, text: str) -> None:
        if self._log is not None:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{datetime.now().isoformat(timespec='seconds')}  {text}\n")

    @contextmanager
    def task(self, title: str, total: int | None = None, unit: str = "") -> Iterator[Task]:
        """Show a task while the block runs, and one closing line when it took more than a moment."""
        task = Task(title, total, unit)
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
        if task.seconds >= MOMENT:
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
            self._erase()
            self._tasks.remove(task)
            self._paint()
            if not self._tasks and self._ticker is not None:
                self._stop.set()
                self._ticker = None

    def _tick(self, stop: threading.Event) -> None:
        interval = TTY_INTERVAL if self.tty else PLAIN_INTERVAL
        while not stop.wait(interval):
            with self._lock:
                self._erase()
                self._paint()

    def _paint(self) -> None:
        if not self.tty and threading.current_thread() is not self._ticker:
            return
        for task in self._tasks:
            line = task.line()
            print(line[: self._width() - 1] if self.tty else line, file=self.stream, flush=True)
        self._painted = len(self._tasks) if self.tty else 0

    def _width(self) -> int:
        """Return the terminal's columns: a longer line would wrap, and erasing counts lines."""
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or COLUMNS
        except (OSError, ValueError):
            return COLUMNS

    def _erase(self) -> None:
        if self.tty and self._painted:
            self.stream.write(f"\x1b[{self._painted}A\x1b[J")
            self.stream.flush()
            self._painted = 0


def duration(seconds: float) -> str:
    """Return a time span as people write it: `41 s`, `3:05`, `2:10:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
