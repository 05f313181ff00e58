"""A Ray session: a private local one by default, or an existing cluster."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

OBJECT_STORE_BYTES = 200 * 2**20
"""No data set goes through the object store, so the default of 30% of memory would be waste."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # would upload the project folder, data included
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 86400),  # a training waits there until its cores are free
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Keep freed tensors instead of handing every page back and faulting it in again: a tenth of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
LOCAL_ENVIRONMENT = {
    "RAY_worker_maximum_startup_concurrency": "64",  # Ray warns of 4 times the cores, and a trial has several processes
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each training, and nobody preempts a laptop
}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[Any]:
    """Start (or join, with `address`) Ray, and leave it at the end.

    After Ctrl-C, threads of trainings still wait for Ray and would call it while it shuts down, which ends the process
    on the spot. A private Ray is killed then, and the caller must end the process without further ado (`os._exit`).
    """
    for name, value in {**ENVIRONMENT, **(LOCAL_ENVIRONMENT if address is None else {})}.items():
        os.environ.setdefault(name, value)
    import ray

    options: dict[str, Any] = {
        "address": address or "local",
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(**options)
    try:
        yield ray
    except KeyboardInterrupt:
        if address is None:
            _kill_children()
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _kill_children() -> None:
    """Kill what this process has started: it was started by Ray, and nothing that it writes can be left in halves."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


def resources() -> tuple[int, int]:
    """Return (CPUs, GPUs) of the session."""
    import ray

    found = ray.cluster_resources()
    return max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0))
