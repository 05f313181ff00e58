"""What the facts mean: one finding a check, and for each fault what mends it. Pure functions of the facts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fineseg.doctor import mend
from fineseg.doctor.facts import Disk, Facts

Status = Literal["ok", "note", "broken"]

GIB = 2**30
STORE_NEEDS, STORE_LOW = 1 * GIB, 10 * GIB
"""Free bytes without which no training ends, and those that a few models take."""
TEMPORARY_NEEDS, SHARED_LOW = GIB // 2, GIB // 4
RAY_FULL = 0.95
"""Part of a file system in use above which Ray keeps nothing more there, and complains every few seconds."""
MEMORY_NEEDS, MEMORY_LOW = 1 * GIB, 4 * GIB
LONGEST_ERROR = 160

FAMILY = {
    "onedl-mmcv": ("mmcv", "mmcv-full", "mmcv-lite"),
    "onedl-mmdetection": ("mmdet",),
    "onedl-mmengine": ("mmengine", "mmengine-lite"),
}
"""Distributions that fineseg uses -> those that install a package of the same name over them."""
OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless", mend.HEADLESS)
OWN_CHECK = ("torch", "ray", mend.HEADLESS, *FAMILY)
"""Distributions whose absence another check tells of."""


@dataclass(frozen=True)
class Finding:
    """What a check found, in one line, and the command or the deed that mends it."""

    check: str
    status: Status
    what: str
    mend: str = ""


def diagnose(facts: Facts) -> list[Finding]:
    """Return what there is to say, in the order in which it is to be mended."""
    return [finding for check in CHECKS if (finding := check(facts)) is not None] + [
        _disk(disk) for disk in facts.disks
    ]


# ---------------------------------------------------------------- environment


def python(facts: Facts) -> Finding:
    """Python, and the machine it runs on."""
    what = f"{facts.python} on {facts.platform}, {facts.cores} core{'s' * (facts.cores != 1)}"
    minor = ".".join(facts.python.split(".")[:2])
    if minor == mend.TESTED_PYTHON:
        return Finding("python", "ok", what)
    tested = mend.TESTED_PYTHON
    command = f"uv sync --python {tested}" if facts.uv else f"python{tested} -m venv .venv"
    return Finding("python", "note", f"{what}; tested with {tested}", command)


def packages(facts: Facts) -> Finding:
    """What fineseg and its plugins require."""
    answer = facts.step("packages")
    if answer.error:
        return Finding("packages", "broken", _short(answer.error), mend.install(facts, ["packaging"]))
    faults = [each for each in answer.value["unmet"] if each["found"] or each["name"] not in OWN_CHECK]
    if not faults:
        return Finding("packages", "ok", f"{len(facts.versions)} installed; all that is required is there")
    words = [f"{each['requirement']} is required by {each['by']} ({each['found'] or 'absent'})" for each in faults]
    wanted = [each["name"] if each["name"] in mend.TESTED else each["requirement"] for each in faults]
    return Finding("packages", "broken", "; ".join(words), mend.install(facts, wanted))


def families(facts: Facts) -> Finding | None:
    """OpenMMLab's distributions and OneDL's, which overwrite each other's files."""
    there = {wanted: [name for name in others if name in facts.versions] for wanted, others in FAMILY.items()}
    clashes = {wanted: others for wanted, others in there.items() if others and wanted in facts.versions}
    if not clashes:
        return None
    both = "; ".join(f"{' and '.join(others)} over {wanted}" for wanted, others in clashes.items())
    gone = [name for wanted, others in clashes.items() for name in (*others, wanted)]
    what = f"two families are installed, with packages of the same names: {both}"
    return Finding("mm families", "broken", what, mend.replace(facts, gone, list(clashes)))


def tested_set(facts: Facts) -> Finding:
    """The versions that were tested together."""
    found = {name: facts.versions[name] for name in mend.TESTED if name in facts.versions}
    others = {name: there for name, there in found.items() if there.partition("+")[0] != mend.TESTED[name]}
    if not others:
        return Finding("versions", "ok", f"as tested: {', '.join(f'{name} {found[name]}' for name in found)}")
    words = [f"{name} {there} (tested: {mend.TESTED[name]})" for name, there in others.items()]
    command = mend.install(facts, [name for name in others if name != "onedl-mmcv"])
    if "torch" in others or "onedl-mmcv" in others:
        built = mend.build_mmcv(facts)
        command = f"{command} && {built}" if others.keys() != {"onedl-mmcv"} and not facts.uv else built
    return Finding("versions", "note", ", ".join(words), command)


# ---------------------------------------------------------------- torch and GPU


def torch(facts: Facts) -> Finding:
    """The tensors under everything."""
    answer = facts.step("torch")
    if answer.error:
        return Finding("torch", "broken", _short(answer.error), mend.reinstall(facts, "torch"))
    cuda = answer.value["cuda"]
    return Finding("torch", "ok", f"{answer.value['version']}, {f'built for CUDA {cuda}' if cuda else 'CPU only'}")


