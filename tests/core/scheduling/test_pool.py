"""The pool of predicting processes, with processes that die by script in place of Ray's."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from fineseg.errors import BrokenOff, FinesegError
from fineseg.scheduling import pool
from fineseg.scheduling.orders import PredictionOrder
from fineseg.scheduling.pool import RETRIES, Pool

DEATH = ray.exceptions.ActorDiedError()


class Stage:
    """Stands for Ray: what each order meets is taken from `script`, by file; None is success."""

    def __init__(self) -> None:
        self.script: dict[str, list[Exception | None]] = defaultdict(list)
        self.done: Counter[str] = Counter()
        self.started = 0
        self.alive: set[int] = set()
        self.most = 0

    def start(self) -> Any:
        self.started += 1
        number = self.started
        self.alive.add(number)
        self.most = max(self.most, len(self.alive))
        methods = {"ready": SimpleNamespace(remote=lambda: (number, "ready", self.started))}
        methods["predict"] = SimpleNamespace(remote=lambda order: (number, order.file, object()))
        return SimpleNamespace(number=number, **methods)

    def get(self, reference: tuple[int, str, object]) -> None:
        number, file, _ = reference
        assert number in self.alive
        error = self.script[file].pop(0) if self.script[file] else None
        if error is not None:
            raise error
        self.done[file] += file != "ready"

    def kill(self, process: Any) -> None:
        self.alive.discard(process.number)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage()
    fake = SimpleNamespace(
        wait=lambda references, num_returns, timeout: (references[-1:], references[:-1]), get=made.get, kill=made.kill
    )
    monkeypatch.setattr(pool, "ray", fake)
    yield made


def orders(count: int, topic: str = "m validation") -> list[PredictionOrder]:
    return [PredictionOrder(topic, "m", "w", "validation", (i,), f"{topic}/{i}") for i in range(count)]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_order_is_done_once(stage: Stage, size: int) -> None:
    wanted = orders(4)
    made = Pool(wanted, stage.start, size)
    made.run()
    assert stage.done == Counter(order.file for order in wanted)
    assert stage.most == size
    made.close()
    assert not stage.alive


@pytest.mark.parametrize("size", [1, 3])
def test_what_dies_is_replaced_and_its_order_done_again(stage: Stage, size: int) -> None:
    wanted = orders(4)
    stage.script["m validation/1"] = [DEATH] * RETRIES
    stage.script["m validation/3"] = [DEATH]
    stage.script["ready"] = [DEATH]
    Pool(wanted, stage.start, size).run()
    assert stage.done == Counter(order.file for order in wanted)
    assert stage.started == size + RETRIES + 2 and stage.most <= size


def test_an_order_that_kills_whoever_takes_it_ends_its_topic_only(stage: Stage) -> None:
    wanted = orders(3, "a test") + orders(3, "b test")
    stage.script["a test/0"] = [DEATH] * 99
    with pytest.raises(BrokenOff) as caught:
        Pool(wanted, stage.start, 2).run()
    assert str(caught.value).startswith(f"a test: the process that predicted was killed {RETRIES + 1} times")
    assert {file for file in stage.done if file.startswith("b")} == {f"b test/{i}" for i in range(3)}
    assert stage.started == 2 + RETRIES + 1


def test_faults_of_a_user_are_a_line_each(stage: Stage) -> None:
    stage.script["a test/1"] = [FinesegError("no weights")]
    stage.script["b test/0"] = [FinesegError("no image")]
    with pytest.raises(FinesegError) as caught:
        Pool(orders(3, "a test") + orders(2, "b test") + orders(2, "c test"), stage.start, 1).run()
    assert str(caught.value) == "a test: no weights\nb test: no image"
    assert stage.done["c test/0"] == stage.done["c test/1"] == 1


def test_a_fault_of_the_program_is_raised_as_it_is(stage: Stage) -> None:
    stage.script["m validation/0"] = [ValueError("x")]
    with pytest.raises(ValueError, match="x"):
        Pool(orders(2), stage.start, 1).run()


def test_processes_that_never_get_ready_come_to_an_end(stage: Stage) -> None:
    stage.script["ready"] = [DEATH] * 99
    with pytest.raises(BrokenOff, match="a predicting process was killed"):
        Pool(orders(2), stage.start, 2).run()
    stage.script["ready"] = [FinesegError("no plugin")]
    with pytest.raises(FinesegError, match="no plugin"):
        Pool(orders(2), stage.start, 2).run()
