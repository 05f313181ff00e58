"""Finding out: steps that raise, die or hang, tools that are absent, and what their output is read as."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmcv import ops

from fineseg.doctor import steps
from fineseg.doctor.facts import Disk, Gpu
from fineseg.doctor.probe import cores, disks, parse_gpus, probe, run_steps
from fineseg.doctor.steps import unmet

# ---------------------------------------------------------------- processes


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (
            "raise ImportError('libGL.so.1: cannot open\\nshared object file')",
            "ImportError: libGL.so.1: cannot open sha",
        ),
        ("import os; os.abort()", "the process died (signal 6)"),
        ("import os, sys; sys.stderr.write('bad luck\\n'); sys.stderr.flush(); os._exit(3)", "(exit code 3): bad luck"),
        ("raise SystemExit('go away')", "SystemExit: go away"),
        ("import ctypes; ctypes.string_at(0)", "the process died (signal 11)"),
    ],
)
def test_step_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, fault: str) -> None:
    (tmp_path / "cv2.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    answers = run_steps(("opencv", "memory"))
    assert fault in answers["opencv"].error and "\n" not in answers["opencv"].error
    assert not answers["opencv"].value
    assert answers["memory"].error == ""  # the steps after it are answered all the same
    assert 0 < answers["memory"].value["available"] <= answers["memory"].value["total"]


def test_step_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("import time; time.sleep(100)")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_steps(("opencv",), patience=1.5)["opencv"].error == "no answer within 1.5 s"


def test_libraries_may_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("print('{\"step\": \"memory\"}', flush=True); __version__ = '9'; resize = print")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_steps(("opencv",))["opencv"].value == {"version": "9"}


def test_environment_without_anything(tmp_path: Path) -> None:
    """All that fineseg needs fails to import: the command still says so, in a few lines, with exit code 1."""
    for name in ("torch", "mmcv", "mmengine", "mmdet", "ray", "cv2", "psutil", "packaging", "pydantic", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} is ruined')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    code = "import sys; from fineseg.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "doctor", "--json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    for check in ("packages", "torch", "ray", "opencv", "plugins", "memory"):
        assert findings[check]["status"] == "broken" and "ruined" in findings[check]["what"], check


def test_this_environment() -> None:
    """The real steps, in the environment that the tests run in."""
    facts = probe(Path("not-there"))
    assert {name: answer.error for name, answer in facts.steps.items() if answer.error} == {}
    assert facts.step("packages").value["unmet"] == []
    assert facts.step("plugins").value["parts"] > 10
    assert facts.step("mmcv").value["version"] == facts.versions["onedl-mmcv"]
    assert facts.step("ops_cuda").value["ran"] == bool(facts.step("gpu").value["devices"])


def test_wrong_operations_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps.ops_cpu()
    with monkeypatch.context() as patch:
        patch.setattr(ops, "nms", lambda boxes, scores, threshold: (boxes, torch.arange(3)))
        with pytest.raises(ArithmeticError, match="nms on cpu"):
            steps.ops_cpu()
    monkeypatch.setattr(ops, "roi_align", lambda *_: torch.zeros(1, 2, 2, 2))
    with pytest.raises(ArithmeticError, match="roi_align on cpu"):
        steps.ops_cpu()


# ------------------------------------------------------------- requirements


def test_unmet_requirements() -> None:
    requires = {
        "fineseg": ["Frame[fast]>=2", "opencv-python", 'gone; extra == "docs"', 'old; python_version < "3"'],
        "frame": ["left_pad==1.*", 'speed>=3; extra == "fast"', 'unused; extra == "slow"', "fineseg"],
        "speed": ["imaug", "absent"],
        "left-pad": [],
        "stranger": ["nothing"],
    }
    versions = {"fineseg": "0.1", "frame": "2.1.dev3+local", "left-pad": "2.0", "speed": "2.9", "stranger": "1"}
    found = {each["requirement"]: (each["found"], each["by"]) for each in unmet(["fineseg"], requires, versions)}
    assert found == {"left_pad==1.*": ("2.0", "frame"), "speed>=3": ("2.9", "frame"), "absent": ("", "speed")}
    assert unmet(["fineseg"], {"fineseg": ["frame"]}, {"fineseg": "0.1"})[0]["found"] == ""


# -------------------------------------------------------------------- tools


def test_gpus_are_read() -> None:
    text = "NVIDIA H100 80GB HBM3, 81559, 570.86.15\nGrace, the second, [N/A], 570.86.15\n"
    assert parse_gpus(text) == (
        Gpu("NVIDIA H100 80GB HBM3", 81559, "570.86.15"),
        Gpu("Grace, the second", 0, "570.86.15"),
    )
    assert parse_gpus("") == parse_gpus("No devices were found\n") == ()


def test_tools_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fineseg.doctor.probe.GROUPS", ())
    tools = {
        "nvidia-smi": '[ -n "$1" ] && echo "A10, 23028, 580.95" || echo "| Driver: 580.95  CUDA Version: 13.0 |"',
        "nvcc": 'echo "Cuda compilation tools, release 12.4, V12.4.131"',
    }
    for name, code in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    facts = probe(tmp_path)
    assert (facts.gpus, facts.driver_cuda, facts.nvcc) == ((Gpu("A10", 23028, "580.95"),), "13.0", "12.4")
    assert facts.hidden
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, 1, 2'\nexit 9\n")
    assert probe(tmp_path).gpus == ()


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 10**6), ("", 10**6)]
)
def test_cores_of_a_container(tmp_path: Path, quota: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path) == min(most, len(os.sched_getaffinity(0))) == min(most, cores(tmp_path / "none"))


def test_disks_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, temporary, *_ = disks(tmp_path / "deep" / "store")
    assert isinstance(store, Disk) and store.writable and 0 < store.free <= store.total
    assert store.path == str(tmp_path / "deep" / "store") and not (tmp_path / "deep").exists()
    assert temporary.path == str(tmp_path)
    file = tmp_path / "file"
    file.touch()
    assert not disks(file / "store")[0].writable  # a folder cannot be made in a file
