"""Make the captures of docs/reference/terminal.md anew: each is what a terminal showed of the commands in it.

    python docs/make_captures.py

Works the console blocks of the page off from top to bottom in a new folder, which holds the page's TOML block as
toy.toml, in a pseudo-terminal of the size that the block's title says. The trainings take some minutes on two cores.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "terminal.md"
HOME = "~/toy"
"""What stands on the page for the folder in which the commands ran."""
ROWS = 50

BLOCK = re.compile(r'^```console title="(.*?)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
PROFILE = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WORDS = re.compile(r"(\d+) columns(?:, at the end|, after (\d+) seconds|, Ctrl-C after (\d+) seconds)?")
CODE = "echo $?"


@dataclass
class Screen:
    """What a terminal of so many columns shows of a program that wraps, goes back, and erases upwards."""

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0

    def feed(self, text: str) -> None:
        """Show more of what the program has written."""
        for erase, up, character in re.findall(r"\x1b\[(?:(J)|(\d+)A|[\d;?]*[a-zA-Z])|([^\x1b])", text):
            if erase:
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
            elif up:
                self.row = max(self.row - int(up), 0)
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._down()
            elif character:
                self._put(character)

    def _down(self) -> None:
        self.row += 1
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _put(self, character: str) -> None:
        if self.column == self.columns:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def text(self) -> str:
        """Return the lines, without what is blank at their ends."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n") + "\n"


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the title and the text of every capture on a page."""
    return BLOCK.findall(page)


def commands(text: str) -> list[str]:
    """Return the commands in a capture."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def capture(title: str, words: Sequence[str], folder: Path) -> list[str]:
    """Run commands in a folder; return what the terminal shows, before that at each moment of which a title tells.

    Of "80 columns, after 5 seconds" there are two texts, then and at the end.
    """
    found = WORDS.fullmatch(title)
    if found is None:
        raise SystemExit(f"{PAGE.name}: no way to take a capture '{title}'")
    columns, moment, press = (None if group is None else int(group) for group in found.groups())
    screen, taken, code = Screen(columns or 80), [], 0
    for command in words:
        prompt = f"$ {command}"
        if len(prompt) > screen.columns:
            raise SystemExit(f"{PAGE.name}: a command of more than {screen.columns} columns: {command}")
        screen.feed(f"\r\n{prompt}\r\n" if screen.column else f"{prompt}\r\n")
        if command == CODE:
            screen.feed(f"{code}\r\n")
        else:
            code = _run(command, screen, folder, taken, moment, press)
    return [*taken, screen.text()]


def _run(command: str, screen: Screen, folder: Path, taken: list[str], moment: int | None, press: int | None) -> int:
    """Run a command on a screen; return its exit code. `taken` gets what is shown at a moment [s]."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the children of a job in the background would ignore Ctrl-C
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, screen.columns, 0, 0))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.execve("/bin/sh", ["sh", "-c", command], {**os.environ, "PATH": path, "TERM": "xterm-256color"})
    started = time.monotonic()
    while True:
        try:
            if select.select([terminal], [], [], 0.1)[0]:
                # a line comes in one piece; what follows a machine's own path must wrap as it would after another
                screen.feed(os.read(terminal, 2**16).decode(errors="replace").replace(str(folder), HOME))
        except OSError:  # the other end is closed
            break
        now = time.monotonic() - started
        if moment is not None and now >= moment:
            taken.append(screen.text())
            moment = None
        if press is not None and now >= press:
            os.write(terminal, b"\x03")
            press = None
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status if status >= 0 else 128 - status  # as a shell tells of a signal


def page(text: str, folder: Path) -> str:
    """Return the page with all captures taken anew in a folder."""
    (folder / "toy.toml").write_text(PROFILE.findall(text)[0], encoding="utf-8")
    left = blocks(text)
    made: list[str] = []
    while left:
        (title, shown), *left = left
        print(f"{title}: {'; '.join(commands(shown))}", flush=True)
        texts = capture(title, commands(shown), folder)
        if len(texts) > 1:  # the next capture is the end of this one
            left = left[1:]
        made += texts
    captures = iter(made)
    return BLOCK.sub(lambda block: f'```console title="{block[1]}"\n{next(captures)}```', text)


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        made = page(PAGE.read_text(encoding="utf-8"), Path(folder).resolve())
    PAGE.write_text(made, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
