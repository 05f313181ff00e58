"""What the tests of commands share."""

import pytest


@pytest.fixture
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a slow machine's progress lines off stderr, so that what a command says there can be compared whole."""
    monkeypatch.setattr("fineseg.console.MOMENT", 1e6)
    monkeypatch.setattr("fineseg.console.PLAIN_INTERVAL", 1e6)
