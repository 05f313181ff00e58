"""A folder for hostile files, and the profile of a long look: `pytest tests/fuzz --hypothesis-profile long`."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("long", max_examples=20_000, derandomize=False, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder for all examples of a file: each overwrites the files of the one before."""
    return tmp_path_factory.mktemp("fuzz")
