"""Progress across processes: workers write to one small actor, the driver reads it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from fineseg.scheduling.orders import State

INTERVAL = 0.5
READ_LIMIT = 10.0
"""Longest wait for one reading [s]."""


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


@contextmanager
def watched(show: Callable[[str, State], None]) -> Iterator[Any]:
    """Start a board and call `show(topic, state)` with what changes on it until the block ends."""
    board = Board.remote()  # type: ignore[attr-defined]
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
    except KeyboardInterrupt:
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
