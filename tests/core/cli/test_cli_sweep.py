"""`fineseg sweep` before anything runs: what is refused, and how."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg import FinesegError
from fineseg.catalog import load_catalog
from fineseg.cli.main import main
from fineseg.cli.profile_options import given_budget
from fineseg.profile import load_profile
from fineseg.profile.budget import Budget

ROOT = Path(__file__).parents[3]
CATALOG = load_catalog(warn=print)
MICRO = ROOT / "tests" / "integration" / "micro.toml"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs the command, which must fail, and returns what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["sweep", *arguments])
        printed = capsys.readouterr()
        assert caught.value.code == 1 and printed.out == "" and not list(tmp_path.iterdir())
        return printed.err

    return run


def test_a_profile_without_a_space(refused: Callable[..., str]) -> None:
    said = refused(str(MICRO))
    assert said == (
        f'error: {MICRO}: sweep: missing; say what varies: [sweep.space] "train.lr" = {{ log_uniform = [FROM, TO] }}\n'
    )


def test_samples_of_a_grid(refused: Callable[..., str]) -> None:
    setting = 'sweep={search="grid",space={"train.seed"={choice=[0,1]}}}'
    said = refused(str(MICRO), "--set", setting, "--samples", "3")
    assert said == "error: --samples: a grid has as many trials as combinations; leave it out\n"


def test_budgets(refused: Callable[..., str]) -> None:
    assert given_budget(None) is None and given_budget("1h30m") == Budget("clock", 5400)
    with pytest.raises(FinesegError, match="--budget: must be a time such as 8h"):
        given_budget("8")
    assert refused(str(MICRO), "--budget", "soon") == (
        'error: --budget: must be a time such as 8h, 30m, 90s or 1h30m, or work such as 2gpu-h or 30cpu-m, not "soon"\n'
    )


def test_shipped_sweeps_are_checked() -> None:
    for demo in (False, True):
        sweep = load_profile(ROOT / "competitions" / "3dfuture.toml", CATALOG, demo=demo).profile.sweep
        assert sweep is not None and sweep.space
