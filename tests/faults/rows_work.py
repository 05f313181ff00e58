"""Faults of what works for long: `run`, `sweep`, `ablate`; of `doctor`; and of any command line."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from faults.place import Row, cut, edited, folder_at, gone, holds, nothing, replaced
from planted import Planted

from fineseg.catalog import load_catalog
from fineseg.cli.main import main
from fineseg.doctor import probe
from fineseg.profile.schema import PartChoice
from fineseg.runs import part_key
from fineseg.store import Store, content_key

RUN, SWEEP, ABLATE = "run c.toml --out o", "sweep c.toml --out o", "ablate c.toml steps --out o"
LOGGED = ("o", "o/log.txt", ".fineseg*")
GIVEN = RUN + " --weights a=w.pth"
ROOMS = {"size": 32, "train": 1, "val": 1, "test": 1}
DRAWN = """ --set 'data.dataset={name="showroom", size=32, train=1, val=1, test=1}'"""


def carries_code(folder: Path) -> None:
    torch.save({"model": Planted(folder / "written")}, folder / "w.pth")


def other_network(folder: Path) -> None:
    torch.save({"weight": torch.ones(2)}, folder / "w.pth")


def damaged_findings(folder: Path) -> None:
    """Let a check write what it found, and the disk change it."""
    with pytest.raises(SystemExit), redirect_stdout(StringIO()):
        main(["check", "c.toml", "--data"])
    for file in folder.glob(".fineseg/checks/*/*.json"):
        file.write_text("{")


@contextmanager
def busy(folder: Path) -> Iterator[None]:
    """Let another run hold the folder."""
    (folder / "o").mkdir()
    with open(folder / "o" / "log.txt", "w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield


@contextmanager
def drawing(folder: Path) -> Iterator[None]:
    """Let another run draw the data."""
    choice = PartChoice.model_validate({"name": "showroom", **ROOMS})
    key = content_key(part_key(load_catalog(warn=print), "dataset", choice))
    with Store(folder / ".fineseg").writing("data", key):
        yield


def sound_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor look at the store alone."""
    look = probe.disks
    monkeypatch.setattr(probe, "run_steps", lambda names: {})
    monkeypatch.setattr(probe, "disks", lambda store: look(store)[:1])
    monkeypatch.setattr("fineseg.doctor.checks.CHECKS", ())


WORK = [
    Row("run: folder is a file", holds("o", ""), RUN),
    Row("run: folder below a file", nothing, RUN.replace("--out o", "--out c.toml/o")),
    Row("run: folder that nobody can make", nothing, RUN.replace("--out o", "--out /proc/o")),
    Row("run: folder of another run", busy, RUN, leaves=("o/log.txt",)),
    Row("run: data drawn by another run", drawing, RUN + DRAWN, LOGGED),
    Row("run: store is a file", holds("store", ""), RUN + " --store store", LOGGED),
    Row("run: weights missing", nothing, GIVEN, LOGGED),
    Row("run: weights are a folder", folder_at("w.pth"), GIVEN, LOGGED),
    Row("run: weights cut off", cut("s.zip"), RUN + " --weights a=s.zip", LOGGED),
    Row("run: weights carry code", carries_code, GIVEN, LOGGED),
    Row("run: weights of another network", other_network, GIVEN, LOGGED),
    Row("run: weights of no model", nothing, RUN + " --weights b=w.pth"),
    Row("run: weights without file", nothing, RUN + " --weights w.pth"),
    Row("run: budget of words", nothing, RUN + " --budget much"),
    Row("run: image missing", gone("data/test/1.png"), RUN, LOGGED),
    Row("run: unlabelled image damaged", cut("data/test/1.png"), RUN, LOGGED),
    Row("run: findings of a check damaged", damaged_findings, RUN, ("o", "o/log.txt")),
    Row("run: no cluster at the address", nothing, RUN + " --ray 127.0.0.1:1", LOGGED),
    Row("run: a client's address", nothing, RUN + " --ray ray://127.0.0.1:1", LOGGED),
    Row("sweep: nothing to sweep", replaced("c.toml", "sweep", "variants.x"), SWEEP),
    Row("sweep: folder is a file", holds("o", ""), SWEEP),
    Row("sweep: no samples", nothing, SWEEP + " --samples 0"),
    Row("sweep: image missing", gone("data/val/1.png"), SWEEP, LOGGED),
    Row("sweep: budget of words", nothing, SWEEP + " --budget -1h"),
    Row("ablate: table unknown", nothing, ABLATE.replace("steps", "step")),
    Row("ablate: row unknown", nothing, ABLATE + " --rows first,third"),
    Row("ablate: folder is a file", holds("o", ""), ABLATE),
    Row(
        "ablate: a row on none",
        replaced("c.toml", "[tables.steps.rows.second]", '[tables.steps.rows.second]\non = "x"'),
        ABLATE,
    ),
    Row(
        "ablate: validation unlabelled",
        edited("data/annotations/instances_val.json", lambda d: d.pop("annotations")),
        ABLATE,
        LOGGED,
    ),
]
LINES = [
    Row("verb unknown", nothing, "trian c.toml"),
    Row("option unknown to run", nothing, "run c.toml --budgte 8h"),
    Row("argument missing", nothing, "ablate c.toml"),
    Row("task unknown", nothing, "evaluate --task semantic"),
    Row("profile not said", nothing, "submission check s.zip"),
]
DOCTOR = [
    Row("doctor: store is a file", holds("store", ""), "doctor --store store", patch=sound_machine),
]
ROWS = WORK + LINES + DOCTOR
