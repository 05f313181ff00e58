"""Collecting facts: steps in processes of their own, the system's tools, the disks. Nothing here judges."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fineseg.doctor.facts import Answer, Disk, Facts, Gpu

GROUPS = (
    ("torch", "gpu", "mmcv", "ops_cpu", "ops_cuda", "mmdet"),
    ("packages", "plugins", "memory", "opencv", "ray"),
)
"""Steps that share a process, and with it the time of their imports; the groups run side by side."""
PATIENCE = 60.0
"""Seconds that a group of steps may take: imports from a slow disk take long, a hung one takes for ever."""
SHARED_MEMORY = Path("/dev/shm")
CGROUP = Path("/sys/fs/cgroup")
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


def probe(store: Path) -> Facts:
    """Find out all that the checks go by; `store` is the folder that results will go to. Takes a few seconds."""
    with ThreadPoolExecutor() as pool:
        groups = [pool.submit(run_steps, group) for group in GROUPS]
        gpus, header, nvcc = pool.submit(_output, *GPU_QUERY), pool.submit(_output, "nvidia-smi"), pool.submit(_nvcc)
        steps = {name: answer for group in groups for name, answer in group.result().items()}
    return Facts(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=cores(CGROUP),
        steps=steps,
        disks=disks(store),
        gpus=parse_gpus(gpus.result()),
        driver_cuda=_found(r"CUDA Version: *([\d.]+)", header.result()),
        nvcc=_found(r"release ([\d.]+)", nvcc.result()),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"),
        compiler=any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")),
        uv=_made_by_uv(Path(sys.prefix)),
    )


def run_steps(names: Sequence[str], patience: float = PATIENCE) -> dict[str, Answer]:
    """Run steps in a process, and those after one that took the process down in a new one; `patience` in seconds."""
    answers: dict[str, Answer] = {}
    while rest := [name for name in names if name not in answers]:
        text, fault = _run(rest, patience)
        begun = rest[0]
        for line in map(json.loads, filter(_whole, text.splitlines())):
            begun = line["step"]
            if "value" in line or "error" in line:
                answers[begun] = Answer(line.get("value", {}), line.get("error", ""))
        answers.setdefault(begun, Answer(error=fault))  # the last one to begin, if it has not answered, is the culprit
    return {name: answers[name] for name in names}


def _whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


def _run(names: Sequence[str], patience: float) -> tuple[str, str]:
    """Return what a process of steps wrote, and how it ended."""
    command = [sys.executable, "-P", "-m", "fineseg.doctor.steps", *names]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired as error:
        return _text(error.stdout), f"no answer within {patience:g} s"
    last = _text(done.stderr).strip().rpartition("\n")[2]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return _text(done.stdout), f"the process died ({how}){f': {last}' if last else ''}"


def disks(store: Path) -> tuple[Disk, ...]:
    """Look at the file systems of the store's folder, of temporary files, and of shared memory where there is such."""
    looked = [_disk("store", store), _disk("temporary files", Path(tempfile.gettempdir()))]
    return (*looked, _disk("shared memory", SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else tuple(looked)


def _disk(role: str, path: Path) -> Disk:
    folder = path.absolute()
    while not folder.exists():  # what is not there yet will be made on the file system of the folder above
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Disk(role, str(path.absolute()), usage.free, usage.total, folder.is_dir() and os.access(folder, os.W_OK))


def cores(cgroup: Path) -> int:
    """Return how many cores this process may use, by its affinity and by the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota: "max"
        return allowed


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's table of name, memory in MiB and driver version."""
    rows = [[cell.strip() for cell in line.rsplit(",", 2)] for line in text.splitlines() if line.count(",") >= 2]
    return tuple(Gpu(name, int(size) if size.isdigit() else 0, driver) for name, size, driver in rows)


def _nvcc() -> str:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return _output(str(Path(home, "bin", "nvcc")) if home else "nvcc", "--version")


def _output(*command: str) -> str:
    """Return what a tool prints, nothing where it is absent or fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _made_by_uv(prefix: Path) -> bool:
    try:
        return re.search(r"^uv *=", (prefix / "pyvenv.cfg").read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        return False


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", errors="replace")
