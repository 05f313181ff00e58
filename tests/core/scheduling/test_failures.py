"""What goes wrong in other processes, as Ray hands it over, and the line that a user gets."""

import errno
import os
import pickle
from typing import Any

import pytest
import ray
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupFailedError,
    WorkerHealthCheckFailedError,
)

from fineseg.errors import BrokenOff, FinesegError, ProfileError
from fineseg.scheduling.failures import in_words


def handed_over(error: Exception) -> Exception:
    """Return an error of a remote task as `ray.get` raises it."""
    raised: Exception = ray.exceptions.RayTaskError("f", "Traceback ...", error).as_instanceof_cause()
    return raised


def of_workers(*errors: Exception) -> Exception:
    """Return what `fit` raises after errors of several workers."""
    return handed_over(WorkerGroupError("...", dict(enumerate(errors))))


DEAD = WorkerHealthCheckFailedError("no answer", ray.exceptions.ActorDiedError())
COLLATERAL = UserExceptionWithTraceback(RuntimeError("Connection closed by peer"), "...")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/x.pth")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (of_workers(UserExceptionWithTraceback(FinesegError("loss is nan"), "...")), FinesegError, "loss is nan"),
        (handed_over(FinesegError("no weights")), FinesegError, "no weights"),
        (handed_over(ControllerError(BrokenOff("disk"))), BrokenOff, "disk"),
        (of_workers(COLLATERAL, UserExceptionWithTraceback(FULL, "...")), BrokenOff, "/store/x.pth: No space left"),
        (handed_over(OSError(errno.EFBIG, "File too large")), BrokenOff, "File too large; free some space"),
        (
            of_workers(RuntimeError("x\nCUDA out of memory. Tried")),
            FinesegError,
            "out of memory: CUDA out of memory. Tr",
        ),
        (handed_over(MemoryError()), FinesegError, "out of memory: MemoryError; make batch"),
        (of_workers(COLLATERAL, DEAD), BrokenOff, "the process was killed 3 times"),
        (handed_over(ControllerError(WorkerGroupStartupFailedError("x"))), BrokenOff, "the process was killed 3 times"),
        (ray.exceptions.ActorDiedError(), BrokenOff, "the process was killed 3 times"),
        (ray.exceptions.OutOfMemoryError("killed: node running low"), BrokenOff, "the process was killed 3 times"),
    ],
)
def test_words(error: Exception, kind: type[Exception], words: str) -> None:
    found = in_words(error, "the process", 3)
    assert type(found) is kind and str(found).startswith(words) and "\n" not in str(found)


@pytest.mark.parametrize("error", [ValueError("x"), of_workers(COLLATERAL), handed_over(KeyError("x"))])
def test_faults_of_the_program_keep_their_traceback(error: Any) -> None:
    assert in_words(error, "the process", 3) is None


def test_faults_of_a_profile_cross_processes_line_by_line() -> None:
    found = pickle.loads(pickle.dumps(ProfileError(["a: missing", "b: of\ntwo lines"])))
    assert (str(found), found.faults) == ("a: missing\nb: of\\ntwo lines", ("a: missing", "b: of\\ntwo lines"))
