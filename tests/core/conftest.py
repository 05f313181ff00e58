"""Plugins as strangers would install them: a module and its distribution's metadata on the import path."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoints, distributions
from pathlib import Path

import pytest

PREAMBLE = """\
from typing import Literal
from pydantic import BaseModel, Field
from fineseg import Dataset, Ensembler, Head, NoOptions, Options, hookimpl
"""


@dataclass(frozen=True)
class Site:
    """A folder on the import path, like one that an installer fills."""

    folder: Path

    def install(self, distribution: str, code: str, *, version: str = "1.0", point: str = "", target: str = "") -> None:
        """Install a distribution whose one entry point in the group `fineseg` names a module with this code."""
        module = f"{distribution.replace('-', '_')}_plugin"
        (self.folder / f"{module}.py").write_text(PREAMBLE + code)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[fineseg]\n{point or distribution} = {target or module}\n")
        (info / "RECORD").write_text(f"{module}.py,,\n")

    def entry_points(self, *, group: str) -> EntryPoints:
        """Return the entry points of this folder alone, whatever else is installed."""
        found = (point for info in distributions(path=[str(self.folder)]) for point in info.entry_points)
        return EntryPoints(point for point in found if point.group == group)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty site folder; a subprocess sees it through PYTHONPATH."""
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)


@pytest.fixture
def only_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Put the site on this process's import path, as the only place where the catalog looks for plugins."""
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setattr("fineseg.catalog.entry_points", site.entry_points)
    monkeypatch.delenv("FINESEG_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("FINESEG_TRACE_PLUGINS", raising=False)
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site.folder)):
            del sys.modules[name]
