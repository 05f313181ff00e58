"""The project of a new plugin: a complete small distribution with one part that works, for its author to change.

Templates of a kind stand in a folder of its name; those beside them are of all kinds.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fineseg.errors import FinesegError
from fineseg.hookspecs import HOOK_OF_KIND
from fineseg.testing.kit import CONFORMANCE

TEMPLATES = Path(__file__).parent / "templates"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40
PROFILE = "profile.toml.jinja"
"""What the README shows of a profile."""


def project_files(name: str, kind: str) -> dict[str, str]:
    """Return path -> text of the project of a part of a kind. Raises `FinesegError` for a name that cannot be one."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise FinesegError(
            f"'{name}': a part's name is words of a-z and 0-9 with '-' between, a letter first, at most {LONGEST} long"
        )
    if name.startswith("fineseg-"):
        raise FinesegError(f"'{name}': say '{name.removeprefix('fineseg-')}'; its distribution is called {name} then")
    values = {
        "name": name,
        "kind": kind,
        "hook": HOOK_OF_KIND[kind],
        "conformance": CONFORMANCE[kind].__name__,
        "distribution": distribution_name(name),
        "package": distribution_name(name).replace("-", "_"),
        "function": name.replace("-", "_"),
        "title": "".join(word.capitalize() for word in name.split("-")),
    }
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES / kind, TEMPLATES]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    files = [file.name for folder in (TEMPLATES, TEMPLATES / kind) for file in sorted(folder.glob("*.jinja"))]
    return {
        _place(file.removesuffix(".jinja"), values): environment.get_template(file).render(values)
        for file in files
        if file != PROFILE
    }


def _place(file: str, values: Mapping[str, str]) -> str:
    """Return where a file goes in the project: modules into the package, the test beside it."""
    if file == "test.py":
        return f"tests/test_{values['function']}.py"
    return f"{values['package']}/{file}" if file.endswith(".py") else file


def distribution_name(name: str) -> str:
    """Return what the distribution of a part of this name is called."""
    return f"fineseg-{name}"


def write_project(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, by their path below a folder that does not exist yet: all of them or none.

    Raises `FinesegError` where something stands at its place.
    """
    if folder.exists() or folder.is_symlink():
        raise FinesegError(f"{folder}: exists; name another folder with --out, or take it away")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        beside.chmod(0o755)
        for place, text in files.items():
            file = beside / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
