"""`fineseg run --budget` as a user calls it: a clean stop, and with more of it the undisturbed result."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fineseg.store import read_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PROFILE = Path(__file__).parent / "micro.toml"
SETTINGS = ('competition.models=["plain"]', "train.epochs=3")


def run(folder: Path, out: str, *more: str) -> tuple[int, str]:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", out, *words, *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    return done.returncode, done.stderr


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_budget_stops_a_run_and_more_of_it_ends_it(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    code, text = run(tmp_path / "whole", "out")
    assert code == 0, text
    whole = read(tmp_path / "whole" / "out" / "manifest.json")["cost"]
    assert [(row["stage"], row["now"] == row["ever"]) for row in whole["rows"]] == [("train", True), ("predict", True)]

    code, text = run(tmp_path, "out", "--budget", "0.1cpu-s")
    assert code == 1, text
    faults = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(faults) == 1 and faults[0].startswith("error: the budget of 0.1 CPU-seconds is spent (")
    assert "): done no model; left plain (1 of 3 epochs) and all that follows; the same command goes on" in faults[0]
    (entry,) = (tmp_path / "store" / "train").iterdir()
    assert [row["steps"] for row in read_rows(entry / "ledger.jsonl")] == [6] and not (entry / "done.json").exists()
    assert not [p for p in (tmp_path / "store").rglob("*") if p.name == "lock.json" or p.suffix == ".part"]
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"logs"} == {"log.txt"}

    code, text = run(tmp_path, "out", "--budget", "1cpu-h")
    assert code == 0, text
    assert read(tmp_path / "out" / "metrics.json") == read(tmp_path / "whole" / "out" / "metrics.json")
    manifest = read(tmp_path / "out" / "manifest.json")
    training = manifest["cost"]["rows"][0]
    assert (
        manifest["work"]["optimizer_steps"] == training["now"]["steps"] == 2 * 6 and training["ever"]["steps"] == 3 * 6
    )
    assert training["ever"]["cpu_hours"] > training["now"]["cpu_hours"] > 0
    assert "<h2>Cost</h2>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "estimate: plain" in text and "is over the budget" not in text
