"""Files that are whole or absent, keys, logs of rows, and locks between processes."""

import errno
import fcntl
import json
import multiprocessing
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fineseg import FinesegError, store
from fineseg.store import (
    Store,
    append_row,
    content_key,
    read_json,
    read_rows,
    write_beside,
    write_json,
    write_text,
)

# ------------------------------------------------------------------- writing


def test_a_file_is_written_whole_into_new_folders(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_text(file, "größer\n")
    assert file.read_text(encoding="utf-8") == "größer\n"
    write_json(file, {"a": [1, None], "path": Path("x")})
    assert read_json(file) == {"a": [1, None], "path": "x"}
    assert os.listdir(file.parent) == ["b.txt"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, old: str | None) -> None:
    file = tmp_path / "a.txt"
    if old is not None:
        file.write_text(old)

    def fail(beside: Path) -> None:
        beside.write_text("half")
        assert (file.read_text() if file.exists() else None) == old
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_beside(file, fail)
    assert [f.read_text() for f in tmp_path.iterdir()] == ([old] if old else [])


def test_a_full_disk_says_which_file(tmp_path: Path) -> None:
    def fill(beside: Path) -> None:
        beside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        write_beside(tmp_path / "a.txt", fill)
    assert pickle.loads(pickle.dumps(caught.value)).filename == str(tmp_path / "a.txt")
    assert not os.listdir(tmp_path)


def test_a_writer_that_writes_nothing_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_beside(tmp_path / "a.txt", lambda beside: None)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def shuffled(value: Any) -> Any:
    """Return the same data with the keys of all tables in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in random.sample(list(value), len(value))}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), PLAIN, max_size=4))
def test_a_key_does_not_depend_on_the_order_of_tables(value: dict[str, Any]) -> None:
    assert content_key(shuffled(value)) == content_key(value)
    assert content_key({**value, "one more key": 1}) != content_key(value)


def test_keys_stay_the_same_between_versions() -> None:
    assert content_key({"b": [1, 2], "a": "x"}) == "721ef82f2d6c0997"  # sha256 of {"a":"x","b":[1,2]}
    assert content_key({"a": "x", "b": [2, 1]}) != content_key({"b": [1, 2], "a": "x"})


# ---------------------------------------------------------------------- rows


def test_rows(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_rows(log) == []
    rows = [{"step": 1, "text": "a\nb\u2028"}, {"step": 2, "inner": {"a": 1}}]
    for row in rows:
        append_row(log, row)
    assert read_rows(log) == rows
    assert log.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("length", range(1, len('{"inner": {"a": 1}}')))
def test_an_unfinished_row_is_none_and_spoils_none(tmp_path: Path, length: int) -> None:
    log = tmp_path / "log.jsonl"
    append_row(log, {"step": 1})
    with open(log, "a") as file:
        file.write('{"inner": {"a": 1}}'[:length])
    assert read_rows(log) == [{"step": 1}]
    append_row(log, {"step": 2})
    assert read_rows(log) == [{"step": 1}, {"step": 2}]


def test_a_row_whose_line_was_not_ended_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}')
    append_row(log, {"step": 2})
    assert read_rows(log) == [{"step": 1}, {"step": 2}]


# ------------------------------------------------------------------- entries


def test_entries_count_once_finished(tmp_path: Path) -> None:
    results = Store(tmp_path)
    assert results.finished("train", "k") is None
    with results.writing("train", "k") as folder:
        assert folder == results.folder("train", "k") == tmp_path / "train" / "k"
        (folder / "weights").write_text("w")
        assert results.finished("train", "k") is None
        assert results.finish("train", "k", {"model": "a"}) == {"model": "a"}
    assert results.finished("train", "k") == {"model": "a"}
    assert sorted(os.listdir(folder)) == ["done.json", "weights"]
    results.clear("train", "k")
    results.clear("train", "k")
    assert results.finished("train", "k") is None


def test_a_relative_store_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = Store(Path("s"))
    monkeypatch.chdir("/")
    assert results.root == tmp_path / "s"


# --------------------------------------------------------------------- locks


@pytest.fixture
def results(tmp_path: Path) -> Store:
    results = Store(tmp_path)
    results.folder("train", "k").mkdir(parents=True)
    return results


def leave_lock(results: Store, **changes: Any) -> Path:
    """Write a lock as a process leaves it that was killed, or changed in some way."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = results.folder("train", "k") / "lock.json"
    holder = {"pid": gone.pid, "host": socket.gethostname(), "started": time.time(), "time": time.time()}
    lock.write_text(json.dumps(holder | changes))
    return lock


def test_a_lock_names_its_holder_while_it_is_held(results: Store) -> None:
    with results.writing("train", "k") as folder:
        holder = read_json(folder / "lock.json")
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        assert os.listdir(folder) == ["lock.json"]
        with results.writing("train", "other"):
            pass
    assert os.listdir(folder) == []
    with pytest.raises(ZeroDivisionError), results.writing("train", "k"):
        raise ZeroDivisionError
    assert os.listdir(folder) == []


def test_an_entry_that_a_living_process_writes_is_refused(results: Store) -> None:
    with results.writing("train", "k") as folder:
        with pytest.raises(FinesegError) as caught, results.writing("train", "k"):
            pass
        assert str(caught.value) == (
            f"{folder}: process {os.getpid()} on {socket.gethostname()} is writing this entry; wait for it to end, or "
            f"delete {folder}/lock.json if that run is gone"
        )
        assert os.listdir(folder) == ["lock.json"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BEAT", 0.05)
    monkeypatch.setattr(store, "PATIENCE", 0.5)


def test_a_lock_of_another_host_is_refused_while_it_is_touched(results: Store, quick: None) -> None:
    lock = leave_lock(results, host="elsewhere")
    stop = threading.Event()
    beat = threading.Thread(target=store._beat, args=(lock, stop))
    beat.start()
    with pytest.raises(FinesegError, match="on elsewhere is writing this entry"), results.writing("train", "k"):
        pass
    stop.set()
    beat.join()
    assert lock.exists()


def test_a_lock_of_another_host_that_nobody_touches_is_taken_over(results: Store, quick: None) -> None:
    lock = leave_lock(results, host="elsewhere")
    with results.writing("train", "k"):
        assert read_json(lock)["pid"] == os.getpid()
        first = store._touched(lock)
        time.sleep(0.3)
        assert store._touched(lock) != first
    assert not lock.exists()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    code = "import os, sys; from fineseg.store import *; "
    code += "write_beside(Path(sys.argv[1]), lambda beside: (beside.touch(), os._exit(9)))"
    file = tmp_path / "train" / "k" / "a[1].txt"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(file)], check=False)
        assert len(os.listdir(file.parent)) == 1
    another = file.with_name(f".{file.name}.0123abcd-1-89abcdef.part")
    another.touch()  # of another host: it may live
    write_text(file, "x")
    assert sorted(os.listdir(file.parent)) == [another.name, file.name]
    (file.parent / ".b.part").touch()
    Store(tmp_path).finish("train", "k", {})
    assert sorted(os.listdir(file.parent)) == [file.name, "done.json"]


