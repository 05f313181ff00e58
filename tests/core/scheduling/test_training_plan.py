"""How many trainings run side by side, and on how many cores."""

from dataclasses import replace

import pytest

from fineseg import FinesegError
from fineseg.scheduling.orders import TrainingOrder
from fineseg.scheduling.training import _in_threads, plan_side_by_side


def order(workers: int = 1, cpus: int | None = None) -> TrainingOrder:
    return TrainingOrder("m", {}, "p.toml", "data", "folder", "weights", workers, cpus, 1, None, epochs=1)


@pytest.mark.parametrize(
    ("orders", "machines", "expected"),
    [
        ([order()] * 3, [(2, 0)], (2, [1, 1, 2])),
        ([order()], [(2, 0)], (1, [2])),
        ([order()] * 2, [(8, 0)], (2, [4, 4])),
        ([order(workers=2)] * 2, [(2, 0)], (1, [1, 1])),
        ([order(cpus=2)] * 2, [(2, 0)], (1, [2, 2])),
        ([order(workers=4)] * 3, [(32, 8)], (2, [4, 4, 8])),
        ([order()], [(1, 0), (1, 0)], (1, [1])),  # no machine has two cores
        ([order()] * 2, [(4, 0), (2, 0)], (2, [2, 2])),
        ([order(cpus=2)] * 3, [(3, 0), (3, 0)], (2, [2, 2, 2])),
        ([order(workers=2)], [(0, 0), (8, 2), (8, 2)], (1, [8])),
        ([order(workers=2)] * 2, [(16, 0), (8, 2), (8, 2)], (2, [4, 4])),  # a head without GPUs takes no part
    ],
)
def test_plan(orders: list[TrainingOrder], machines: list[tuple[int, int]], expected: tuple[int, list[int]]) -> None:
    assert plan_side_by_side(orders, machines) == expected


@pytest.mark.parametrize(("count", "cores"), [(3, [1, 1, 2]), (4, [1, 1, 1, 1]), (5, [1, 1, 1, 1, 2])])
def test_a_command_that_is_given_again_shares_cores_as_it_did(count: int, cores: list[int]) -> None:
    placed = [replace(order(), place=(number, count)) for number in range(count)]
    assert plan_side_by_side(placed, [(2, 0)]) == (2, cores)
    for start in range(1, count):
        assert plan_side_by_side(placed[start:], [(2, 0)]) == (min(2, count - start), cores[start:])
        assert plan_side_by_side(placed[:1], [(2, 0)]) == (1, cores[:1])


def test_no_room() -> None:
    with pytest.raises(FinesegError, match=r"train\.workers = 8: no room on the 2 cores that Ray found; lower it"):
        plan_side_by_side([order(workers=8)], [(2, 0)])
    with pytest.raises(FinesegError, match=r"no room on the 6 cores of 2 machines"):
        plan_side_by_side([order(cpus=4)], [(3, 0), (3, 0)])
    with pytest.raises(FinesegError, match="no room on the 1 GPU that"):
        plan_side_by_side([order(workers=2)], [(64, 1)])


def test_a_failure_does_not_stop_the_others() -> None:
    outcomes = _in_threads(lambda number: ValueError(number) if number == 1 else None, 5, 2)
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, *[type(None)] * 3]
