"""`fineseg ablate` before anything runs: what is refused, and how."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg.cli.main import main

MICRO = Path(__file__).parents[2] / "integration" / "micro.toml"
TABLE = '[tables.steps.rows.start]\n[tables.steps.rows.fewer]\nset = { "models.rendered.head.points.train" = 3 }\n'


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command on a profile with a table, which must fail, and returns what it says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.toml").write_text(TABLE)

    def run(verb: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main([verb, str(MICRO), "--with", "table.toml", *arguments])
        printed = capsys.readouterr()
        assert caught.value.code == 1 and printed.out == "" and len(list(tmp_path.iterdir())) == 1
        return printed.err

    return run


def test_a_table_that_is_not_there(refused: Callable[..., str]) -> None:
    assert refused("ablate", "step") == f"error: {MICRO}: no table [tables.step]; did you mean steps?\n"
    assert "missing argument 'TABLE'" in refused("ablate")


def test_a_row_that_is_not_there(refused: Callable[..., str]) -> None:
    said = refused("ablate", "steps", "--rows", "start,fever")
    assert said == "error: --rows fever: no such row in tables.steps; did you mean fewer?\n"
    assert refused("ablate", "steps", "--rows", " , ") == "error: --rows: name rows of tables.steps: start, fewer\n"


@pytest.mark.parametrize("verb", ["check", "ablate"])
def test_faults_of_rows(refused: Callable[..., str], verb: str) -> None:
    setting = 'tables.steps.rows.fewer.set={"models.rendered.head.points.trian"=3}'
    said = refused(verb, "--set", setting, *(["steps"] if verb == "ablate" else []))
    assert said == (
        f"error: {MICRO}: tables.steps: row 'fewer': models.rendered.head.points.trian: unknown key; "
        "did you mean train?\n"
    )
