"""`fineseg board` and `fineseg diff`, on folders as run, sweep and ablate leave them, sound and broken."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fineseg import Category, FinesegError
from fineseg.board import cache
from fineseg.board.cache import NAME, read_board
from fineseg.board.compare import compare_runs
from fineseg.board.rank import differences, in_short
from fineseg.board.read import flat_settings
from fineseg.cli.main import main
from fineseg.profile.schema import Profile
from fineseg.report.records import ReportData
from fineseg.stages.report import class_table

PROFILE: dict[str, Any] = {
    "competition": {"name": "rooms"},
    "data": {"dataset": {"name": "coco-instance", "group": "room"}, "root": "/data", "test": "test"},
    "train": {"epochs": 12, "lr": 0.01, "batch": 2},
    "models": {
        name: {"backbone": {"name": "resnet", "depth": 50}, "neck": {"name": "fpn"}, "head": {"name": head}}
        for name, head in (("m1", "mask-rcnn"), ("m2", "pointrend"))
    },
}
COST = {"ever": {"cpu_hours": 1.25, "gpu_hours": 0.0}, "now": {"cpu_hours": 0.5, "gpu_hours": 0.0}}


def put(folder: Path, **documents: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def write_run(folder: Path, ap: float, *, started: str = "2026-11-21T10:00:00+00:00", **changes: Any) -> Path:
    """Write a run of two models that reaches `ap`; `changes` are settings by dotted key, with _ for the dots."""
    tables = json.loads(json.dumps(PROFILE))
    for key, value in changes.items():
        *above, last = key.split("_")
        table = tables
        for name in above:
            table = table[name]
        table[last] = value
    scores = {name: {"segm": {"AP": ap - below, "AP50": 60.0, "APs": None}} for name, below in (("m1", 3), ("m2", 1))}
    return put(
        folder,
        profile=Profile.model_validate(tables).model_dump(mode="json"),
        manifest={"started": started, "cost": COST, "data": {"splits": {"val": {"images": 5, "digest": "abc"}}}},
        metrics={"models": scores, "combined": {"segm": {"AP": ap, "AP50": 61.0, "APs": None}}},
        classes={
            "combined": [{"class": "bed", "AP": ap}, {"class": "sofa", "AP": 40.0}, {"class": "lamp", "AP": None}],
            "m1": [{"class": "bed", "AP": ap - 3}, {"class": "sofa", "AP": 40.0}, {"class": "lamp", "AP": None}],
        },
    )


def write_others(top: Path) -> None:
    """Write a panoptic run, a run in folds, a sweep, and an ablation table."""
    groups = {name: {"pq": pq, "sq": 80.0, "rq": 50.0, "n": 3} for name, pq in (("All", 41.0), ("Things", 40.0))}
    groups["Stuff"] = {"pq": None, "sq": None, "rq": None, "n": 0}
    panoptic = write_run(top / "panoptic", 30.0, competition_name="streets", competition_task="panoptic")
    put(panoptic, metrics={"models": {}, "combined": {"panoptic": groups, "semantic": {"mIoU": 55.0}}})
    folds = write_run(top / "folds", 33.0, data_test=None, data_validation={"folds": 3})
    metrics = json.loads((folds / "metrics.json").read_text())
    metrics["models"]["m1"]["folds"] = [{"AP": 30.0}] * 3
    put(folds, metrics=metrics)
    trials = [{"number": n, "score": score} for n, score in ((1, 20.5), (2, None), (3, 24.0))]
    record = {"started": "2026-11-20T09:00:00+00:00", "cost": COST}
    put(top / "rooms" / "sweep", sweep={**record, "metric": "AP50", "best": 3, "trials": trials})
    rows = [{"name": "a", "metrics": {"segm": {"AP": 12.0}}}, {"name": "b", "metrics": {}}]
    table = {**record, "competition": "rooms", "headline": ["segm", "AP"], "rows": rows}
    put(top / "table1", table=table)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


# ------------------------------------------------------------------------- board


def test_lists_every_kind_best_first(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    write_run(tmp_path / "first", 30.0)
    write_run(tmp_path / "deep" / "second", 35.0, started="2026-11-21T11:00:00+00:00", train_lr=0.02)
    write_others(tmp_path)
    code, out, err = call("board", tmp_path)
    assert (code, err) == (0, "")
    rooms, streets = out.split("\n\n")
    lines = [re.split(r"  +", line) for line in rooms.splitlines()]
    assert lines[0] == ["rooms"] and lines[1] == ["score", "run", "started", "cost", "what differs"]
    assert [line[:2] for line in lines[2:]] == [
        ["AP 35.0", "deep/second"],
        ["AP 33.0", "folds"],
        ["AP 30.0", "first"],
        ["AP50 24.0", "rooms/sweep"],
        ["AP 12.0", "table1"],
    ]
    assert lines[2][2:] == ["2026-11-21", "1.2 CPU-h", "lr=0.02"]
    assert "folds=3" in lines[3][4] and lines[5][4] == "sweep of 3" and lines[6][4] == "ablation of 2"
    assert streets.splitlines()[0] == "streets" and streets.splitlines()[2].startswith("PQ 41.0  panoptic")


def test_other_figures_sort(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    write_run(tmp_path / "a", 30.0)
    write_others(tmp_path)
    found = json.loads(call("board", tmp_path, "--metric", "AP50", "--json")[1])["competitions"]["rooms"]
    assert [(row["score"], row["kind"]) for row in found] == [
        (61.0, "run"),
        (61.0, "run"),
        (24.0, "sweep"),
        (None, "ablation"),
    ]
    code, _, err = call("board", tmp_path, "--metric", "AP5")
    assert code == 1 and err.startswith("error: --metric AP5: no run has such a figure; did you mean AP50 or AP?")


def test_broken_folders_are_named_and_the_rest_is_listed(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    write_run(tmp_path / "sound", 30.0)
    for name, spoil in {
        "cut": lambda folder: (folder / "manifest.json").write_text('{"started'),
        "bare": lambda folder: (folder / "profile.json").unlink(),
        "list": lambda folder: (folder / "metrics.json").write_text("[]"),
        "odd": lambda folder: (folder / "metrics.json").write_text('{"models": {}, "combined": {"segm": {"AP": "x"}}}'),
        "binary": lambda folder: (folder / "metrics.json").write_bytes(b"\xff\xfe"),
        "older": lambda folder: (folder / "metrics.json").write_text('{"models": {}}'),
        "stopped": lambda folder: (folder / "manifest.json").unlink(),
    }.items():
        spoil(write_run(tmp_path / name, 10.0))
    put(tmp_path / "begun").joinpath("log.txt").touch()
    code, out, err = call("board", tmp_path)
    assert code == 0 and [line.split()[2] for line in out.splitlines()[2:]] == ["sound"]
    documents = "manifest.json or metrics.json or profile.json"
    assert sorted(err.replace(f"{tmp_path}/", "").splitlines()) == [
        "warning: not listed: bare: profile.json is missing",
        "warning: not listed: begun, stopped: not through: no scores yet; the same command goes on with it",
        "warning: not listed: binary: metrics.json: is damaged",
        "warning: not listed: cut: manifest.json: is damaged",
        f"warning: not listed: list: {documents}: not as fineseg writes it (TypeError)",
        f"warning: not listed: odd: {documents}: not as fineseg writes it (ValueError)",
        f"warning: not listed: older: {documents} lacks 'combined': of another version, or damaged",
    ]
    for number in range(9):
        (put(tmp_path / f"begun{number}") / "log.txt").touch()
    assert "begun, begun0, begun1 and 8 more: not through" in call("board", tmp_path)[2].replace(f"{tmp_path}/", "")
    shutil.rmtree(tmp_path / "begun8")
    assert len(json.loads(call("board", tmp_path, "--json")[1])["broken"]) == 16


def test_nothing_there(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    assert call("board", tmp_path) == (0, f"{tmp_path}: no finished run\n", "")
    with pytest.raises(FinesegError, match="no such folder"):
        read_board(tmp_path / "nowhere")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_is_never_overrun(tmp_path: Path, columns: int) -> None:
    write_run(tmp_path / ("a-long-name-of-a-run" * 3), 30.0, train_lr=0.123456, train_epochs=7)
    write_run(tmp_path / "b", 31.0)
    write_run(tmp_path / "c", 32.0)
    code = (
        "import pty, sys, os; from fineseg.cli.main import main\n"
        f"os.environ['COLUMNS'] = '{columns}'\n"
        f"pid, fd = pty.fork()\nif pid == 0: main(['board', {str(tmp_path)!r}])\n"
        "text = b''\n"
        "while True:\n"
        "    try: part = os.read(fd, 65536)\n"
        "    except OSError: break\n"
        "    if not part: break\n"
        "    text += part\n"
        "sys.stdout.buffer.write(text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode()).splitlines()
    assert "AP 32.0" in done.stdout.decode() and 40 < max(map(len, lines)) <= columns


# ------------------------------------------------------------------------- cache


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    original = cache.read_entry
    monkeypatch.setattr(cache, "read_entry", lambda folder, kind: read.append(folder) or original(folder, kind))
    return read


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_run(tmp_path / str(number), 30.0 + number)
    read = count_reads(monkeypatch)
    first, _ = read_board(tmp_path)
    assert len(read) == 4
    assert read_board(tmp_path)[0] == first and len(read) == 4
    write_run(tmp_path / "2", 50.5)
    shutil.rmtree(tmp_path / "3")
    again, _ = read_board(tmp_path)
    assert read[4:] == [tmp_path / "2"] and [entry["scores"]["AP"] for entry in again] == [30.0, 31.0, 50.5]
    with sqlite3.connect(tmp_path / NAME) as base:
        assert base.execute("SELECT count(*) FROM entries").fetchone() == (3,)
    moved = tmp_path.rename(tmp_path.with_name("moved"))  # folders are kept as they lie from the cache
    assert [Path(entry["folder"]).parent for entry in read_board(moved)[0]] == [moved] * 3 and len(read) == 5


def _garbage(file: Path) -> None:
    file.write_bytes(os.urandom(4096))


def _other_version(file: Path) -> None:
    with sqlite3.connect(file) as base:
        base.execute("PRAGMA user_version = 99")


def _other_table(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as base:
        base.execute("CREATE TABLE entries (other TEXT)")
        base.execute(f"PRAGMA user_version = {cache.VERSION}")


def _no_json(file: Path) -> None:
    with sqlite3.connect(file) as base:
        base.execute("UPDATE entries SET entry = '{'")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize("spoil", [Path.unlink, _garbage, _cut, _other_version, _other_table, _no_json])
def test_a_cache_that_is_lost_or_damaged_is_made_anew(
    spoil: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "a", 30.0)
    write_run(tmp_path / "b", 31.0)
    first = read_board(tmp_path)
    spoil(tmp_path / NAME)
    read = count_reads(monkeypatch)
    assert read_board(tmp_path) == first
    read_board(tmp_path)
    read.clear()
    assert read_board(tmp_path) == first and read == []


def test_another_schema_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a", 30.0)
    first = read_board(tmp_path)
    read = count_reads(monkeypatch)
    monkeypatch.setattr(Profile, "model_json_schema", lambda: {"other": "defaults"})
    cache.schema_digest.cache_clear()
    try:
        assert read_board(tmp_path) == first and len(read) == 1
    finally:
        cache.schema_digest.cache_clear()


def test_where_nothing_changed_nothing_is_written(tmp_path: Path) -> None:
    read_board(tmp_path)
    assert not (tmp_path / NAME).exists()
    write_run(tmp_path / "a", 30.0)
    read_board(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    read_board(tmp_path)
    assert (tmp_path / NAME).read_bytes() == before


def test_a_cache_that_another_process_is_just_making_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a", 30.0)
    monkeypatch.setattr(cache, "PATIENCE", 0.1)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE entries (folder TEXT PRIMARY KEY, stamp TEXT, entry TEXT)")
        there = (tmp_path / NAME).stat().st_ino
        assert len(read_board(tmp_path)[0]) == 1
        other.execute("COMMIT")
    assert (tmp_path / NAME).stat().st_ino == there


def test_a_folder_that_may_not_be_written_is_listed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "a", 30.0)
    monkeypatch.setattr(cache, "NAME", "no/such/folder.sqlite")
    assert len(read_board(tmp_path)[0]) == 1


def test_many_callers_at_once(tmp_path: Path) -> None:
    for number in range(30):
        write_run(tmp_path / str(number), float(number))
    code = (
        "import sys; from pathlib import Path; from fineseg.board.cache import read_board\n"
        "print([len(read_board(Path(sys.argv[1]))[0]) for _ in range(5)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, timeout=120), range(3)))
    assert [(each.stdout, each.stderr) for each in found] == [("[30, 30, 30, 30, 30]\n", "")] * 3
    with sqlite3.connect(tmp_path / NAME) as base:
        assert base.execute("SELECT count(*) FROM entries").fetchone() == (30,)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ------------------------------------------------------------------- what differs


def test_differences_are_from_what_most_do() -> None:
    assert differences([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 3}]) == [{"b": 2}, {}, {"a": 2}]
    assert differences([{"a": 1}, {"a": 2}]) == [{}, {"a": 2}]
    assert differences([{"a": 1}, {}]) == [{}, {"a": None}]
    assert differences([]) == []


def test_differences_of_parts_and_tables_are_one() -> None:
    parts = [{"head.name": "x", "head.grid": 7, "lr": 1}, {"head.name": "y", "head.points": 3, "lr": 2}]
    assert differences(parts) == [{}, {"head.name": "y", "lr": 2}]
    search = {"combine.ensembler.name": "e", "combine.search.seed": 0, "combine.search.space.theta": [0, 1]}
    plain = {"combine.ensembler.name": "e"}
    assert differences([plain, search, plain]) == [{}, {"combine.search": "set"}, {}]
    assert differences([search, plain, search]) == [{}, {"combine.search": None}, {}]
    assert differences([{"lr": 1}, {"lr": 1, **search}]) == [{}, {"combine": "set"}]
    rule = {"fuser.name": "f"}
    weighed = differences([rule, rule, {**rule, "fuser.weights.a": 0.3}, {**rule, "fuser.weights.a": 0.01}])
    assert [in_short(each) for each in weighed] == ["", "", "weights={a=0.3}", "weights={a=0.01}"]
    fuser = {"lr": 1, "fuser.name": "f", "fuser.overlap": 1}
    assert differences([{"lr": 1}, fuser]) == [{}, {"fuser.name": "f"}]
    assert differences([fuser, {"lr": 1}]) == [{}, {"fuser.name": None}]


def test_models_are_compared_among_the_runs_that_have_them() -> None:
    runs = [
        {"competition.models": ["a"], "models.a.lr": 1},
        {"competition.models": ["a", "b"], "models.a.lr": 1, "models.b.lr": 5},
        {"competition.models": ["a", "b"], "models.a.lr": 2, "models.b.lr": 5},
    ]
    assert differences(runs) == [{"competition.models": ["a"]}, {}, {"models.a.lr": 2}]


def test_differences_in_words() -> None:
    assert in_short({"models.a.head.name": "y", "train.lr": 0.02, "x": None}) == "head=y, lr=0.02, x=-"
    assert in_short({"competition.models": ["a", "b"], "short_side": [64, 96]}) == "models=a+b, short_side=[64, 96]"
    assert in_short({f"k{n}": n for n in range(8)}) == "k0=0, k1=1, k2=2, k3=3, k4=4, k5=5, and 2 more"


def test_settings_leave_out_what_changes_nothing() -> None:
    tables = {**PROFILE, "competition": {"name": "rooms", "models": ["m2"]}}
    found = flat_settings(Profile.model_validate(tables).model_dump(mode="json"))
    assert found["models.m2.head.name"] == "pointrend" and found["competition.models"] == ["m2"]
    assert not [key for key in found if key.startswith(("models.m1", "data.root", "sweep", "competition.name"))]


# -------------------------------------------------------------------------- diff


def test_diff_tells_settings_scores_and_classes(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    a = write_run(tmp_path / "a", 30.0)
    b = write_run(tmp_path / "b", 35.0, train_lr=0.02, models_m1_head={"name": "mask-rcnn", "mask_roi": 7})
    found = compare_runs(a, b)
    assert found["settings"] == {"train.lr": [0.01, 0.02], "models.m1.head.mask_roi": [None, 7]}
    assert found["scores"]["combined"] == {"AP": [30.0, 35.0], "AP50": [61.0, 61.0]}
    assert found["scores"]["m1"]["AP"] == [27.0, 32.0]
    changed = {"class": "bed", "figure": "AP"}
    assert found["classes"] == {
        "combined": [changed | {"scores": [30.0, 35.0]}],
        "m1": [changed | {"scores": [27.0, 32.0]}],
    }
    assert found["data"] == []
    code, out, err = call("diff", a, b)
    assert (code, err) == (0, "")
    cells = [re.split(r"  +", line) for line in out.splitlines()]
    assert ["train.lr", "0.01", "0.02"] in cells and ["models.m1.head.mask_roi", "-", "7"] in cells
    assert ["combined", "AP", "30.0", "35.0", "+5.0"] in cells
    assert ["bed", "combined", "AP", "30.0", "35.0", "+5.0"] in cells
    assert json.loads(call("diff", a, b, "--json")[1]) == found


def test_diff_of_equal_and_of_older_runs(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    a, b = write_run(tmp_path / "a", 30.0), write_run(tmp_path / "b", 30.0)
    assert "no setting differs" in call("diff", a, b)[1] and "no class changed" in call("diff", a, b)[1]
    (a / "classes.json").unlink()
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["data"]["splits"]["val"]["digest"] = "other"
    put(b, manifest=manifest)
    _, out, err = call("diff", a, b)
    assert "no classes: a run was made before" in out
    assert err == "warning: data of val differ: scores on other validation images are no comparison\n"
    assert compare_runs(a, b)["comparable"] is False


@pytest.mark.parametrize(
    ("validation", "split", "clause"),
    [
        ("val", "train", ""),
        ({"random": 5}, "train-rest", ""),
        ({"random": 5}, "train-held-out", ": scores on other validation images are no comparison"),
        ({"folds": 3}, "train", ": scores on other validation images are no comparison"),
        ({"folds": 3}, "test", ""),
    ],
)
def test_diff_of_other_data(
    validation: Any, split: str, clause: str, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    names = ("train", "train-rest", "train-held-out", "val", "test")
    for run in "ab":
        folder = write_run(tmp_path / run, 30.0, data_validation=validation)
        splits = {name: {"digest": run if name == split else "same"} for name in names}
        put(folder, manifest={"started": "2026", "cost": COST, "data": {"splits": splits}})
    assert call("diff", tmp_path / "a", tmp_path / "b")[2] == f"warning: data of {split} differ{clause}\n"


def test_diff_of_runs_that_are_scored_on_other_splits(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    for run, other in (("val", "test"), ("test", "val")):
        folder = write_run(tmp_path / run, 30.0, data_validation=run, data_test=other)
        splits = {name: {"digest": name} for name in ("train", "val", "test")}
        put(folder, manifest={"started": "2026", "cost": COST, "data": {"splits": splits}})
    err = call("diff", tmp_path / "val", tmp_path / "test")[2]
    assert err == "warning: scores on other validation images are no comparison\n"


def test_diff_of_what_is_no_run(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", 30.0)
    write_others(tmp_path)
    for other, words in {
        "nowhere": "no such folder",
        "rooms/sweep": "is the folder of a sweep",
        "rooms": "missing",
    }.items():
        with pytest.raises(FinesegError, match=words):
            compare_runs(a, tmp_path / other)


def test_classes_of_a_run() -> None:
    things, stuff = (Category(1, "bed"), Category(2, "sofa")), (Category(3, "wall"),)
    data = ReportData(
        title="t",
        profile="p",
        manifest={},
        categories=things,
        per_class={"m": (10.0, float("nan"))},
        panoptic_classes=things + stuff,
        class_pq={"m": (1.0, 2.0, float("nan")), "combined": (4.0, 5.0, 6.0)},
    )
    assert class_table(data) == {
        "m": [
            {"class": "bed", "AP": 10.0, "PQ": 1.0},
            {"class": "sofa", "AP": None, "PQ": 2.0},
            {"class": "wall", "PQ": None},
        ],
        "combined": [{"class": "bed", "PQ": 4.0}, {"class": "sofa", "PQ": 5.0}, {"class": "wall", "PQ": 6.0}],
    }
    assert np.isnan(data.per_class["m"][1])
