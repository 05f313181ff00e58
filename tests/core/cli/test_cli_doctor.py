"""`fineseg doctor` as a user meets it, on machines that are thought up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fineseg.cli.doctor import command
from fineseg.doctor.facts import Answer, Facts

GIB = 2**30
SOUND = Facts(
    python="3.11.7",
    platform="Linux x86_64",
    cores=2,
    steps={
        "torch": Answer({"version": "2.13.0", "cuda": None}),
        "gpu": Answer({"devices": []}),
        "mmcv": Answer({"version": "2.3.6"}),
        "ops_cpu": Answer({"cuda": "not available"}),
        "ops_cuda": Answer({"ran": False}),
        "mmdet": Answer({"mmengine": "0.10.12", "mmdet": "3.5.1"}),
        "ray": Answer({"version": "2.60.0"}),
        "packages": Answer({"versions": {"ray": "2.60.0"}, "unmet": []}),
        "plugins": Answer({"plugins": ["own"], "parts": 1, "broken": [], "disabled": []}),
        "opencv": Answer({"version": "4.14.0"}),
        "memory": Answer({"total": 24 * GIB, "available": 17 * GIB}),
    },
)
MEAGRE = replace(SOUND, python="3.12.0")
BROKEN = replace(MEAGRE, steps={**SOUND.steps, "ray": Answer(error="ModuleNotFoundError: No module named 'ray'")})


@pytest.mark.parametrize(
    ("facts", "code", "end"), [(SOUND, 0, "0 broken, 0"), (MEAGRE, 0, "0 broken, 1"), (BROKEN, 1, "1 broken, 1")]
)
def test_exit_code_and_lines(monkeypatch: pytest.MonkeyPatch, facts: Facts, code: int, end: str) -> None:
    monkeypatch.setattr("fineseg.doctor.probe.probe", lambda store: facts)
    done = CliRunner().invoke(command, [])
    lines = done.output.splitlines()
    assert done.exit_code == code
    assert lines[-1] == f"{end} to note"
    assert len(lines) <= 24 and max(map(len, lines)) <= 120  # one screen
    counted = [sum(line.startswith(status) for line in lines) for status in ("broken", "note")]
    assert end == f"{counted[0]} broken, {counted[1]}"
    assert sum(line.strip().startswith("mend: ") for line in lines) == sum(counted)


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[Path] = []
    monkeypatch.setattr("fineseg.doctor.probe.probe", lambda store: stores.append(store) or BROKEN)
    done = CliRunner().invoke(command, ["--json", "--store", "elsewhere"])
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert (told["broken"], told["notes"]) == (1, 1)
    (ray,) = [each for each in told["findings"] if each["check"] == "ray"]
    assert ray["status"] == "broken" and ray["mend"] == 'pip install "ray[train,tune]==2.60.0"'
    assert told["facts"]["steps"]["torch"]["value"]["version"] == "2.13.0"
    assert stores == [Path("elsewhere")]
