"""The command line as a user meets it: lazy verbs, one-line errors, and the `plugins` verb."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from pydantic import BaseModel, Field

from fineseg import FinesegError, Options, __version__
from fineseg.cli import main as main_module
from fineseg.cli.main import VERBS, cli, main
from fineseg.cli.plugins import OptionRow, option_rows
from fineseg.errors import ProfileError

HEAVY = ("torch", "mmdet", "mmcv", "mmengine", "ray", "cv2", "matplotlib", "pyarrow")

MEAN = """
class MeanOptions(Options):
    power: float = Field(1.0, gt=0, le=4, description="exponent of [each] score")
    box: Literal["mean", "best"] = "best"

@hookimpl
def fineseg_ensemblers():
    yield Ensembler("a-mean", "averages [scores]", MeanOptions, build=print)

@hookimpl
def fineseg_heads():
    yield Head("a-mean", "a head of that name", NoOptions, build=print, recipe_version=3)
"""
ROWS = [
    {"kind": "ensembler", "name": "a-mean", "plugin": "mean", "version": "1.0", "summary": "averages [scores]"},
    {"kind": "head", "name": "a-mean", "plugin": "mean", "version": "1.0", "summary": "a head of that name"},
]


def call(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, where importing anything heavy is an error."""
    for name in HEAVY:
        (site / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    path = os.pathsep.join([str(site), *sys.path])
    code = "import sys; from fineseg.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)


def exit_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


# ------------------------------------------------------------------ the group


def test_help_names_every_verb_and_imports_nothing_heavy(site: Any) -> None:
    done = call(site.folder, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in done.stdout
        assert line in done.stdout


def test_listing_plugins_imports_nothing_heavy(site: Any) -> None:
    site.install("mean", MEAN)
    site.install("heavy", "import torch")
    done = call(site.folder, "plugins", "list", "--json")
    assert done.returncode == 0
    assert [row for row in json.loads(done.stdout) if row["name"] == "a-mean"] == ROWS
    # The heavy stranger shows that an import would have been noticed, and that it stays that plugin's own affair.
    assert done.stderr == "warning: plugin 'heavy' (heavy 1.0) is broken: RuntimeError: torch was imported\n"


def test_help_does_not_import_verbs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main_module, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    assert exit_of("--help") == 0
    assert exit_of() == 0
    first, second = capsys.readouterr().out.split("Usage: ")[1:]
    assert first == second


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--version") == 0
    assert capsys.readouterr().out == f"fineseg {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_opens(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(verb, "--help") == 0
    assert f"Usage: fineseg {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["plugns"], "error: no such command 'plugns'. Did you mean 'plugins'?; see 'fineseg --help'"),
        (["--vrsion"], "error: no such option '--vrsion'. Did you mean '--version'?; see 'fineseg --help'"),
        (["plugins", "show"], "error: missing argument 'NAME'; see 'fineseg plugins show --help'"),
    ],
)
def test_usage_error_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == f"{line}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (FinesegError("a.toml: no such file"), 1, "error: a.toml: no such file\n"),
        (ProfileError(["a: wrong", "b: wrong"]), 1, "error: a: wrong\nerror: b: wrong\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 1, "error: /a/b: Permission denied\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: No space left on device; free some space, then the same command continues\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted: the same command continues\n"),
    ],
)
def test_errors(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _break(monkeypatch, error)
    monkeypatch.setattr(os, "_exit", sys.exit)  # how an interrupted command ends
    assert exit_of("broken") == status
    assert capsys.readouterr().err == text


def test_what_fails_because_of_ctrl_c_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("a lock that is gone")
    error.__context__ = KeyboardInterrupt()
    _break(monkeypatch, error)
    monkeypatch.setattr(os, "_exit", sys.exit)
    assert exit_of("broken") == 130
    assert capsys.readouterr().err == "interrupted: the same command continues\n"


@pytest.mark.parametrize("error", [ValueError("bug"), EOFError("short file"), OSError("odd"), BrokenPipeError(32, "x")])
def test_faults_of_the_program_keep_their_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        main(["broken"])
    assert caught.value is error


def _break(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Add a verb `broken` that raises."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setitem(VERBS, "broken", ("nowhere:command", ""))
    monkeypatch.setitem(cli.commands, "broken", click.Command("broken"))
    monkeypatch.setattr(main_module, "import_module", lambda name: type("Module", (), {"command": command}))


def test_reader_that_leaves_early_is_no_error(site: Any) -> None:
    site.install("mean", MEAN.replace("averages", "a" * 200_000))
    code = "from fineseg.cli.main import main; main(['plugins', 'list'])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site.folder), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 1


# ---------------------------------------------------------------- plugins list


def test_list_as_plain_text(only_site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only_site.install("mean", MEAN)
    assert exit_of("plugins", "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "kind       name    plugin  version  summary",
        "ensembler  a-mean  mean    1.0      averages [scores]",
        "head       a-mean  mean    1.0      a head of that name",
    ]


def test_list_as_a_table_on_a_terminal(
    only_site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_site.install("mean", MEAN)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert exit_of("plugins", "list") == 0
    drawn = capsys.readouterr().out
    assert "averages [scores]" in drawn  # brackets are text, not rich's markup
    assert "│" in drawn


def test_clash_is_an_error_line_each(only_site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only_site.install("mean", MEAN)
    only_site.install("other", MEAN)
    assert exit_of("plugins", "list") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") and "mean (mean 1.0) and other (other 1.0)" in line for line in lines)


# ---------------------------------------------------------------- plugins show


def test_show_prints_every_kind_of_that_name(only_site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only_site.install("mean", MEAN)
    assert exit_of("plugins", "show", "a-mean") == 0
    assert capsys.readouterr().out.splitlines() == [
        "head 'a-mean': a head of that name",
        "provided by mean (mean 1.0), recipe version 3",
        "no options",
        "",
        "ensembler 'a-mean': averages [scores]",
        "provided by mean (mean 1.0), recipe version 1",
        "option  type             default  range      description",
        "power   float            1.0      > 0, <= 4  exponent of [each] score",
        'box     "mean" | "best"  "best"',
        "",
    ]


def test_show_of_an_unknown_name(only_site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only_site.install("mean", MEAN)
    assert exit_of("plugins", "show", "a-maen") == 1
    assert capsys.readouterr().err == "error: unknown part 'a-maen'; did you mean 'a-mean'?; choices: a-mean\n"


class Inner(BaseModel):
    depth: int = Field(2, ge=1, multiple_of=2)
    label: str


class Rich(Options):
    sizes: tuple[int, ...] = (1, 2)
    scale: tuple[int, int] | None = None
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    seed: int | str = Field("time", alias="random-seed")
    name: str = Field(min_length=2, pattern="^[a-z]+$")
    mode: Literal["a", 3] = "a"
    inner: Inner = Inner(depth=4, label="x")
    extra: Inner | None = Field(None, description="a second\n  table")
    path: Path = Path("a/b")
    flag: bool = True


def test_options_are_described_in_the_words_of_toml() -> None:
    assert option_rows(Rich) == [
        OptionRow("sizes", "array of integer", "[1, 2]", "", ""),
        OptionRow("scale", "[integer, integer]", "not set", "", ""),
        OptionRow("rates", "table of float >= 0", "{}", "", ""),
        OptionRow("random-seed", "integer | string", '"time"', "", ""),
        OptionRow("name", "string", "required", "at least 2 long, matches ^[a-z]+$", ""),
        OptionRow("mode", '"a" | 3', '"a"', "", ""),
        OptionRow("inner.depth", "integer", "4", ">= 1, multiple of 2", ""),
        OptionRow("inner.label", "string", '"x"', "", ""),
        OptionRow("extra", "table", "not set", "", "a second table"),
        OptionRow("extra.depth", "integer", "2", ">= 1, multiple of 2", ""),
        OptionRow("extra.label", "string", "required", "", ""),
        OptionRow("path", "path", '"a/b"', "", ""),
        OptionRow("flag", "boolean", "true", "", ""),
    ]


# ------------------------------------------------------------------------ check

FAULTY = """
class FaultyOptions(Options):
    power: float = 1.0

def build(options, scores):
    def merge(members):
        return 1 / 0
    return merge

@hookimpl
def fineseg_ensemblers():
    yield Ensembler("faulty", "divides", FaultyOptions, build=build)
    yield Ensembler("sound", "the first model's", NoOptions, build=lambda options, scores: lambda members: members[0])
"""


@pytest.fixture
def faulty(only_site: Any) -> None:
    only_site.install("toys", FAULTY)


def test_check_passes_a_sound_part(faulty: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("fineseg.testing.conformance._module_of", lambda entry: "json")
    assert exit_of("plugins", "check", "sound") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ensembler 'sound' of toys (toys 1.0)"
    assert lines[1] == "  passed  name is lower case with hyphens, summary is one short line"
    assert lines[-2] == "11 passed, 0 failed, 0 skipped"


def test_check_says_what_fails_of_all_parts_of_a_plugin(
    faulty: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("fineseg.testing.conformance._module_of", lambda entry: "json")
    assert exit_of("plugins", "check", "toys") == 1
    out, err = capsys.readouterr()
    assert err == "error: ensembler 'faulty': 4 passed, 7 failed, 0 skipped\n"
    assert "  failed  every option has a description: no description: power" in out.splitlines()
    assert "  failed  an image of one pixel is merged: ZeroDivisionError: division by zero" in out.splitlines()
    assert "11 passed, 0 failed, 0 skipped" in out.splitlines()


def test_check_shows_tracebacks_to_authors(faulty: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("fineseg.testing.conformance._module_of", lambda entry: "json")
    monkeypatch.setenv("FINESEG_TRACE_PLUGINS", "1")
    assert exit_of("plugins", "check", "faulty") == 1
    assert "return 1 / 0" in capsys.readouterr().err


def test_check_of_an_unknown_name(faulty: None, capsys: Any) -> None:
    assert exit_of("plugins", "check", "fauly") == 1
    assert "unknown part 'fauly'; did you mean 'faulty'?" in capsys.readouterr().err
    assert exit_of("plugins", "check", "sound", "--kind", "tta") == 1
    assert "unknown tta 'sound', which is a name of kind ensembler" in capsys.readouterr().err
