"""What was found out about a machine and its Python environment: plain data, judged by `checks`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a step said: its `value`, or why there is none, as one line."""

    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it; `memory` in MiB."""

    name: str
    memory: int
    driver: str


@dataclass(frozen=True)
class Disk:
    """A folder that will be written to: its role in words, and `free` of `total` bytes of its file system."""

    role: str
    path: str
    free: int
    total: int
    writable: bool


@dataclass(frozen=True)
class Facts:
    """All that the checks go by.

    `steps` has an answer of every step of `fineseg.doctor.steps`. `uv` says that uv made the environment (which then
    has no pip), `nvcc` is the CUDA toolkit's release, `driver_cuda` the newest CUDA that the driver can run, `hidden`
    that CUDA_VISIBLE_DEVICES leaves no GPU, `compiler` that there is a C++ compiler.
    """

    python: str
    platform: str
    cores: int
    steps: Mapping[str, Answer]
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver_cuda: str = ""
    nvcc: str = ""
    hidden: bool = False
    compiler: bool = True
    uv: bool = False

    def step(self, name: str) -> Answer:
        """Return the answer of a step."""
        return self.steps[name]

    @property
    def versions(self) -> Mapping[str, str]:
        """Installed distributions, by canonical name, and their versions."""
        found: Mapping[str, str] = self.step("packages").value.get("versions", {})
        return found
