"""`plugins new` for every kind, and the tutorial's plugin: built, installed beside fineseg, and tested there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fineseg import FinesegError
from fineseg.cli.main import main
from fineseg.hookspecs import HOOK_OF_KIND
from fineseg.profile.layers import merge
from fineseg.scaffold import project_files, write_project

ROOT = Path(__file__).parents[2]
STRANGER = ROOT / "docs" / "examples" / "fineseg-agreement"
PATIENCE = 500
"""Seconds for one process, less than pytest gives a test."""
OWN_LINES = 30
"""Lines of its author's own that a loss, an ensembler or a TTA may take."""

BUILD = """
import os, sys
from setuptools.build_meta import build_wheel
os.chdir(sys.argv[1])
build_wheel(sys.argv[2])
"""
CHECK_PROFILES = """
import json, sys
from pathlib import Path
from fineseg.catalog import load_catalog
from fineseg.profile.check import check_tables
from fineseg.profile.layers import merge

def refuse(line):
    raise SystemExit(line)

catalog = load_catalog(warn=refuse)
for name, (below, tables) in json.load(sys.stdin).items():
    check_tables(merge(below, tables), catalog, Path("."))
    print(name)
"""
BASE = """
competition.name = "base"
data.dataset = "showroom"
data.train = "train"
data.validation = "val"
train = { epochs = 1, lr = 0.01, batch = 2 }
models.a = { backbone = "resnet", neck = "fpn", head = "mask-rcnn" }
"""
PANOPTIC = """
competition.task = "panoptic"
data.dataset = "showroom-panoptic"
models.a.head = "e-ups"
"""


@dataclass(frozen=True)
class Place:
    """An environment beside fineseg's own, and the projects that are installed in it, by name."""

    python: Path
    projects: Mapping[str, Path]

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python there, in a folder that holds nothing of fineseg."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.python.parents[2],
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Place:
    """Write a project of every kind with the command line, build all, and install them without their dependencies."""
    folder = tmp_path_factory.mktemp("plugins")
    monkeypatch_module.chdir(folder)
    for kind in HOOK_OF_KIND:
        with pytest.raises(SystemExit) as left:
            main(["plugins", "new", f"my-{kind}", "--kind", kind])
        assert left.value.code == 0
    projects = {kind: folder / f"fineseg-my-{kind}" for kind in HOOK_OF_KIND}
    projects["stranger"] = Path(shutil.copytree(STRANGER, folder / STRANGER.name))
    python = environment_beside(folder / "environment")
    site = next((folder / "environment").glob("lib/python*/site-packages"))
    for name, project in projects.items():
        wheels = folder / "wheels" / name
        command = [sys.executable, "-c", BUILD, str(project), str(wheels)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr[-2000:]
        (wheel,) = wheels.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(site)  # all there is to installing a wheel without scripts
    return Place(python, projects)


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        yield patch  # type: ignore[misc]


def environment_beside(folder: Path) -> Path:
    """Make an environment that sees everything of this one, and return its Python."""
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in shared]
    (site / "beside.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin" / "python"


def test_all_are_listed(place: Place) -> None:
    done = place.run("-m", "fineseg", "plugins", "list", "--json")
    assert done.stderr == ""
    rows = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}
    for kind in HOOK_OF_KIND:
        row = rows[kind, f"my-{kind}"]
        assert (row["plugin"], row["version"]) == (f"my-{kind}", "0.1.0")
    assert {("ensembler", "agreement"), ("dataset", "id-maps")} <= rows.keys()


def test_their_own_tests_pass(place: Place) -> None:
    folders = [str(project / "tests") for project in place.projects.values()]
    done = place.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-rs", *folders)
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout.splitlines()[-1])
    assert passed is not None and int(passed[1]) > 80
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED")} <= {
        "it scores no pixels",
        "it offers no slot for a loss",
        "it does not serve the slot 'semantic'",
    }


