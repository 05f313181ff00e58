"""Files that are whole or absent, content keys, and a lock per key: the ground that resuming stands on."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fineseg.errors import FinesegError

KEY_LENGTH = 16
WEIGHTS = "weights.pth"
"""A training's result in its folder, and the model in a checkpoint."""
LEDGER = "ledger.jsonl"
"""In an entry: what work was done for it, a row for each piece."""
CURVE = "curve.jsonl"
"""In a training's entry: losses of every step and scores of every validation, a row each."""
TASK_WEIGHT = "task_weight."
"""In a row of that file, before the name of a task: what its losses were multiplied by."""
NOT_MATCHED = "weights_not_matched.txt"
"""In a training's entry: what of the weights that it starts from found no place, a line each."""

RUN_LOG = "log.txt"
"""In the folder of a run: every line that its console kept."""
SCRATCH = "ray"
"""In an entry: what Ray keeps there until it is finished."""
PART = "part"

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without hard links answers."""
SAME_START = 10.0
"""Two starts of processes of one pid that differ by less [s] are one."""
BEAT = 5.0
"""The holder of a lock touches it so often [s]: other hosts cannot see whether its process lives."""
PATIENCE = 30.0
"""A lock of another host that is not touched for so long [s] is left behind."""


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it into place: readers never see half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise FinesegError(f"{path}: cannot be written, as {path.parent} is no folder") from None
    if path.is_dir():
        raise FinesegError(f"{path}: cannot be written, as it is a folder")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.{PART}"):
        if _left_behind(left):
            left.unlink(missing_ok=True)
    beside = _beside(path)
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        if error.filename in (None, str(beside)):  # a full disk does not say which
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` to be filled, then rename it into place: readers never see half of it.

    Raises `FinesegError` where something is there already; an empty folder may be.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FinesegError(f"{path}: is there already; name a new folder")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.{PART}"):
        if _left_behind(left):
            shutil.rmtree(left, ignore_errors=True)
    beside = _beside(path)
    try:
        beside.mkdir(parents=True)
        yield beside
        os.replace(beside, path)
    except (FileExistsError, NotADirectoryError):
        raise FinesegError(f"{path}: cannot be written, as {path.parent} is no folder") from None
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(beside)):
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Make the folder of a run and hold it while the run lasts: of two in one, neither would leave its own files.

    Raises `FinesegError` where it cannot be one, and where another process of this host holds it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise FinesegError(f"--out {out}: a file is in the way; name a folder") from None
    except OSError as error:
        raise FinesegError(f"--out {out}: cannot be made ({error.strerror}); name another folder") from None
    with open(out / RUN_LOG, "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FinesegError(
                f"--out {out}: another run is writing into this folder; wait for its end, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, *NO_LINKS):
                raise
        yield


def _beside(path: Path) -> Path:
    """Return a new name beside a file, which tells who writes it."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{PART}")


def _left_behind(part: Path) -> bool:
    """Say whether the process that wrote a file beside another was one of this host, and is no more."""
    host, _, pid = part.name.split(".")[-2].rpartition("-")[0].partition("-")
    return host == _host() and pid.isdigit() and _started(int(pid)) is None


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def file_hash(file: Path) -> str:
    """Return the SHA-256 hash of a file's content, which is not read into memory at once."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read one of fineseg's own JSON files; raises `FinesegError` for one that a failing disk has changed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise FinesegError(
            f"{path}: is damaged; delete the folder {path.parent}, and the same command makes it anew"
        ) from None


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line of JSON to a log of rows; a line that a killed process left unfinished is ended first."""
    line = json.dumps(row).encode() + b"\n"
    with open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a log of rows; a line that a killed process left unfinished is not one."""
    if not path.exists():
        return []
    rows = (_row(line) for line in path.read_bytes().split(b"\n"))
    return [row for row in rows if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def content_key(value: Mapping[str, Any]) -> str:
    """Return a short key of plain data: equal data, equal key, whatever the order of its tables."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


