"""What is printed while something runs, with and without a terminal."""

import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg import console
from fineseg.console import Console, Task, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what its screen would show."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines: list[str] = []
        for erased, text in re.findall(r"\x1b\[(\d+)A\x1b\[J|([^\n\x1b]*)\n", self.getvalue()):
            if erased:
                assert int(erased) <= len(lines)
                del lines[-int(erased) :]
            else:
                lines.append(text)
        return lines


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ticker tick often, and no task be too short to leave a line."""
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.02)
    monkeypatch.setattr(console, "TTY_INTERVAL", 0.02)
    monkeypatch.setattr(console, "MOMENT", 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that moves the console's clock on, which stands still otherwise."""
    now = [100.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(console, "time", Clock)
    return move


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "nothing happened for 5 s"
        time.sleep(0.005)


# --------------------------------------------------------------------- plain


def test_a_task_is_told_again_and_again(quick: None) -> None:
    stream = io.StringIO()
    with Console(stream).task("train m1", 10, "steps") as task:
        task.update(3, note="loss 1.5")
        wait_for(lambda: stream.getvalue().count("train m1  3/10 steps  0 s  loss 1.5\n") >= 3)
    assert "\x1b" not in stream.getvalue()


def test_nothing_is_told_of_an_instant_task() -> None:
    stream = io.StringIO()
    plain = Console(stream)
    with plain.task("read", 2, "files") as task:
        task.update(2)
    plain.say("done")
    assert stream.getvalue() == "done\n"


def test_a_task_that_took_a_while_leaves_one_line(clock: Callable) -> None:
    stream = io.StringIO()
    with Console(stream).task("read", 20, "files") as task:
        clock(125)
        task.update(20)
    assert stream.getvalue() == "read  20/20 files  took 2:05\n"


def test_a_task_that_fails_leaves_none(clock: Callable) -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Console(stream).task("read"):
        clock(125)
        raise ZeroDivisionError
    assert stream.getvalue() == ""


def test_saying_something_repeats_no_task() -> None:
    stream = io.StringIO()
    plain = Console(stream)
    with plain.task("read"):
        plain.say("one")
        plain.say("two")
    assert stream.getvalue() == "one\ntwo\n"


def test_the_ticker_ends_with_the_last_task(quick: None) -> None:
    stream = io.StringIO()
    plain = Console(stream)
    with plain.task("outer"):
        with plain.task("inner"):
            ticker = plain._ticker
        wait_for(lambda: "outer  0 s\n" in stream.getvalue())
        assert plain._ticker is ticker
    assert ticker is not None
    ticker.join(5)
    assert not ticker.is_alive()
    with plain.task("again"):
        wait_for(lambda: "again  0 s\n" in stream.getvalue())


def test_what_stays_is_also_kept(tmp_path: Path) -> None:
    plain = Console(io.StringIO())
    plain.keep(tmp_path / "log.txt")
    plain.say("hello")
    with plain.task("read", 2, "files") as task:
        task.update(2)
    with pytest.raises(ZeroDivisionError), plain.task("write"):
        raise ZeroDivisionError
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "hello",
        "read  2/2 files  took 0 s",
        "write  0 s  (broken off)",
    ]


# ------------------------------------------------------------------ terminal


def test_a_terminal_is_repainted(quick: None) -> None:
    stream = Terminal()
    screen = Console(stream)
    with screen.task("one", 4, "steps") as one:
        with screen.task("two") as two:
            one.update(1)
            wait_for(lambda: stream.screen() == ["one  1/4 steps  0 s", "two  0 s"])
            screen.say("a line that stays")
            assert stream.screen() == ["a line that stays", "one  1/4 steps  0 s", "two  0 s"]
            two.update(1, note="now\nthis")
            wait_for(lambda: stream.screen()[-1] == "two  0 s  now this")
        assert stream.screen() == ["a line that stays", "two  took 0 s  now this", "one  1/4 steps  0 s"]
    assert stream.screen()[2:] == ["one  1/4 steps  took 0 s"]


def test_nothing_stays_of_an_instant_task_on_a_terminal() -> None:
    stream = Terminal()
    screen = Console(stream)
    with screen.task("one"):
        screen.say("hello")
    assert stream.screen() == ["hello"]


@pytest.mark.parametrize("columns", [30, 0])
def test_lines_do_not_wrap(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A wrapped line is two on the screen, and erasing one of them leaves the other."""
    stream = Terminal()
    stream.fileno = lambda: 7  # type: ignore[method-assign]
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    screen = Console(stream)
    with screen.task("t" * 200):
        screen.say("hello")
        assert stream.screen() == ["hello", "t" * ((columns or 80) - 1)]


# --------------------------------------------------------------------- lines


def test_rate_and_time_left(clock: Callable) -> None:
    task = Task("train", 100, "steps")
    clock(50)  # preparing is no part of the rate
    task.update(10)
    assert task.line() == "train  10/100 steps  50 s"
    clock(10)
    task.update(30, note="loss 1")
    assert task.line() == "train  30/100 steps  2.0/s  35 s left  loss 1"
    clock(190)
    assert task.line() == "train  30/100 steps  10.0 s each  11:40 left  loss 1"
    task.update(100)
    assert task.line() == "train  100/100 steps  4:10"


def test_a_total_may_come_later() -> None:
    task = Task("train", 0, "steps")
    assert task.line() == "train  0 s"
    task.update(1, 8)
    task.update(2)
    assert task.line() == "train  2/8 steps  0 s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.6, "1 s"),
        (41.2, "41 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (3599.7, "1:00:00"),
        (7800, "2:10:00"),
        (360000, "100:00:00"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
