"""What is printed while something runs, with and without a terminal."""

import io
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from fineseg import console
from fineseg.console import Console, Task, duration, here


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what its screen would show; `writes` are what came in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def screen(self) -> list[str]:
        lines: list[str] = []
        for erased, text in re.findall(r"\r\x1b\[(\d+)A\x1b\[J|([^\n\x1b]*)\n", self.getvalue()):
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
    monkeypatch.setattr(console, "TICK", 0.02)
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


@pytest.fixture
def resize(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that gives terminals another size, in columns and rows."""
    size = [80, 24]
    monkeypatch.setattr(Terminal, "fileno", lambda self: 7)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size(size))

    def to(columns: int, rows: int) -> None:
        size[:] = columns, rows

    return to


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


def test_the_longer_a_task_takes_the_rarer_it_is_told(clock: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of a night is not to be thousands of lines, and its first minute not silent."""
    monkeypatch.setattr(Console, "_start", lambda self: None)
    plain, told, now = Console(io.StringIO()), [], 0
    with plain.task("train"):
        for now in range(8 * 3600):
            told += [now] * len(plain._due())
            clock(1)
    gaps = [after - before for before, after in pairwise([0, *told])]
    assert gaps == sorted(gaps) and gaps[:9] == [3] * 9 and gaps[-1] == 60
    assert all(gap <= max(3, 0.1 * when + 1) for gap, when in zip(gaps, told, strict=True))
    assert 480 < len(told) < 540


def test_of_tasks_that_wait_plain_lines_say_nothing_while_another_runs(quick: None) -> None:
    stream = io.StringIO()
    plain = Console(stream)
    with plain.task("a", 0, "steps", waits=True) as first, plain.task("b", 0, "steps", waits=True):
        wait_for(lambda: "a  waiting\n" in stream.getvalue())
        first.update(1, 9)
        wait_for(lambda: stream.getvalue().count("a  1/9 steps  0 s\n") >= 3)
    assert "b  " not in stream.getvalue()


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
def test_lines_do_not_wrap(resize: Callable, columns: int) -> None:
    """A wrapped line is two on the screen, and erasing one of them leaves the other."""
    resize(columns, 24)
    stream = Terminal()
    screen = Console(stream)
    with screen.task("t" * 200):
        screen.say("hello")
        assert stream.screen() == ["hello", "t" * ((columns or 80) - 1)]


def test_wide_characters_do_not_wrap_either(resize: Callable) -> None:
    resize(20, 24)
    stream = Terminal()
    screen = Console(stream)
    with screen.task("家具" * 20):
        screen.say("hello")
        line = stream.screen()[1]
        assert line.rstrip() == "家具" * 4 + "家"  # 18 columns, and a half character is none


def test_a_window_that_becomes_narrower_leaves_nothing_behind(resize: Callable) -> None:
    """The terminal wraps what it shows anew."""
    resize(80, 24)
    stream = Terminal()
    screen = Console(stream)
    with screen.task("t" * 25 + "u"), screen.task("v"):
        screen.say("hello")
        resize(10, 24)
        screen.say("again")
        assert stream.writes[-1].startswith("\r\x1b[5A\x1b[J")  # "ttt...u  0 s", of 31 characters, takes four


def test_no_more_lines_than_the_window_has_rows(resize: Callable) -> None:
    """What has scrolled out of it cannot be erased, and would be there again and again."""
    resize(80, 5)
    stream = Terminal()
    screen = Console(stream)
    with ExitStack() as stack:
        for number in range(9):
            stack.enter_context(screen.task(f"task {number}"))
        screen.say("hello")
        assert stream.screen() == ["hello", *(f"task {number}  0 s" for number in range(3)), "and 6 more lines"]
        resize(80, 1)
        screen.say("again")
        assert stream.screen()[-1] == "and 9 more lines"


def test_of_many_tasks_that_wait_a_few_are_shown(resize: Callable) -> None:
    resize(80, 50)
    stream = Terminal()
    screen = Console(stream)
    with ExitStack() as stack:
        tasks = [stack.enter_context(screen.task(f"row {n}", 0, "steps", waits=True)) for n in range(26)]
        tasks[4].update(0, note="loading")
        screen.say("hello")
        waiting = [f"row {number}  waiting" for number in range(3)]
        assert stream.screen() == ["hello", "row 4  0 s  loading", *waiting, "and 22 more waiting"]


def test_what_changes_comes_in_one_piece(quick: None) -> None:
    """Else a terminal may show the moment in which all is erased: it flickers."""
    stream = Terminal()
    screen = Console(stream)
    with screen.task("one"), screen.task("two"):
        wait_for(lambda: len(stream.writes) > 5)
        screen.say("hello")
    assert all(re.fullmatch(r"(\r\x1b\[\d+A\x1b\[J)?([^\n\x1b]*\n)*", text) for text in stream.writes)
    assert not [text for text in stream.writes[2:5] if text.count("\n") != 2]


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Console(stream).task("one"):
        wait_for(lambda: "one  0 s\n" in stream.getvalue())
    assert "\x1b" not in stream.getvalue()


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


def test_what_was_not_heard_is_done_too(clock: Callable) -> None:
    task = Task("predict", 12, "images")
    task.update(9, note="plain test")
    task.complete()
    assert task.closing() == "predict  12/12 images  took 0 s  plain test"
    sweep = Task("sweep", None, "")
    sweep.complete()
    assert sweep.closing() == "sweep  took 0 s"


def test_paths_are_told_as_one_types_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert here(tmp_path / "runs" / "a") == "runs/a" and here(Path("runs/a")) == "runs/a"
    assert here(tmp_path.parent / "other") == str(tmp_path.parent / "other")


def test_waiting_is_no_part_of_the_time_that_a_task_took(clock: Callable) -> None:
    task = Task("train", 0, "steps", waits=True)
    clock(300)
    assert task.line() == "train  waiting"
    task.update(0, note="loading")
    clock(20)
    task.update(8, 8)
    assert task.closing() == "train  8/8 steps  took 20 s"


def test_a_task_that_never_began_leaves_no_line(clock: Callable) -> None:
    stream = io.StringIO()
    with Console(stream).task("train", 0, "steps", waits=True):
        clock(300)
    assert stream.getvalue() == ""


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