def test_their_profiles_check(place: Place) -> None:
    """What each README shows of a profile is laid over a small one, and is fit to run."""
    given = {}
    for name, project in place.projects.items():
        blocks = re.findall(r"^```toml\n(.*?)^```$", (project / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        assert len(blocks) == (0 if name == "stranger" else 1)
        below = merge(tomllib.loads(BASE), tomllib.loads(PANOPTIC if name == "panoptic-fuser" else ""))
        for block in blocks:
            given[name] = (below, tomllib.loads(block))
    given["stranger"] = ({}, tomllib.loads((STRANGER / "rooms.toml").read_text()))
    done = place.run("-c", CHECK_PROFILES, given=json.dumps(given))
    assert done.stdout.split() == list(given), done.stderr[-2000:]


def test_checks_run_from_the_command_line(place: Place) -> None:
    done = place.run("-m", "fineseg", "plugins", "check", "fineseg-agreement")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "ensembler 'agreement' of agreement (fineseg-agreement 0.1.0)"
    assert "dataset 'id-maps' of agreement (fineseg-agreement 0.1.0)" in lines
    assert "  passed  random predictions of one to four models merge into sound instances" in lines
    assert [line for line in lines if line.endswith(" skipped")] == [
        "11 passed, 0 failed, 0 skipped",
        "5 passed, 0 failed, 3 skipped",  # its data are the test's own
    ]


@pytest.mark.parametrize("kind", ["ensembler", "tta", "task-balancer", "loss"])
def test_little_is_left_to_write(kind: str) -> None:
    page = next(text for place, text in project_files("mine", kind).items() if place.endswith("plugin.py"))
    code = page.partition('"""\n\n')[2].splitlines()
    assert len([line for line in code if line.strip()]) <= OWN_LINES


# ------------------------------------------------------------------ what is refused


def said_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["plugins", "new", *arguments])
    assert left.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["Mine", "my part", "-mine", "mine-", "my--part", "1st", "a/b", "x" * 41, "é"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(FinesegError, match="a part's name is words of a-z and 0-9 with '-' between"):
        project_files(name, "tta")


def test_prefix_is_not_given_twice() -> None:
    with pytest.raises(FinesegError, match="'fineseg-mine': say 'mine'; its distribution is called fineseg-mine then"):
        project_files("fineseg-mine", "tta")


def test_name_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = said_of(capsys, "flip", "--kind", "tta", "--out", str(tmp_path / "mine"))
    assert said.startswith("error: tta 'flip' is provided by fusion (fineseg-fusion ")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("name", ["datasets", "e-ups", "mine"])
def test_distribution_that_is_installed(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "site" / "Fineseg_Mine-2.0.dist-info"
    stranger.mkdir(parents=True)
    (stranger / "METADATA").write_text("Metadata-Version: 2.1\nName: Fineseg_Mine\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    said = said_of(capsys, name, "--kind", "dataset", "--out", str(tmp_path / "mine"))
    assert re.fullmatch(f"error: '{name}': fineseg-{name} [0-9.]+ is installed already; choose another name\n", said)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("made", ["folder", "file", "link"])
def test_what_stands_there_stays(made: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    there = tmp_path / "mine"
    {"folder": there.mkdir, "file": there.touch, "link": lambda: there.symlink_to("nowhere")}[made]()
    said = said_of(capsys, "mine", "--kind", "tta", "--out", str(there))
    assert said == f"error: {there}: exists; name another folder with --out, or take it away\n"
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_all_files_or_none(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_project(tmp_path / "mine", {"a.py": "a = 1\n", "b.py": "\udc80"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["import", "class", "fineseg", "test", "plugin"])
@pytest.mark.parametrize("kind", HOOK_OF_KIND)
def test_every_file_compiles_under_any_name(kind: str, name: str) -> None:
    files = project_files(name, kind)
    assert f"fineseg_{name}/plugin.py" in files
    assert tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]["fineseg"] == {
        name: f"fineseg_{name}.plugin"
    }
    for place, text in files.items():
        assert "{{" not in text and "{%" not in text
        if place.endswith(".py"):
            compile(text, place, "exec")
