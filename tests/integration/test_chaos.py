"""Runs that are disturbed end as the undisturbed one: five seeds of `chaos.py`, which has more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.chaos import Bench, bench

from fineseg.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("chaos")) as made:
        yield made


@pytest.mark.parametrize("seed", range(5))
def test_disturbed_it_ends_as_undisturbed(made: Bench, seed: int) -> None:
    outcome = made.disturb(seed)
    assert not outcome.faults, outcome.row()


def test_of_two_runs_of_one_training_the_second_is_refused(made: Bench, tmp_path: Path) -> None:
    (training,) = (made.whole / "store" / "train").iterdir()
    with Store(tmp_path / "store").writing("train", training.name):
        text, code = made.start(tmp_path).finish()
    assert code == 1
    errors = [line for line in text if line.startswith("error:")]
    assert len(errors) == 1 and "is writing this entry; wait for it to end" in errors[0]
    assert not [line for line in text if "starting Ray" in line or "Traceback" in line]
