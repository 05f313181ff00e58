"""What a process that trains or predicts has at work, as the rows of a ledger tell it."""

import resource
import sys
from typing import Any

import torch


def at_work(workers: int) -> dict[str, Any]:
    """Return the cores and GPUs of `workers` processes like this one, the device, and this one's peak memory [GiB]."""
    cuda, threads = torch.cuda.is_available(), torch.get_num_threads()
    return {
        "workers": workers,
        "cores": workers * threads,
        "gpus": workers if cuda else 0,
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {threads} threads",
        **_peak_memory(),
    }


def _peak_memory() -> dict[str, float]:
    """Return the most memory [GiB] that this process has had, and that torch has had of its GPU."""
    unit = 1 if sys.platform == "darwin" else 2**10
    peak = {"memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)}
    if torch.cuda.is_available():
        peak["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return peak
