"""Every fault of the table through the command line: its lines to the letter, exit code 1, and nothing lost or left."""

import hashlib
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path

import pytest
from faults import rows_data, rows_own, rows_profile, rows_results, rows_work
from faults.place import Row, build

from fineseg.cli.main import VERBS, main


def messages(file: Path) -> dict[str, list[str]]:
    """Read what is said, by row: `# name`, the command, and the lines."""
    blocks = file.read_text(encoding="utf-8").removeprefix("# ").split("\n\n# ")
    return {block.splitlines()[0]: block.splitlines()[2:] for block in blocks}


ROWS: list[Row] = rows_data.ROWS + rows_profile.ROWS + rows_results.ROWS + rows_work.ROWS + rows_own.ROWS
MESSAGES = messages(Path(__file__).parent / "messages.txt")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sound folder; each row has a copy of its own."""
    folder = tmp_path_factory.mktemp("sound")
    build(folder)
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of the sound folder, the working folder, whose `site` is on the import path."""
    folder = tmp_path / "place"
    shutil.copytree(sound, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder / "site"))
    monkeypatch.setattr("fineseg.console.MOMENT", 1e6)
    monkeypatch.setattr("fineseg.console.PLAIN_INTERVAL", 1e6)
    monkeypatch.setenv("COLUMNS", "80")
    yield folder
    sys.modules.pop("mine_plugin", None)


def call(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(command))
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


def test_messages_are_those_of_the_rows() -> None:
    assert list(MESSAGES) == [row.name for row in ROWS]
    assert len(ROWS) > 150 and {row.command.split()[0] for row in ROWS} > set(VERBS) - {"doctor"}


def told(text: str, place: Path) -> list[str]:
    """Return lines with marks for what differs from run to run."""
    process = f"process {os.getpid()} on {socket.gethostname()} "
    text = text.replace(str(place), "<here>").replace(process, "process <id> on <host> ")
    text = re.sub(r"(?<=/)[0-9a-f]{16}\b", "<key>", text)
    return re.sub(r"(choices|known): [\w-]+(, [\w-]+){5,}", r"\1: <names>", text).splitlines()


def tree(folder: Path) -> dict[str, str]:
    """Return what lies below a folder: a hash of each file, an empty text for each folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    "command",
    [
        rows_data.CHECK,
        "data sizes g.json",
        rows_results.EVALUATE,
        rows_results.PANOPTIC,
        rows_results.ENSEMBLE,
        rows_results.FUSE,
        rows_results.TWO_LEVEL + " --class-table ft.json",
        rows_results.CLASS_TABLE,
        rows_results.SUBMISSION,
    ],
)
def test_the_folder_is_sound_before_it_is_spoilt(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(command, capsys)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fault(row: Row, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    held = row.make(place)
    row.patch(monkeypatch)
    with held or nullcontext():
        before = tree(place)
        code, out, err = call(row.command, capsys)
        after = tree(place)
    assert told(out + err, place) == MESSAGES[row.name]
    assert code == 1
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert [name for name in sorted(changed) if not any(fnmatch(name, glob) for glob in row.leaves)] == []
    assert before.keys() <= after.keys()
