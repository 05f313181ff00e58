"""What the doctor says of machines that are thought up, most of them broken."""

import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fineseg.doctor.checks import CHECKS, GIB, diagnose
from fineseg.doctor.facts import Answer, Disk, Facts, Gpu
from fineseg.doctor.mend import HEADLESS_RANGE, TESTED, TESTED_PYTHON
from fineseg.doctor.steps import LEFT_OUT, STEPS

ROOT = Path(__file__).parents[3]
VERSIONS = {**TESTED, "opencv-python-headless": "4.14.0.94", "fineseg": "0.1.0"}
VALUES: dict[str, dict[str, Any]] = {
    "torch": {"version": "2.13.0+cpu", "cuda": None},
    "gpu": {"devices": []},
    "mmcv": {"version": "2.3.6"},
    "ops_cpu": {"cuda": "not available"},
    "ops_cuda": {"ran": False},
    "mmdet": {"mmengine": "0.10.12", "mmdet": "3.5.1"},
    "ray": {"version": "2.60.0"},
    "packages": {"versions": VERSIONS, "unmet": []},
    "plugins": {"plugins": ["backbones", "fusion"], "parts": 12, "broken": [], "disabled": []},
    "opencv": {"version": "4.14.0"},
    "memory": {"total": 24 * GIB, "available": 17 * GIB},
}
DISKS = (
    Disk("store", "work/.fineseg", 80 * GIB, 250 * GIB, True),
    Disk("temporary files", "/tmp", 80 * GIB, 250 * GIB, True),
    Disk("shared memory", "/dev/shm", 12 * GIB, 12 * GIB, True),
)
GPU = {
    "gpus": (Gpu("NVIDIA A10", 23028, "580.95"),),
    "driver_cuda": "13.0",
    "nvcc": "13.0",
    "torch": {"version": "2.13.0", "cuda": "13.0"},
    "gpu": {"devices": [{"name": "NVIDIA A10", "memory": 22723}]},
    "ops_cpu": {"cuda": "13.0"},
    "ops_cuda": {"ran": True},
}


def machine(**changes: Any) -> Facts:
    """Return a sound machine but for `changes`: a step's value (a table) or error (a text), or a field of the facts."""
    answers = {name: Answer(value) for name, value in VALUES.items()}
    for name in changes.keys() & answers.keys():
        answers[name] = Answer(error=changes[name]) if isinstance(changes[name], str) else Answer(changes[name])
    sound = Facts("3.11.7", "Linux x86_64", 2, answers, DISKS)
    return replace(sound, **{name: value for name, value in changes.items() if name not in answers})


def installed(*more: str, without: tuple[str, ...] = (), **others: str) -> dict[str, Any]:
    """Return the step's value for other distributions than those of the sound machine."""
    versions = {**VERSIONS, **dict.fromkeys(more, "1.0"), **{k.replace("_", "-"): v for k, v in others.items()}}
    return {"versions": {name: each for name, each in versions.items() if name not in without}, "unmet": []}


def disk(role: str, **changes: Any) -> tuple[Disk, ...]:
    return tuple(replace(each, **changes) if each.role == role else each for each in DISKS)


def test_every_step_is_thought_up() -> None:
    assert VALUES.keys() == STEPS.keys()


@pytest.mark.parametrize("changes", [{}, GPU, {**GPU, "nvcc": "13.2"}, {"nvcc": "12.4"}, {"uv": True}], ids=str)
def test_sound_machine(changes: dict[str, Any]) -> None:
    findings = diagnose(machine(**changes))
    assert {(each.status, each.mend) for each in findings} == {("ok", "")}
    checks = [each.check for each in findings]
    assert len(checks) == len(set(checks)) == len(CHECKS) - 1 + len(DISKS)  # two families are told of only as a fault


MMCV = "pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation onedl-mmcv==2.3.6"
UV_MMCV = "uv cache clean onedl-mmcv && uv sync --reinstall-package onedl-mmcv"
HEADLESS = f'pip install --force-reinstall --no-deps "{HEADLESS_RANGE}"'
SYMBOL = "ImportError: /env/mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c1010TensorImplE"

