"""The captures of the page on the terminal: how they are taken, and those that cost nothing are up to date."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_WORK = ("train.epoch=", "tyo.toml")
"""What is in the captures whose commands fail before they do anything."""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_captures", ROOT / "docs" / "make_captures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = load()
PAGE = maker.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", WITHOUT_WORK)
def test_failures_are_what_the_commands_print(words: str, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(maker.PROFILE.findall(PAGE)[0])
    (block,) = [block for block in maker.blocks(PAGE) if words in block[1]]
    (shown,) = maker.capture(block[0], maker.commands(block[1]), tmp_path)
    assert shown == block[1], "run `python docs/make_captures.py`"


def test_the_page_shows_every_verb_and_no_path_of_this_machine() -> None:
    text = "".join(shown for _, shown in maker.blocks(PAGE))
    assert {"run", "sweep", "ablate"} <= set(re.findall(r"^\$ fineseg (\w+)", text, re.MULTILINE))
    codes = set(re.findall(r"^\$ echo \$\?\n(\d+)$", text, re.MULTILINE))
    assert "1" in codes and codes <= set(re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE))
    assert str(Path.home()) not in text and "/tmp/" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_every_capture_tells_how_it_was_taken() -> None:
    for title, shown in maker.blocks(PAGE):
        assert maker.WORDS.fullmatch(title), title
        assert maker.commands(shown) and shown.startswith("$ "), shown


# ------------------------------------------------------------------- a terminal


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("abcdefghij", "abcdefghij\n"),
        ("abcdefghijk\r\nx", "abcdefghij\nk\nx\n"),
        ("abc\rx", "xbc\n"),
        ("stays\r\none\r\ntwo\r\n\r\x1b[2A\x1b[Jthree\r\n", "stays\nthree\n"),
        ("one\r\n^C\r\x1b[1A\x1b[Jinterrupted", "interrupte\nd\n"),
        ("\x1b[1;31mred\x1b[0m", "red\n"),
    ],
)
def test_screen(written: str, shown: str) -> None:
    screen = maker.Screen(10)
    screen.feed(written)
    assert screen.text() == shown


def test_a_command_sees_a_terminal_of_the_stated_width_and_its_exit_code_is_told(tmp_path: Path) -> None:
    words = ["tput cols; test -t 1 && echo terminal; pwd; exit 3", "echo $?"]
    (shown,) = maker.capture("60 columns", words, tmp_path)
    assert shown == f"$ {words[0]}\n60\nterminal\n{maker.HOME}\n$ echo $?\n3\n"


def test_moments_and_keys(tmp_path: Path) -> None:
    early, late = maker.capture("40 columns, after 1 seconds", ["echo one; sleep 1.5; echo two"], tmp_path)
    assert (early, late) == ("$ echo one; sleep 1.5; echo two\none\n", "$ echo one; sleep 1.5; echo two\none\ntwo\n")
    (shown,) = maker.capture("40 columns, Ctrl-C after 1 seconds", ["sleep 30", "echo $?"], tmp_path)
    assert shown == "$ sleep 30\n^C\n$ echo $?\n130\n"
