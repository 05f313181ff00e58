"""Progress across processes: workers write to one small actor, the driver reads it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fineseg.scheduling.orders import State
from fineseg.scheduling.session import Lost

INTERVAL = 0.5
READ_LIMIT = 10.0
"""Longest wait for one reading [s]."""
POST_INTERVAL = 0.3
"""Least time between two posts of one process [s]: hundreds of processes may share a board."""


@ray.remote(num_cpus=0)
class Board:
    """Keeps the newest (done, total, note) of every topic."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def post(self, topic: str, state: State) -> None:
        """Replace the state of a topic."""
        self.states[topic] = state

    def read(self) -> dict[str, State]:
        """Return all states."""
        return self.states


class Poster:
    """Posts how far a topic is, a few times a second and when it is done."""

    def __init__(self, board: Any, topic: str) -> None:
        self.board = board
        self.topic = topic
        self.next = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """State how far it is."""
        now = time.monotonic()
        if now >= self.next or done == total:
            self.next = now + POST_INTERVAL
            self.board.post.remote(self.topic, (done, total, note))


@contextmanager
def watched(show: Callable[[str, State], None]) -> Iterator[Any]:
    """Start a board and call `show(topic, state)` with what changes on it until the block ends."""
    # here, where the driver is: another machine may be lost, and the work on this one goes on
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = Board.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    stop = threading.Event()

    def poll() -> None:
        seen: dict[str, State] = {}
        while not stop.wait(INTERVAL):
            try:
                states: dict[str, State] = ray.get(board.read.remote(), timeout=READ_LIMIT)
            except Exception:
                continue  # a busy or ending session: the next reading tells
            for topic, state in states.items():
                if seen.get(topic) != state:
                    show(topic, state)
            seen = states

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield board
    except (KeyboardInterrupt, Lost):
        stop.set()  # nobody waits for a reading: the session is killed with all that is in it
        raise
    except BaseException:
        _end(stop, thread, board)
        raise
    _end(stop, thread, board)


def _end(stop: threading.Event, thread: threading.Thread, board: Any) -> None:
    """Stop reading, and wait for the last one: a thread that calls Ray after its shutdown ends the process."""
    stop.set()
    thread.join()
    ray.kill(board)
