"""Commands as a user calls them, on a machine that is always the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg.cli.main import main
from fineseg.proposal.measure import Machine

Answer = tuple[int, str, str]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Return a function that runs a command in an empty folder, on a laptop without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fineseg.console.MOMENT", 1e6)
    monkeypatch.setattr("fineseg.console.PLAIN_INTERVAL", 1e6)
    monkeypatch.setattr("fineseg.proposal.surroundings.this_machine", lambda: Machine(cores=2, memory=20.0))
    monkeypatch.setattr("fineseg.proposal.surroundings.answers", lambda address: False)

    def run(*words: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(words)
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run
