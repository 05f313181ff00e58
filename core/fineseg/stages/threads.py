"""Images worked off in threads: decoding and matching masks release the interpreter's lock."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Done = TypeVar("Done")
THREADS = 8
"""At most: each holds an image's masks and scores, of all models, decoded."""


def in_threads(one: Callable[[Given], Done], waiting: Iterator[Given]) -> Iterator[Done]:
    """Do something with each image, in order; a few wait at a time, so a fault or an interrupt ends it soon."""
    workers = min(os.cpu_count() or 1, THREADS)
    with ThreadPoolExecutor(workers) as pool:
        while some := list(islice(waiting, 2 * workers)):
            yield from pool.map(one, some)
