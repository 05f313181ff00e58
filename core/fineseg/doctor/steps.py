"""What only an import or a call can tell. `python -m fineseg.doctor.steps NAME...` prints answers as lines of JSON.

Any of them may raise, hang or take its process down, so they run in processes of their own, and a step says that it
begins before it does. Modules are imported by name: the doctor needs none of them.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import distributions
from typing import Any, TextIO

LEFT_OUT = ("opencv-python", "imaug")
"""What the mm libraries ask for and fineseg's environment leaves out on purpose."""

Value = dict[str, Any]


def packages() -> Value:
    """Return all installed distributions and the requirements of fineseg and its plugins that they do not meet."""
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    requires: dict[str, list[str]] = {}
    roots = ["fineseg"]
    for found in distributions():
        if not found.metadata["Name"]:
            continue  # what is left of a distribution that was removed badly
        name = canonicalize_name(found.metadata["Name"])
        if name in versions:
            continue  # the first one on the path is the one that is imported
        versions[name], requires[name] = found.version, list(found.requires or [])
        if any(point.group == "fineseg" for point in found.entry_points):
            roots.append(name)
    return {"versions": versions, "unmet": unmet(roots, requires, versions)}


def unmet(
    roots: Iterable[str], requires: Mapping[str, Sequence[str]], versions: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return what distributions, and those that they require, lack: {requirement, found (version or ""), by}.

    All names are canonical. Unlike `pip check` this minds no distribution that nothing of fineseg requires.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    faults: dict[str, dict[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name not in versions:
            continue
        seen.add((name, extra))
        for requirement in map(Requirement, requires[name]):
            child = canonicalize_name(requirement.name)
            if child in LEFT_OUT or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
                continue
            there = versions.get(child, "")
            if not there or not requirement.specifier.contains(there, prereleases=True):
                text = f"{requirement.name}{requirement.specifier}"
                faults[text] = {"requirement": text, "name": child, "found": there, "by": name}
            waiting += [(child, ""), *((child, wanted) for wanted in requirement.extras)]
    return [faults[text] for text in sorted(faults)]


def torch() -> Value:
    """Import torch; return its version and the CUDA that it was built for, None for a CPU build."""
    module = import_module("torch")
    return {"version": module.__version__, "cuda": module.version.cuda}


def gpu() -> Value:
    """Return the GPUs that torch sees, after a product of two matrices on each."""
    module = import_module("torch")
    devices = []
    for index in range(module.cuda.device_count() if module.cuda.is_available() else 0):
        device = module.device("cuda", index)
        ones = module.ones(8, 8, device=device)
        if float((ones @ ones).sum()) != 512:
            raise ArithmeticError(f"cuda:{index} multiplies matrices wrongly")
        properties = module.cuda.get_device_properties(device)
        devices.append({"name": properties.name, "memory": properties.total_memory // 2**20})
    return {"devices": devices}


def mmcv() -> Value:
    """Import mmcv without its compiled operations."""
    return {"version": import_module("mmcv").__version__}


def ops_cpu() -> Value:
    """Run mmcv's compiled operations on the CPU."""
    _run_ops("cpu")
    return {"cuda": str(import_module("mmcv.ops").get_compiling_cuda_version())}


def ops_cuda() -> Value:
    """Run mmcv's compiled operations on a GPU, where torch sees one."""
    sees = import_module("torch").cuda.is_available()
    if sees:
        _run_ops("cuda")
    return {"ran": sees}


def _run_ops(device: str) -> None:
    """Suppress one of three boxes and pool a box from a map of ones; raise where the outcome is not what it must be."""
    module, ops = import_module("torch"), import_module("mmcv.ops")
    boxes = module.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 28, 28]], device=device)
    _, kept = ops.nms(boxes, module.tensor([0.9, 0.8, 0.7], device=device), 0.5)
    if sorted(kept.tolist()) != [0, 2]:
        raise ArithmeticError(f"nms on {device} keeps boxes {kept.tolist()} instead of [0, 2]")
    region = module.tensor([[0.0, 1, 1, 5, 5]], device=device)
    pooled = ops.roi_align(module.ones(1, 2, 8, 8, device=device), region, (2, 2), 1.0, 2, "avg", True)
    if pooled.shape != (1, 2, 2, 2) or not module.allclose(pooled, module.ones_like(pooled)):
        raise ArithmeticError(f"roi_align on {device} pools ones to {pooled.flatten().tolist()}")


def mmdet() -> Value:
    """Import mmengine and mmdet, which checks their versions against each other's."""
    return {name: import_module(name).__version__ for name in ("mmengine", "mmdet")}


def ray() -> Value:
    """Import Ray and its training library; no cluster is started."""
    import_module("ray.train")
    return {"version": import_module("ray").__version__}


def opencv() -> Value:
    """Import OpenCV and scale a picture."""
    module = import_module("cv2")
    module.resize(import_module("numpy").zeros((4, 4), dtype="uint8"), (2, 2))
    return {"version": module.__version__}


def plugins() -> Value:
    """Load all plugins; return how many parts they offer, and a line for each that could not be loaded."""
    catalog = import_module("fineseg.catalog").load_catalog(warn=lambda line: None)
    names = sorted({entry.plugin for entry in catalog.entries})
    return {"plugins": names, "parts": len(catalog.entries), "broken": catalog.broken, "disabled": catalog.disabled}


def memory() -> Value:
    """Return the memory [bytes] that the machine has and that is available."""
    found = import_module("psutil").virtual_memory()
    return {"total": found.total, "available": found.available}


STEPS: dict[str, Callable[[], Value]] = {
    step.__name__: step for step in (torch, gpu, mmcv, ops_cpu, ops_cuda, mmdet, ray, packages, plugins, opencv, memory)
}


def main(names: Sequence[str], output: TextIO) -> None:
    """Run steps in order; write a line as each begins and one with what it answered."""
    for name in names:
        print(json.dumps({"step": name}), file=output, flush=True)
        try:
            line: Value = {"step": name, "value": STEPS[name]()}
        except BaseException as error:  # whatever a library does when it is imported is what we are here to tell
            line = {"step": name, "error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(line, default=str), file=output, flush=True)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like; our answers stay apart
    main(sys.argv[1:], answers)