def test_what_was_left_of_a_finished_entry_is_removed(results: Store) -> None:
    results.finish("train", "k", {"model": "a"})
    lock = leave_lock(results)
    (lock.parent / store.SCRATCH / "checkpoint").mkdir(parents=True)
    assert results.finished("train", "k") == {"model": "a"}
    assert os.listdir(lock.parent) == ["done.json"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_file_systems_without_flock(results: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_flock(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    leave_lock(results)
    with results.writing("train", "k"), pytest.raises(FinesegError), results.writing("train", "k"):
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pid": os.getpid(), "started": time.time() - 1e6},  # the pid is another process's now
        {"pid": os.getpid(), "started": None},
        {"pid": "x"},
    ],
    ids=["killed", "pid given again", "start unknown", "no pid"],
)
def test_a_lock_left_behind_is_taken_over(results: Store, changes: dict[str, Any]) -> None:
    lock = leave_lock(results, **changes)
    with results.writing("train", "k"):
        assert read_json(lock)["pid"] == os.getpid()
    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"pid": 1}'])
def test_a_lock_that_says_nothing_is_taken_over(results: Store, text: str) -> None:
    leave_lock(results).write_text(text)
    with results.writing("train", "k"):
        pass


def test_a_clock_put_right_does_not_end_a_process(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with results.writing("train", "k"):
        started = store._started(os.getpid())
        assert started is not None
        monkeypatch.setattr(store, "_started", lambda pid: started + 1.0)
        with pytest.raises(FinesegError), results.writing("train", "k"):
            pass


def test_the_lock_of_a_successor_is_not_removed(results: Store) -> None:
    with results.writing("train", "k"):
        lock = leave_lock(results, host="elsewhere")
    assert lock.exists()


def test_file_systems_without_links(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    leave_lock(results)
    with results.writing("train", "k"), pytest.raises(FinesegError), results.writing("train", "k"):
        pass
    with results.writing("train", "k"):
        pass


def _compete(root: Path, rounds: int, start: Any, wins: Any) -> None:
    """Try to take each of several locks that were left behind, all takers at the same time; hold what was won."""
    held = []
    for number in range(rounds):
        start.wait()
        writing = Store(root).writing("train", f"k{number}")
        try:
            writing.__enter__()
        except FinesegError:
            continue
        held.append(writing)  # else its end would unlock it
        wins.put(number)
    start.wait()


def test_one_of_many_takers_wins(results: Store) -> None:
    """What each process does between seeing a stale lock and replacing it must not hit a fresh lock of another."""
    rounds, takers = 40, 4
    stale = leave_lock(results).read_text()
    for number in range(rounds):
        folder = results.folder("train", f"k{number}")
        folder.mkdir()
        if number % 2:
            (folder / "lock.json").write_text(stale)
    fork = multiprocessing.get_context("fork")
    start, wins = fork.Barrier(takers), fork.SimpleQueue()
    group = [fork.Process(target=_compete, args=(results.root, rounds, start, wins)) for _ in range(takers)]
    for process in group:
        process.start()
    won = sorted(wins.get() for _ in range(rounds))
    for process in group:
        process.join(20)
    assert [process.exitcode for process in group] == [0] * takers
    assert won == list(range(rounds))
    assert wins.empty()
