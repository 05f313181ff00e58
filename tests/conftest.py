"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the project; a test that asks for it is skipped, with this reason, elsewhere."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data beside the project (../shared/data)")
    return SHARED_DATA
