"""`fineseg sweep` as a user calls it: three tiny trials, the same command again, and the best settings as a run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fineseg.catalog import load_catalog
from fineseg.console import Console
from fineseg.profile import load_profile
from fineseg.runs import training_key
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.prepare import prepare
from fineseg.stages.sweep import Sweep
from fineseg.store import Store, append_row

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
CATALOG = load_catalog(warn=print)
PROFILE = Path(__file__).parent / "micro.toml"
STEPS = 3 * 2 * 6  # trials x epochs x steps an epoch
SWEEP = """\
[train]
epochs = 2

[competition]
models = ["plain"]

[sweep]
samples = 3
metric = "AP50"

[sweep.space]
"train.lr" = { log_uniform = [3e-4, 3e-3] }
"models.plain.head.mask_width" = { choice = [8, 16] }
"""


EPOCHS = 30  # a worker trains on while the word to stop is on its way: more epochs than pass meanwhile
STOPPED = f"""\
[train]
epochs = {EPOCHS}

[competition]
models = ["plain"]

[sweep]
search = "grid"
scheduler = "asha"

[sweep.space]
"models.plain.head.mask_width" = {{ choice = [8, 12, 16, 7, 9, 10, 1000000000] }}  # no machine has memory for the last
"""


def sweep(folder: Path, out: str) -> tuple[str, Path]:
    command = [sys.executable, "-m", "fineseg", "sweep", str(PROFILE), "--with", "sweep.toml", "--store", "store"]
    done = subprocess.run(
        [*command, "--out", out], cwd=folder, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, folder / out


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_sweep_and_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    text, out = sweep(tmp_path, "out")
    record = read(out / "sweep.json")
    assert record["work"] == {"optimizer_steps": STEPS, "forward_passes": 0}
    assert [trial["status"] for trial in record["trials"]] == ["finished"] * 3
    for trial in record["trials"]:
        assert [row["epoch"] for row in trial["history"]] == [1, 2] and trial["steps"] == STEPS / 3
        assert trial["score"] == trial["history"][-1]["AP50"]
        assert (Path(trial["folder"]) / "weights.pth").is_file()
    last = text.splitlines()[-1]
    assert last.startswith("done in ") and last.endswith("--with sweep.toml --with out/best.toml")
    noise = [line for line in text.splitlines() if "Trial " in line or "ray::" in line or "WARNING" in line]
    assert not noise, noise
    assert not [path for path in (tmp_path / "store").rglob("*") if path.name in ("lock.json", "ray")]
    assert not list((tmp_path / "store").rglob("*.pkl"))
    assert "Settings and AP50" in (out / "report.html").read_text(encoding="utf-8")

    text, again = sweep(tmp_path, "again")
    second = read(again / "sweep.json")
    assert second["work"] == {"optimizer_steps": 0, "forward_passes": 0} and "starting Ray" not in text
    assert second["trials"] == record["trials"] and (again / "best.toml").read_text() == (out / "best.toml").read_text()

    overlays = [tmp_path / "sweep.toml", out / "best.toml"]
    best = next(trial for trial in record["trials"] if trial["number"] == record["best"])
    loaded = load_profile(PROFILE, CATALOG, overlays=overlays)
    assert loaded.profile.train_of("plain").lr == best["settings"]["train.lr"]
    assert loaded.profile.models["plain"].head.options["mask_width"] == best["settings"]["models.plain.head.mask_width"]
    console = Console()
    store = Store(tmp_path / "store")
    context = Context(loaded.profile, loaded.tables, PROFILE, CATALOG, store, console, Scheduler(console))
    prepared = prepare(context)
    key = training_key(loaded.profile, CATALOG, "plain", prepared.digests, prepared.splits)
    assert key == best["key"] and store.finished("train", key)  # a run finds its training done


def test_trials_that_are_stopped_or_fail_make_room_for_others(tmp_path: Path) -> None:
    """More of them than there are cores: what was reserved for each must come free again."""
    (tmp_path / "sweep.toml").write_text(STOPPED)
    loaded = load_profile(PROFILE, CATALOG, overlays=[tmp_path / "sweep.toml"])
    console, store = Console(), Store(tmp_path / "store")
    context = Context(loaded.profile, loaded.tables, PROFILE, CATALOG, store, console, Scheduler(console))
    trials = Sweep(context, prepare(context), loaded.profile.sweep, None)  # type: ignore[arg-type]
    for trial in trials.trials[:3]:  # as earlier commands would have left them: far better than these nets can be
        trials.folder_of(trial).mkdir(parents=True)
        for epoch in range(1, EPOCHS + 1):
            append_row(trials.folder_of(trial) / "curve.jsonl", {"epoch": epoch, "step": 6 * epoch, "AP": 50.0})
        store.finish("train", trial.key, {"model": "plain"})
    text, out = sweep(tmp_path, "out")
    found = read(out / "sweep.json")["trials"]
    assert [trial["status"] for trial in found] == ["finished"] * 3 + ["stopped"] * 3 + ["failed"]
    epochs = [len(trial["history"]) for trial in found]
    assert epochs[:3] == [EPOCHS] * 3 and epochs[-1] == 0 and all(1 <= done < EPOCHS for done in epochs[3:-1]), epochs
    assert found[-1]["note"].startswith("out of memory: ")
    assert "Traceback" not in text
    assert list((out / "logs").iterdir())  # what the processes printed, and nothing of it on the terminal
