"""A Ray session: a private local one by default, or an existing cluster."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each training, and nobody preempts a laptop
}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[Any]:
    """Start (or join, with `address`) Ray, and leave it at the end."""
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
    finally:
        ray.shutdown()


def resources() -> tuple[int, int]:
    """Return (CPUs, GPUs) of the session."""
    import ray

    found = ray.cluster_resources()
    return max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0))
