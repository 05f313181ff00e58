"""The documentation as a site: every page has its place, and a strict build passes."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = DOCS / "site" / "mkdocs.yml"
OF_EXAMPLES = ("examples/",)
"""Folders of whole projects, whose pages are read where they lie."""


def pages_in(nav: Any) -> Iterator[str]:
    """Yield the pages that a navigation names, in order."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for below in nav.values():
            yield from pages_in(below)
    else:
        for entry in nav:
            yield from pages_in(entry)


def test_every_page_has_one_place() -> None:
    named = list(pages_in(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"]))
    there = [page.relative_to(DOCS).as_posix() for page in sorted(DOCS.rglob("*.md"))]
    assert sorted(named) == [page for page in there if not page.startswith(OF_EXAMPLES)]
    assert len(named) > 20


def test_every_page_begins_with_its_title() -> None:
    for page in sorted(DOCS.rglob("*.md")):
        assert page.read_text(encoding="utf-8").startswith("# "), page


def test_strict_build(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed; `uv sync` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(CONFIG), "-d", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in front and "how-to/own-coco-data/" in front
    assert not list((tmp_path / "site").rglob("make_*.py")) and not (tmp_path / "site" / "site").exists()