FAULTS: list[tuple[dict[str, Any], str, str, str, str]] = [
    # environment
    ({"python": "3.13.1"}, "python", "note", "tested with 3.11", "python3.11 -m venv"),
    ({"python": "3.13.1", "uv": True}, "python", "note", "3.13.1", "uv sync --python 3.11"),
    ({"packages": "ModuleNotFoundError: No module named 'packaging'"}, "packages", "broken", "packaging", "packaging"),
    ({"packages": installed("mmcv")}, "mm families", "broken", "mmcv over onedl-mmcv", "uninstall -y mmcv onedl-mmcv"),
    ({"packages": installed("mmcv-full")}, "mm families", "broken", "mmcv-full over onedl-mmcv", MMCV),
    ({"packages": installed("mmdet")}, "mm families", "broken", "mmdet", "--no-deps onedl-mmdetection==3.5.1"),
    ({"packages": installed("mmengine"), "uv": True}, "mm families", "broken", "mmengine", "uv sync --reinstall-pack"),
    ({"packages": installed(ray="2.55.0")}, "versions", "note", "ray 2.55.0 (tested: 2.60.0)", "ray==2.60.0"),
    ({"packages": installed(torch="2.9.1+cu128")}, "versions", "note", "torch 2.9.1+cu128", "torch==2.13.0 && pip"),
    ({"packages": installed(onedl_mmcv="2.3.5")}, "versions", "note", "2.3.5 (tested: 2.3.6)", MMCV),
    # torch and GPU
    ({"torch": "OSError: libcudart.so.13: cannot open"}, "torch", "broken", "libcudart", "--no-deps torch==2.13.0"),
    ({"torch": "no answer within 60 s", "uv": True}, "torch", "broken", "60 s", "uv sync --reinstall-package torch"),
    ({**GPU, "gpu": "RuntimeError: no kernel image is available"}, "gpu", "broken", "no kernel image", "torch==2.13.0"),
    ({**GPU, "gpu": {"devices": []}, "driver_cuda": "12.4"}, "gpu", "note", "up to 12.4", "update the NVIDIA driver"),
    ({**GPU, "gpu": {"devices": []}}, "gpu", "note", "does not see it", "torch.cuda.init()"),
    ({**GPU, "gpu": {"devices": []}, "hidden": True}, "gpu", "note", "CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE"),
    ({"gpus": GPU["gpus"]}, "gpu", "note", "built for the CPU", f"FORCE_CUDA=1 {MMCV}"),
    ({**GPU, "nvcc": "12.4"}, "nvcc", "note", "12.4, but torch is for CUDA 13.0", "CUDA toolkit 13.0"),
    ({**GPU, "nvcc": ""}, "nvcc", "note", "none", "CUDA toolkit 13.0"),
    # libraries
    ({"mmcv": "ModuleNotFoundError: No module named 'mmcv'"}, "mmcv", "broken", "No module named 'mmcv'", MMCV),
    ({"ops_cpu": "ModuleNotFoundError: No module named 'mmcv._ext'"}, "mmcv", "broken", "no compiled operations", MMCV),
    ({"ops_cpu": SYMBOL}, "mmcv", "broken", "another torch", MMCV),
    ({"ops_cpu": SYMBOL, "uv": True}, "mmcv", "broken", "another torch", UV_MMCV),
    ({"ops_cpu": SYMBOL, "compiler": False}, "mmcv", "broken", "another torch", "apt-get install g++ && "),
    ({**GPU, "ops_cpu": SYMBOL}, "mmcv", "broken", "another torch", "FORCE_CUDA=1"),
    ({"ops_cpu": "ImportError: libcudart.so.12: cannot open shared object file"}, "mmcv", "broken", "or CUDA", MMCV),
    ({"ops_cpu": "the process died (signal 11)"}, "mmcv", "broken", "fail on the CPU: the process died", MMCV),
    ({"ops_cpu": "ArithmeticError: nms on cpu keeps boxes [1]"}, "mmcv", "broken", "keeps boxes [1]", MMCV),
    (
        {**GPU, "ops_cuda": "RuntimeError: nms_impl: implementation for device cuda:0 not found."},
        "mmcv", "broken", "no operations for this GPU", f"FORCE_CUDA=1 {MMCV}",
    ),
    ({"mmdet": "AssertionError: MMCV==2.2.0 is used"}, "mmdet", "broken", "MMCV==2.2.0", "onedl-mmdetection==3.5.1"),
    ({"mmdet": "ModuleNotFoundError: No module named 'mmengine'"}, "mmdet", "broken", "mmengine", "onedl-mmengine=="),
    ({"ray": "ModuleNotFoundError: No module named 'ray'"}, "ray", "broken", "'ray'", '"ray[train,tune]==2.60.0"'),
    ({"packages": installed("opencv-python")}, "opencv", "note", "over each other", "uninstall -y opencv-python op"),
    ({"packages": installed("opencv-python")}, "opencv", "note", "over each other", HEADLESS),
    (
        {"packages": installed("opencv-python", without=("opencv-python-headless",))},
        "opencv", "note", "a desktop's libraries", HEADLESS,
    ),
    ({"opencv": "ImportError: libGL.so.1: cannot open"}, "opencv", "broken", "libGL.so.1", HEADLESS),
    ({"plugins": {**VALUES["plugins"], "parts": 0}}, "plugins", "broken", "none is installed", "./plugins/*"),
    (
        {"plugins": {**VALUES["plugins"], "broken": ["plugin 'own' (my-own 1.0) is broken: ImportError: x"]}},
        "plugins", "broken", "plugin 'own' (my-own 1.0)", "FINESEG_DISABLE_PLUGINS=own",
    ),
    ({"plugins": "FinesegError: head 'a' is provided by x and y"}, "plugins", "broken", "provided by", "plugins list"),
    # machine
    ({"memory": {"total": 8 * GIB, "available": 3 * GIB}}, "memory", "note", "3.0 GiB free of 8.0", "ps aux"),
    ({"memory": {"total": 8 * GIB, "available": GIB // 2}}, "memory", "broken", "0.5 GiB free", "ps aux"),
    ({"disks": disk("store", free=0)}, "store", "broken", "0.0 GiB free", "--store"),
    ({"disks": disk("store", free=5 * GIB)}, "store", "note", "5.0 GiB free", "--store"),
    ({"disks": disk("store", writable=False)}, "store", "broken", "cannot be written", "--store"),
    ({"disks": disk("temporary files", free=GIB // 4)}, "temporary files", "broken", "0.2 GiB", "export TMPDIR"),
    ({"disks": disk("temporary files", free=12 * GIB)}, "temporary files", "note", "95% full", "export TMPDIR"),
    ({"disks": disk("shared memory", free=64 * 2**20)}, "shared memory", "note", "Ray gets slow", "--shm-size"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "check", "status", "what", "mend"), FAULTS)
def test_fault(changes: dict[str, Any], check: str, status: str, what: str, mend: str) -> None:
    findings = {each.check: each for each in diagnose(machine(**changes))}
    found = findings.pop(check)
    assert found.status == status
    assert what in found.what
    assert mend in found.mend
    assert "\n" not in found.what + found.mend
    assert {each.check for each in findings.values() if each.status == "broken"} == set()  # one fault is told once


def test_required_packages() -> None:
    def lacking(name: str, found: str, by: str = "fineseg") -> dict[str, str]:
        return {"requirement": f"{name}>=9", "name": name, "found": found, "by": by}

    unmet = [lacking("pandas", "", "ray"), lacking("pydantic", "1.10"), lacking("torch", ""), lacking("ray", "2.5")]
    findings = {each.check: each for each in diagnose(machine(packages={"versions": VERSIONS, "unmet": unmet}))}
    assert findings["packages"].status == "broken"
    assert "pandas>=9 is required by ray (absent)" in findings["packages"].what
    assert "pydantic>=9 is required by fineseg (1.10)" in findings["packages"].what
    assert "torch" not in findings["packages"].what  # that it is absent is told by its own check
    assert findings["packages"].mend == 'pip install "pandas>=9" "pydantic>=9" ray==2.60.0'


def test_broken_torch_is_told_once() -> None:
    fault = "ImportError: libtorch_cpu.so: cannot open shared object file"
    others = dict.fromkeys(("gpu", "mmcv", "ops_cpu", "ops_cuda", "mmdet"), fault)
    broken = [each for each in diagnose(machine(torch=fault, **others)) if each.status == "broken"]
    assert [each.check for each in broken] == ["torch"]


def test_no_combination_of_faults_is_too_much() -> None:
    chance = random.Random(7)
    for _ in range(300):
        steps = {name: "RuntimeError: " + "x " * 400 for name in STEPS if chance.random() < 0.5}
        more = {key: value for key, value in GPU.items() if key not in STEPS and chance.random() < 0.5}
        facts = machine(**steps, **more, uv=chance.random() < 0.5, compiler=chance.random() < 0.5)
        for each in diagnose(facts):
            assert bool(each.mend) == (each.status != "ok"), each
            assert len(each.what) < 400


def test_tested_set_is_the_pinned_one() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    assert dict(pin.split("==") for pin in tool["constraint-dependencies"]) == TESTED
    assert {re.split(r"[ ;]", each)[0] for each in tool["override-dependencies"]} == set(LEFT_OUT)
    page = (ROOT / "docs" / "how-to" / "gpu-and-pip-set-up.md").read_text(encoding="utf-8")
    assert f"Python {TESTED_PYTHON}" in page


def test_headless_range_is_the_required_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert HEADLESS_RANGE in project["dependencies"]