def gpu(facts: Facts) -> Finding | None:
    """GPUs as the driver and as torch see them."""
    answer = facts.step("gpu")
    if facts.step("torch").error:
        return None
    if answer.error:
        return Finding("gpu", "broken", f"torch cannot use it: {_short(answer.error)}", mend.reinstall(facts, "torch"))
    driver = f", driver {facts.gpus[0].driver}" if facts.gpus else ""
    seen = [f"{each['name']} ({each['memory'] / 1024:.0f} GiB)" for each in answer.value["devices"]]
    if seen:
        return Finding("gpu", "ok", ", ".join(seen) + driver)
    if not facts.gpus:
        return Finding("gpu", "ok", "none: everything runs on the CPU")
    names = ", ".join(f"{each.name} ({each.memory / 1024:.0f} GiB)" for each in facts.gpus) + driver
    if facts.hidden:
        return Finding("gpu", "note", f"{names}; hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES")
    return Finding("gpu", "note", *_unseen(facts, names))


def _unseen(facts: Facts, names: str) -> tuple[str, str]:
    """Return why torch sees no GPU though the driver has one, and what helps."""
    cuda = facts.step("torch").value["cuda"]
    if cuda is None:
        commands = (mend.reinstall(facts, "torch"), mend.build_mmcv(facts, cuda=True))
        return f"{names}; unused, as this torch is built for the CPU", " && ".join(commands)
    if facts.driver_cuda and _release(facts.driver_cuda)[0] < _release(cuda)[0]:
        what = f"{names}; the driver runs CUDA up to {facts.driver_cuda}, torch is built for {cuda}"
        return what, f"update the NVIDIA driver to one for CUDA {cuda}; nvidia-smi shows it"
    return f"{names}; torch {cuda} does not see it", 'python -c "import torch; torch.cuda.init()"  # says why'


def nvcc(facts: Facts) -> Finding | None:
    """The CUDA compiler, which a build of mmcv's CUDA operations needs."""
    if facts.step("torch").error:
        return None
    cuda = facts.step("torch").value["cuda"]
    has = facts.nvcc or "none"
    if not facts.gpus or cuda is None:
        return Finding("nvcc", "ok", f"{has}; it is used for GPUs only")
    toolkit = f"install the CUDA toolkit {cuda}; if it is not in /usr/local/cuda: export CUDA_HOME=<its folder>"
    if not facts.nvcc:
        return Finding("nvcc", "note", f"none: onedl-mmcv cannot be built with operations for CUDA {cuda}", toolkit)
    if _release(facts.nvcc)[0] != _release(cuda)[0]:
        return Finding("nvcc", "note", f"{has}, but torch is for CUDA {cuda}: onedl-mmcv cannot be built", toolkit)
    near = "" if facts.nvcc == cuda else " (the same major version will do)"
    return Finding("nvcc", "ok", f"{has}, and torch is built for CUDA {cuda}{near}")


# ---------------------------------------------------------------- libraries


def mmcv(facts: Facts) -> Finding | None:
    """mmcv's compiled operations, which were called."""
    if facts.step("torch").error:
        return None  # nothing can be said before torch works
    for name, device in (("mmcv", ""), ("ops_cpu", "CPU"), ("ops_cuda", "GPU")):
        if error := facts.step(name).error:
            return Finding("mmcv", "broken", _mmcv_fault(error, device), _mend_mmcv(facts, device))
    ran = "CPU and GPU" if facts.step("ops_cuda").value["ran"] else "CPU"
    version, compiled = facts.step("mmcv").value["version"], facts.step("ops_cpu").value["cuda"]
    built = f"compiled for CUDA {compiled}" if re.match(r"\d", compiled) else "compiled for the CPU only"
    return Finding("mmcv", "ok", f"{version}, {built}; nms and roi_align ran on {ran}")


def _mmcv_fault(error: str, device: str) -> str:
    """Return in words what an import or a call of mmcv's operations died of."""
    if device == "GPU" and re.search(r"not found|not compiled|no kernel image", error, re.IGNORECASE):
        return f"it has no operations for this GPU: {_short(error)}"
    if "mmcv._ext" in error and "No module" in error:
        return "it has no compiled operations (mmcv._ext)"
    if "undefined symbol" in error:
        return f"its operations were compiled for another torch: {_short(error)}"
    if "cannot open shared object file" in error:
        return f"its operations were compiled for another torch or CUDA: {_short(error)}"
    return f"its operations fail{f' on the {device}' if device else ''}: {_short(error)}"


def _mend_mmcv(facts: Facts, device: str) -> str:
    wants_cuda = device == "GPU" or bool(facts.step("gpu").value.get("devices"))
    return mend.build_mmcv(facts, cuda=wants_cuda)


