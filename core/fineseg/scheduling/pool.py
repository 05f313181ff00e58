"""A bounded pool of processes that work off orders; what dies is replaced, and its order given to others."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from fineseg.errors import BrokenOff, FinesegError
from fineseg.scheduling.failures import DIED, in_words
from fineseg.scheduling.orders import PredictionOrder

RETRIES = 2
"""How often an order whose process died is given to another; one that kills whoever takes it must come to an end."""
WAIT = 1.0


class ShardWorker:
    """A process of the pool. What it needs it makes in `ready`, so that a fault there comes back as it was raised."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.made: Any = None

    def ready(self) -> None:
        """Make what predicts."""
        self.made = self.make()

    def predict(self, order: PredictionOrder) -> None:
        """Work off one order."""
        self.made.predict(order)


@dataclass(frozen=True)
class Task:
    """What a process does now: an order, or None while it makes itself ready."""

    process: Any
    order: PredictionOrder | None


class Pool:
    """Keeps up to `size` processes busy, which `start` starts, with one order each at a time."""

    def __init__(self, orders: Sequence[PredictionOrder], start: Callable[[], Any], size: int) -> None:
        self.waiting = deque(orders)
        self.start = start
        self.busy: dict[Any, Task] = {}
        self.idle: list[Any] = []
        self.deaths: Counter[str] = Counter()
        self.early_deaths = 0
        self.failures: dict[str, Exception] = {}
        self.size = size

    def run(self) -> None:
        """Work off all orders.

        A topic whose order fails gets no more of its orders done; the others do. Then its error is raised, of several
        those of a user one line each.
        """
        for _ in range(self.size):
            self._hire()
        while self.waiting or any(task.order is not None for task in self.busy.values()):
            ready, _ = ray.wait(list(self.busy), num_returns=1, timeout=WAIT)
            for reference in ready:
                self._take(reference, self.busy.pop(reference))
            while self.waiting and self.idle:
                process, order = self.idle.pop(), self.waiting.popleft()
                self.busy[process.predict.remote(order)] = Task(process, order)
        self._raise()

    def close(self) -> None:
        """End all processes."""
        for process in [*self.idle, *(task.process for task in self.busy.values())]:
            ray.kill(process)

    def _hire(self) -> None:
        process = self.start()
        self.busy[process.ready.remote()] = Task(process, None)

    def _take(self, reference: Any, task: Task) -> None:
        try:
            ray.get(reference)
        except DIED as error:
            ray.kill(task.process)  # it may be cut off only, and is not to write any more
            self._replace(task.order, error)
        except Exception as error:
            if task.order is None:
                ray.kill(task.process)
                raise in_words(error, "a predicting process", 1) or error from None
            self._fail(task.order, in_words(error, "", 1) or error)
            self.idle.append(task.process)
        else:
            self.idle.append(task.process)

    def _replace(self, order: PredictionOrder | None, error: Exception) -> None:
        """Start another process for one that died, and have its order done again."""
        if order is None:
            self.early_deaths += 1
            if self.early_deaths > RETRIES + self.size:
                raise in_words(error, "a predicting process", self.early_deaths) or error
        else:
            self.deaths[order.file] += 1
            if self.deaths[order.file] > RETRIES:
                what = "the process that predicted"
                self._fail(order, in_words(error, what, self.deaths[order.file]) or error)
            else:
                self.waiting.appendleft(order)
        self._hire()

    def _fail(self, order: PredictionOrder, error: Exception) -> None:
        self.failures.setdefault(order.topic, error)
        self.waiting = deque(other for other in self.waiting if other.topic != order.topic)

    def _raise(self) -> None:
        ours = {topic: error for topic, error in self.failures.items() if isinstance(error, FinesegError)}
        for error in self.failures.values():
            if not isinstance(error, FinesegError):
                raise error
        if ours:
            kind = BrokenOff if all(isinstance(error, BrokenOff) for error in ours.values()) else FinesegError
            raise kind("\n".join(f"{topic}: {error}" for topic, error in ours.items()))
