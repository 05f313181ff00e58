"""The documentation says what is true: the generated page is current, hooks have their signatures, examples work."""

import ast
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest

import fineseg
from fineseg import hookspecs
from fineseg.catalog import Catalog, load_catalog
from fineseg.cli.main import PROGRAM, main
from fineseg.parts import KINDS, Ensembler
from fineseg.profile.check import check_tables
from fineseg.profile.layers import merge
from fineseg.profile.schema import Profile

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
HOOKS_PAGE = ROOT / "docs" / "reference" / "hooks.md"
LAYERS = ("demo", "variants")

BASE = """
competition.name = "base"
data.dataset = "coco-instance"
train = { epochs = 1, lr = 0.01, batch = 2 }
models.a = { backbone = "resnet", neck = "fpn", head = "mask-rcnn" }
"""
"""What a fragment of a profile in the documentation is laid over."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(warn=lambda _: None)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the code blocks of a language on a page."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ----------------------------------------------------------- generated page


def test_generated_page_is_current(generator: ModuleType) -> None:
    made = generator.page()
    assert generator.PAGE.read_text(encoding="utf-8") == made, "run `python docs/make_reference.py`"


def test_generated_page_names_everything(generator: ModuleType, catalog: Catalog) -> None:
    made = generator.page()
    for name in Profile.model_fields:
        assert f"### `[{name}" in made
    for entry in generator.first_party():
        assert f"### {entry.part.kind} `{entry.part.name}`" in made
        for key in entry.part.options.model_fields:
            assert re.search(rf"^\| `{key}[.`]", made, re.MULTILINE), f"{entry.part.name}: {key}"
    assert {entry.part.kind for entry in generator.first_party()} == {kind.kind for kind in KINDS}


# -------------------------------------------------------------------- hooks


def signatures() -> dict[str, str]:
    """Return hook -> its signature as hookspecs.py writes it."""
    tree = ast.parse(Path(str(hookspecs.__file__)).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    return {node.name: f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}" for node in found}  # type: ignore[arg-type]


def test_every_hook_is_documented_with_its_signature() -> None:
    page = HOOKS_PAGE.read_text(encoding="utf-8")
    found = signatures()
    assert found.keys() == set(hookspecs.HOOK_OF_KIND.values())
    for hook, signature in found.items():
        assert f"`{signature}`" in page, f"{hook}: {signature}"
    assert set(re.findall(r"`(fineseg_\w+)\(", page)) == found.keys()


def test_every_record_is_documented_with_its_fields() -> None:
    page = HOOKS_PAGE.read_text(encoding="utf-8").replace("\\|", "|")
    tree = ast.parse((ROOT / "core" / "fineseg" / "parts.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for kind in KINDS:
        fields = [node for node in classes[kind.__name__].body if isinstance(node, ast.AnnAssign)]
        assert fields and f"`{kind.__name__}`" in page
        for node in fields:
            field = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
            assert f"`{field}`" in page, f"{kind.__name__}: {field}"


def test_example_plugin_works() -> None:
    (code,) = blocks(HOOKS_PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile(code, HOOKS_PAGE.name, "exec"), names)
    (part,) = names["fineseg_ensemblers"]()
    assert isinstance(part, Ensembler)
    merge_one = part.build(part.options(keep=1), [fineseg.ModelScore("a", 10, ()), fineseg.ModelScore("b", 20, ())])
    boxes = [[0, 0, 4, 4], [1, 1, 5, 5]]
    members = [fineseg.make_instances(7, (8, 8), [0, 0], scores, boxes, [b"", b""]) for scores in ([1, 1], [0.2, 0.6])]
    np.testing.assert_allclose(merge_one(members).scores, [0.6])


# ----------------------------------------------------------------- examples


def profile_blocks() -> list[Any]:
    """Return every TOML block that is a profile or a fragment of one."""
    found = []
    for page in PAGES:
        for number, block in enumerate(blocks(page, "toml"), start=1):
            tables = tomllib.loads(block)  # any other block must at least be TOML
            if tables.keys() <= {*Profile.model_fields, *LAYERS, "extends"}:
                found.append(pytest.param(tables, id=f"{named(page)} {number}"))
    return found


def test_documentation_has_profiles() -> None:
    full = [tables.values[0] for tables in profile_blocks() if "competition" in tables.values[0]]
    assert len(full) >= 2


@pytest.mark.parametrize("tables", profile_blocks())
def test_profile_checks(tables: Mapping[str, Any], catalog: Catalog) -> None:
    below = {} if "competition" in tables else tomllib.loads(BASE)
    layers = [tables.get("demo", {}), *tables.get("variants", {}).values()]
    whole = merge(below, {name: table for name, table in tables.items() if name not in (*LAYERS, "extends")})
    if "best-of" in str(whole):  # the example plugin, which is not installed
        whole.pop("combine")
    for layer in [{}, *layers]:
        check_tables(merge(whole, layer), catalog, Path("docs"))


def command_lines() -> list[Any]:
    """Return every `fineseg ...` command of a shell block; a backslash goes on with the next line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
        shells = [block for language in ("sh", "bash", "console") for block in blocks(page, language)]
        lines = [line for block in shells for line in re.sub(r"\\\n\s*", "", block).splitlines()] + indented
        for line in lines:
            command = re.search(rf"(?:^|^\$ |uv run ){PROGRAM} (.*)", line)
            if command:
                words = shlex.split(command[1], comments=True)
                found.append(pytest.param(words, id=f"{named(page)}: {' '.join(words)}"))
    return found


