"""The toy catalog, and profiles written on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg.catalog import Catalog
from fineseg.profile import Loaded, load_profile


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return toy_catalog()


@pytest.fixture
def load(tmp_path: Path, catalog: Catalog) -> Callable[..., Loaded]:
    """Return a function that writes a profile (PROFILE and what is given) and loads it."""

    def write_and_load(more: str = "", *, base: str = PROFILE, **options: Any) -> Loaded:
        (tmp_path / "toy.toml").write_text(base + more)
        return load_profile(tmp_path / "toy.toml", catalog, **options)

    return write_and_load