class Store:
    """A folder of results under content keys, shared by runs: `<root>/<kind>/<key>/`.

    An entry counts once its `done.json` stands; what an interrupted writer left is continued or overwritten.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def folder(self, kind: str, key: str) -> Path:
        """Return the folder of an entry, finished or not."""
        return self.root / kind / key

    def finished(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what the writer of a finished entry noted, or None when there is none."""
        folder = self.folder(kind, key)
        if not (folder / "done.json").exists():
            return None
        holder = _holder(folder / "lock.json")
        if holder is not None and not _alive(holder):  # it was killed between the note and its end
            shutil.rmtree(folder / SCRATCH, ignore_errors=True)
            (folder / "lock.json").unlink(missing_ok=True)
        record: dict[str, Any] = read_json(folder / "done.json")
        return record

    def finish(self, kind: str, key: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Mark an entry as finished, inside `writing`; `record` is what later readers want to know of it."""
        folder = self.folder(kind, key)
        for left in folder.glob(f".*.{PART}"):  # of processes that were killed
            left.unlink(missing_ok=True)
        write_json(folder / "done.json", dict(record))
        return dict(record)

    @contextmanager
    def writing(self, kind: str, key: str) -> Iterator[Path]:
        """Hold the entry's lock while its files are written.

        A lock whose process is no more is taken over: on this host at once, of another host when it has not been
        touched for `PATIENCE` seconds. Raises `FinesegError` when a living process holds it.
        """
        folder = self.folder(kind, key)
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / "lock.json"
        guard = self.root / ".guard"
        mine = _take(lock, guard)
        stop = threading.Event()
        threading.Thread(target=_beat, args=(lock, stop), daemon=True).start()
        try:
            yield folder
        finally:
            stop.set()
            with _alone(guard):
                if _holder(lock) == mine:  # not so when someone removed our lock and another process has taken it
                    lock.unlink(missing_ok=True)

    def clear(self, kind: str, key: str) -> None:
        """Remove an entry."""
        shutil.rmtree(self.folder(kind, key), ignore_errors=True)


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with suppress(OSError):
            os.utime(lock)


def _take(lock: Path, guard: Path) -> dict[str, Any]:
    """Write this process into a lock file that is free or left behind, and return what was written.

    A link fails where a lock stands, on every host that shares the folder. Taking over a lock that was left behind is
    looking and replacing, between which nobody else on this host may do the same: that is what the guard is for.
    """
    mine: dict[str, Any] = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _started(os.getpid()),
        "time": time.time(),
        "id": uuid.uuid4().hex,
    }
    beside = _beside(lock)
    beside.write_text(json.dumps(mine), encoding="utf-8")
    try:
        silent = _watch_silence(lock)
        with _alone(guard):
            try:
                os.link(beside, lock)
                return mine
            except OSError as error:
                if error.errno not in (errno.EEXIST, *NO_LINKS):
                    raise
            holder = _holder(lock)
            if holder is not None and holder != silent and _alive(holder):
                raise FinesegError(
                    f"{lock.parent}: process {holder['pid']} on {holder['host']} is writing this entry; wait for it to "
                    f"end, or delete {lock} if that run is gone"
                )
            os.replace(beside, lock)
            return mine
    finally:
        beside.unlink(missing_ok=True)


def _watch_silence(lock: Path) -> dict[str, Any] | None:
    """Return the holder of another host that did not touch its lock while it was watched, None when there is none."""
    holder = _holder(lock)
    if holder is None or holder["host"] == socket.gethostname():
        return None
    first, until = _touched(lock), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(min(1.0, PATIENCE / 10))
        if _touched(lock) != first or _holder(lock) != holder:
            return None
    return holder


def _touched(lock: Path) -> float | None:
    """Return when a file was last touched; it is opened, as network file systems may answer from memory else."""
    try:
        with open(lock, "rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


@contextmanager
def _alone(guard: Path) -> Iterator[None]:
    """Hold a file that one process (or thread) at a time can hold; the system lets go of it when a process dies.

    Some network file systems have no such locks; taking over a lock that was left behind is not safe there.
    """
    with open(guard, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, *NO_LINKS):
                raise
        yield


def _holder(lock: Path) -> dict[str, Any] | None:
    """Return who wrote a lock file, or None where there is none or it says nothing."""
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("pid"), int) and "host" in holder else None


def _alive(holder: Mapping[str, Any]) -> bool:
    if holder["host"] != socket.gethostname():
        return True
    now, then = _started(holder["pid"]), holder.get("started")
    # a start is told in ticks after boot, and the clock may be put right between two looks at it
    return now is not None and isinstance(then, int | float) and abs(now - then) < SAME_START


def _started(pid: int) -> float | None:
    """Return when a process started: a pid alone may have been given to another process since."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None
