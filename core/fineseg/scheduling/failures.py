"""What went wrong in other processes, in words: the one line that a user needs, where there is one."""

import errno
from collections.abc import Iterator

import ray

from fineseg.errors import BrokenOff, FinesegError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DIED = (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
"""What Ray raises when the process that worked is no more, or its machine."""
NEVER_STARTED = "WorkerGroupStartupFailedError"
"""What Ray Train makes of a death before a training's first line; it has no public name."""
DISK_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "PytorchStreamWriter failed writing")
MEMORY_WORDS = ("MemoryError", "out of memory", "can't allocate memory", "Cannot allocate memory")


def in_words(error: BaseException, what: str, times: int) -> Exception | None:
    """Return a user's fault as it was raised, and what came from outside as `BrokenOff`; None for a program's fault.

    `what` names the process that failed, `times` how often it has been tried.
    """
    found = list(causes(error))
    for cause in found:
        if isinstance(cause, FinesegError):
            return (BrokenOff if isinstance(cause, BrokenOff) else FinesegError)(str(cause))
    for cause in found:
        if _disk_is_full(cause):
            return BrokenOff(f"{_disk_words(cause)}; free some space, then the same command continues")
    for cause in found:
        if isinstance(cause, MemoryError | RuntimeError) and any(words in repr(cause) for words in MEMORY_WORDS):
            return FinesegError(f"out of memory: {_line(cause, MEMORY_WORDS)}; make batch or images smaller")
    if any(isinstance(cause, DIED) or type(cause).__name__ == NEVER_STARTED for cause in found):
        return BrokenOff(
            f"{what} was killed {times} times: for want of memory (smaller images, a smaller batch or fewer processes "
            "help), or with its machine; the same command continues"
        )
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came from, those of a group's workers one after the other."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        if not isinstance(error, ray.exceptions.RayTaskError):  # has the type of its cause, and a traceback for a text
            yield error
        # the names that Ray and Ray Train give to what lies within
        names = ("cause", "_base_exc", "health_check_failure", "controller_failure", "__cause__")
        inner = [getattr(error, name, None) for name in names]
        inner += getattr(error, "worker_failures", {}).values()
        waiting += [e for e in inner if isinstance(e, BaseException)]


def _disk_is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    return isinstance(error, OSError | RuntimeError) and any(words in str(error) for words in DISK_WORDS)


def _disk_words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return _line(error, DISK_WORDS)


def _line(error: BaseException, words: tuple[str, ...]) -> str:
    """Return the line of a message that has one of the words."""
    lines = str(error).splitlines()
    return next((line.strip() for line in lines if any(word in line for word in words)), type(error).__name__)
