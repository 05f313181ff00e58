"""`fineseg ablate` as a user calls it: a table of tiny trainings, and the same command again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PROFILE = Path(__file__).parent / "micro.toml"
STEPS = 6  # of one epoch
IMAGES = 8  # of the held-out split
TABLE = """\
[tables.steps]
title = "Fewer points"
model = "rendered"

[tables.steps.set]
"train.epochs" = 1
"models.rendered.train.validate_every" = 0
"models.rendered.train.checkpoint" = "last"

[tables.steps.rows.start]
published = { AP = 62.9 }

[tables.steps.rows.threshold]
title = "Smaller masks"
set = { "predict.mask_threshold" = 0.7 }

[tables.steps.rows.fewer]
on = "start"
set = { "models.rendered.head.points.train" = 3 }
published = { AP = 60.9 }
"""


def command(folder: Path, verb: str, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fineseg", verb, str(PROFILE), "--with", "table.toml", "--store", "store", *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_table_and_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(TABLE)
    text, out = command(tmp_path, "ablate", "steps", "--out", "out"), tmp_path / "out"
    record = read(out / "table.json")
    assert record["work"] == {"optimizer_steps": 2 * STEPS, "forward_passes": 3 * IMAGES}
    rows = {row["name"]: row for row in record["rows"]}
    assert [row["status"] for row in rows.values()] == ["scored"] * 3
    assert rows["threshold"]["shares_training_of"] == "start" and rows["fewer"]["shares_training_of"] is None
    keys = {name: row["trainings"][0]["key"] for name, row in rows.items()}
    assert keys["start"] == keys["threshold"] != keys["fewer"]
    for row in rows.values():
        assert set(row["metrics"]) >= {"segm", "boundary"}
        assert list(row["metrics"]["segm"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
        assert row["trainings"][0]["steps"] == STEPS and 0.1 < row["trainings"][0]["memory_gib"] < 20
    assert "| threshold | Smaller masks |" in (out / "table.md").read_text()
    assert "Measured and published AP" in (out / "report.html").read_text(encoding="utf-8")
    wrote, last = text.splitlines()[-2:]
    assert wrote == "wrote table.json and table.md in out"
    assert last.startswith("done in ") and last.endswith(": open out/report.html in a browser")

    text, again = command(tmp_path, "ablate", "steps", "--out", "again"), tmp_path / "again"
    second = read(again / "table.json")
    assert second["work"] == {"optimizer_steps": 0, "forward_passes": 0} and "starting Ray" not in text
    assert second["rows"] == record["rows"]
