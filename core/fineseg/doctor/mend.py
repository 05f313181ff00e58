"""The commands that mend an environment, in the words of the installer that made it."""

from collections.abc import Sequence

from fineseg.doctor.facts import Facts

TESTED_PYTHON = "3.11"
TESTED = {
    "torch": "2.13.0",
    "onedl-mmcv": "2.3.6",
    "onedl-mmdetection": "3.5.1",
    "onedl-mmengine": "0.10.12",
    "ray": "2.60.0",
}
"""Distributions that were tested together; pyproject.toml pins the same for uv."""

HEADLESS = "opencv-python-headless"
HEADLESS_RANGE = f"{HEADLESS}>=4.9,<5"
BUILD_TOOLS = "setuptools wheel packaging psutil ninja"
"""What onedl-mmcv is built with when it sees the environment's torch, as it must."""


def install(facts: Facts, requirements: Sequence[str]) -> str:
    """Return the command that installs what is missing or too old."""
    if facts.uv:
        return "uv sync"
    chosen = [f"{name}=={TESTED[name]}" if name in TESTED else f'"{name}"' for name in requirements]
    return f"pip install {' '.join(chosen)}"


def reinstall(facts: Facts, name: str) -> str:
    """Return the command that installs a distribution anew, at the tested version, and nothing else."""
    if name == "onedl-mmcv":
        return build_mmcv(facts)
    if facts.uv:
        return f"uv sync --reinstall-package {name}"
    version = f"{name}=={TESTED[name]}" if name in TESTED else f'"{HEADLESS_RANGE}"' if name == HEADLESS else name
    return f"pip install --force-reinstall --no-deps {version}"


def build_mmcv(facts: Facts, *, cuda: bool = False) -> str:
    """Return the command that compiles mmcv's operations against the torch that is there, with CUDA's if asked to.

    The wheel that an installer kept from an earlier build fits the torch of that time: it must not be taken.
    """
    force = "FORCE_CUDA=1 " if cuda else ""
    compiler = "" if facts.compiler else "sudo apt-get install g++ && "
    if facts.uv:
        return f"{compiler}uv cache clean onedl-mmcv && {force}uv sync --reinstall-package onedl-mmcv"
    build = f"{force}pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation"
    return f"{compiler}pip install {BUILD_TOOLS} && {build} onedl-mmcv=={TESTED['onedl-mmcv']}"


def replace(facts: Facts, gone: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the command that takes distributions away and puts anew the ones that share files with them."""
    if facts.uv:
        return f"uv sync {' '.join(f'--reinstall-package {name}' for name in wanted)}"
    return " && ".join([f"pip uninstall -y {' '.join(gone)}", *(reinstall(facts, name) for name in wanted)])