def mmdet(facts: Facts) -> Finding | None:
    """mmengine and mmdet, which refuse versions of each other that do not fit."""
    answer = facts.step("mmdet")
    if facts.step("torch").error or facts.step("mmcv").error:
        return None
    if answer.error:
        lacking = "onedl-mmengine" if "mmengine" in answer.error else "onedl-mmdetection"
        return Finding("mmdet", "broken", _short(answer.error), mend.reinstall(facts, lacking))
    return Finding("mmdet", "ok", f"{answer.value['mmdet']}, mmengine {answer.value['mmengine']}")


def ray(facts: Facts) -> Finding:
    """Ray, imported and not started."""
    answer = facts.step("ray")
    if answer.error:
        return Finding(
            "ray", "broken", _short(answer.error), mend.install(facts, [f"ray[train,tune]=={mend.TESTED['ray']}"])
        )
    return Finding("ray", "ok", f"{answer.value['version']} imports (no cluster was started)")


def opencv(facts: Facts) -> Finding:
    """OpenCV: one distribution of it, the headless one."""
    there = [name for name in OPENCV if name in facts.versions]
    command = mend.replace(facts, there or [mend.HEADLESS], [mend.HEADLESS])
    if error := facts.step("opencv").error:
        return Finding("opencv", "broken", _short(error), command)
    if len(there) > 1:
        what = f"{' and '.join(there)} lie over each other in one folder; whichever was installed last is imported"
        return Finding("opencv", "note", what, command)
    if there != [mend.HEADLESS] and there:
        return Finding("opencv", "note", f"{there[0]} needs a desktop's libraries; fineseg opens no window", command)
    return Finding("opencv", "ok", f"{facts.step('opencv').value['version']}, headless alone")


def plugins(facts: Facts) -> Finding:
    """Plugins, which offer every part that a profile can name."""
    answer = facts.step("plugins")
    if answer.error:
        return Finding("plugins", "broken", _short(answer.error), "fineseg plugins list")
    if answer.value["broken"]:
        faults = [_short(line) for line in answer.value["broken"]]
        names = ",".join(match[1] for line in faults if (match := re.match(r"plugin '([^']*)'", line)))
        command = f"install the plugin anew, or do without: export FINESEG_DISABLE_PLUGINS={names}"
        return Finding("plugins", "broken", "; ".join(faults), command)
    if not answer.value["parts"]:
        what = "none is installed, and without parts there is no model"
        command = "uv sync" if facts.uv else "pip install --no-deps ./plugins/*  # in the project's folder"
        return Finding("plugins", "broken", what, command)
    words = f"{len(answer.value['plugins'])} with {answer.value['parts']} parts: {', '.join(answer.value['plugins'])}"
    off = f"; disabled: {', '.join(answer.value['disabled'])}" if answer.value["disabled"] else ""
    return Finding("plugins", "ok", words + off)


# ---------------------------------------------------------------- machine


def memory(facts: Facts) -> Finding:
    """Memory that is left for models and for Ray, which kills its own when little is left."""
    answer = facts.step("memory")
    if answer.error:
        return Finding("memory", "broken", _short(answer.error), mend.reinstall(facts, "psutil"))
    available, total = answer.value["available"], answer.value["total"]
    what = f"{available / GIB:.1f} GiB free of {total / GIB:.1f}"
    if available >= MEMORY_LOW:
        return Finding("memory", "ok", what)
    status: Status = "broken" if available < MEMORY_NEEDS else "note"
    return Finding("memory", status, f"{what}; Ray ends trainings when it runs out", "ps aux --sort=-rss | head")


def _disk(disk: Disk) -> Finding:
    what = f"{disk.free / GIB:.1f} GiB free of {disk.total / GIB:.1f} for {disk.path}"
    if disk.role == "shared memory":
        low = disk.free < SHARED_LOW
        advice = "in a container: docker run --shm-size=2g ..."
        return Finding(disk.role, "note", f"{what}; Ray gets slow", advice) if low else Finding(disk.role, "ok", what)
    store = disk.role == "store"
    elsewhere = "fineseg run ... --store <a folder on a larger disk>" if store else "export TMPDIR=<a larger folder>"
    if not disk.writable:
        return Finding(disk.role, "broken", f"{disk.path} cannot be written to", elsewhere)
    if disk.free < (STORE_NEEDS if store else TEMPORARY_NEEDS):
        return Finding(disk.role, "broken", what, elsewhere)
    if store and disk.free < STORE_LOW:
        return Finding(disk.role, "note", f"{what}; a few trainings fill it", elsewhere)
    if not store and disk.total and disk.free < (1 - RAY_FULL) * disk.total:
        return Finding(disk.role, "note", f"{what}; Ray keeps nothing more on a disk that is 95% full", elsewhere)
    return Finding(disk.role, "ok", what)


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    python, packages, families, tested_set, torch, gpu, nvcc, mmcv, mmdet, ray, opencv, plugins, memory,
)  # fmt: skip


def _short(error: str) -> str:
    return error if len(error) <= LONGEST_ERROR else f"{error[: LONGEST_ERROR - 1]}…"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)) or (0,)