@pytest.mark.parametrize("words", command_lines())
def test_command_line_is_understood(words: list[str], generator: ModuleType) -> None:
    if words == ["--help"]:
        return
    known = {tuple(path): command for path, command in generator.commands()}
    path = next(path for path in known if tuple(words[: len(path)]) == path)
    rest = words[len(path) :]
    known[path].make_context(path[-1], list(rest))  # raises click.UsageError
    for word in rest:
        if word.startswith("competitions/"):
            assert (ROOT / word).is_file()


def inline_commands() -> list[Any]:
    """Return every `fineseg ...` within a line, where arguments may be left out or stand in capitals."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for command in re.findall(rf"`{PROGRAM}\s([^`]*)`", text):
            words = shlex.split(command)
            found.append(pytest.param(words, id=f"{named(page)}: {' '.join(words)}"))
    return found


def inline_fault(words: list[str], generator: ModuleType) -> str:
    """Return which verb, subcommand or option of a command there is not."""
    known = {tuple(path): command for path, command in generator.commands()}
    path = next((path for path in known if tuple(words[: len(path)]) == path), None)
    if path is None:
        return " ".join(words[:2])
    options = {each for parameter in known[path].params for each in parameter.opts}
    wrong = [word for word in words[len(path) :] if word.startswith("-") and word not in {*options, "--help"}]
    return " ".join(wrong)


@pytest.mark.parametrize("words", inline_commands())
def test_inline_command_is_understood(words: list[str], generator: ModuleType) -> None:
    assert words == ["--help"] or not inline_fault(words, generator)


def test_wrong_inline_command_is_noticed(generator: ModuleType) -> None:
    assert len(inline_commands()) > 40
    assert inline_fault(["plugins", "panoptic-fuser"], generator) == "plugins panoptic-fuser"
    assert inline_fault(["runs", "PROFILE"], generator) == "runs PROFILE"
    assert inline_fault(["new", "PROFILE", "--boxes"], generator) == "--boxes"


INSTALLED = {entry.part.name for entry in load_catalog(warn=lambda _: None).entries}


def cheap(words: list[str]) -> bool:
    """Say whether a command needs nothing but the project and a second or two; parts of examples are not installed."""
    checks = words[0] == "check" and words[1].startswith("competitions/") and "--data" not in words
    shows = words[:2] == ["plugins", "list"] or (words[:2] == ["plugins", "show"] and words[2] in INSTALLED)
    return checks or shows or words[-1] == "--help"


@pytest.mark.parametrize("words", [each for each in command_lines() if cheap(each.values[0])])
def test_cheap_command_line_runs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as caught:
        main(words)
    printed = capsys.readouterr()
    assert not caught.value.code and printed.out, printed.err


def test_there_are_cheap_command_lines() -> None:
    verbs = {each.values[0][0] for each in command_lines() if cheap(each.values[0])}
    assert verbs >= {"check", "plugins", "--help"}


def test_wrong_command_line_is_noticed(generator: ModuleType) -> None:
    command = dict((path[0], command) for path, command in generator.commands())["run"]
    with pytest.raises(click.UsageError):
        command.make_context("run", ["profile.toml", "--tta"])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target


# ------------------------------------------------------------------- set-up


def test_pip_route_installs_the_project_and_the_tested_versions() -> None:
    page = (ROOT / "docs" / "how-to" / "gpu-and-pip-set-up.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = " ".join(line for line in page.splitlines() if line.startswith("pip install"))
    assert {".", "./plugins/*"} <= set(shlex.split(installed))  # with all that they depend on
    headless = next(each for each in project["project"]["dependencies"] if "opencv" in each)
    assert headless in shlex.split(installed)
    for pin in project["tool"]["uv"]["constraint-dependencies"]:
        name, _, version = pin.partition("==")
        found = re.findall(rf"{name}(?:\[[\w,]+\])?==([\d.]+)", page)
        assert found and set(found) == {version}, pin


def test_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (pip .*)$", text, re.MULTILINE)
    assert commands == [
        "pip install uv && uv run fineseg run competitions/3dfuture.toml --demo",
        "pip install uv && uv run pytest",
    ]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install --quiet uv && uv run pytest" in script
