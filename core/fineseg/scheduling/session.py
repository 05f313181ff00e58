"""A Ray session: a private local one by default, or an existing cluster."""

import logging
import os
import shutil
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from fineseg.errors import FinesegError, SessionLost

OBJECT_STORE_BYTES = 200 * 2**20
"""No data set goes through the object store, so the default of 30% of memory would be waste."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # would upload the project folder, data included
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 86400),  # a training waits there until its cores are free
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Keep freed tensors instead of handing every page back and faulting it in again: a tenth of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
LOCAL_ENVIRONMENT = {
    "RAY_worker_maximum_startup_concurrency": "64",  # Ray warns of 4 times the cores, and a trial has several processes
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each training, and nobody preempts a laptop
    "RAY_enable_pipe_based_agent_to_parent_health_check": "1",  # else its agents outlive a killed driver by a minute
}
HANDED_ON = ("FINESEG_DISABLE_PLUGINS",)
"""Variables of the command that its processes on other machines must see too."""

WATCH_INTERVAL = 1.0
MISSES = 3
"""So many times [s apart] Ray must not answer to count as gone."""
DRIVER_SIGNAL = signal.SIGUSR1
LOG_BYTES = 2**20
"""The end of a process's output that is kept."""
OF_RAY = (b":job_id:", b":actor_name:", b":task_name:")
"""Lines that Ray writes into what its processes print."""


@dataclass(frozen=True)
class RaySettings:
    """Which Ray works: a private one, or the cluster at `address`.

    What its processes print is kept in the folder `logs`, where there is one, and shown too if `verbose`.
    """

    address: str | None = None
    logs: Path | None = None
    verbose: bool = False


PRIVATE = RaySettings()
"""A private Ray, whose processes' output is not kept."""


class Lost(BaseException):
    """Ray is gone, in the main thread: not an `Exception`, which code in between might take for its own."""


@contextmanager
def ray_session(settings: RaySettings = PRIVATE) -> Iterator[Any]:
    """Start (or join, with an address) Ray, and leave it at the end.

    After Ctrl-C, or when Ray's own processes have died, threads of trainings still wait for Ray and would call it while
    it shuts down, which ends the process on the spot. A private Ray is killed then, and the caller must end the process
    without further ado (`os._exit`). Raises `SessionLost` when Ray's own processes have died, and `FinesegError` when
    there is no cluster to join.
    """
    address, verbose = settings.address, settings.verbose
    local = address is None
    for name, value in {**ENVIRONMENT, **(LOCAL_ENVIRONMENT if local else {})}.items():
        os.environ.setdefault(name, value)
    import ray

    context = _join(ray, address, verbose) if address is not None else _start(ray, verbose)
    try:
        with (
            _watch(ray, "Ray on this machine" if address is None else f"the Ray cluster at {address}"),
            _termination_as_interrupt(),
        ):
            yield ray
    except (KeyboardInterrupt, Lost) as error:
        if local:
            _kill_children()
        _keep_output(ray, context, settings.logs)
        if isinstance(error, Lost):
            raise SessionLost(str(error)) from None
        raise
    except BaseException:
        _keep_output(ray, context, settings.logs)
        ray.shutdown()
        raise
    _keep_output(ray, context, settings.logs)
    ray.shutdown()
    if local:  # its logs and sockets; a session that broke off leaves them, to be looked at
        shutil.rmtree(context.address_info["session_dir"], ignore_errors=True)


def _start(ray: Any, verbose: bool) -> Any:
    return _init(ray, verbose, address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)


def _join(ray: Any, address: str, verbose: bool) -> Any:
    if "://" in address:
        raise FinesegError(
            f"--ray {address}: a Ray client has no share in the store; give the command on a machine of the cluster, "
            "with --ray auto or --ray HOST:PORT"
        )
    host, colon, port = address.rpartition(":")
    if colon and not (port.isdigit() and _answers(host.strip("[]"), int(port))):  # Ray would try for minutes
        raise FinesegError(f"--ray {address}: nothing answers there; start a cluster with `ray start --head`")
    handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    try:
        return _init(ray, verbose, address=address, runtime_env={"env_vars": {**ENVIRONMENT, **handed_on}})
    except (ConnectionError, ValueError) as error:
        raise FinesegError(
            f"--ray {address}: no Ray cluster to join here ({_first_line(error)}); start one with `ray start --head`"
        ) from None
    except (RuntimeError, ray.exceptions.AuthenticationError) as error:
        if "ersion mismatch" in str(error):
            raise FinesegError(
                f"--ray {address}: {' '.join(str(error).split())}; install the same everywhere"
            ) from None
        if "uthentication" in str(error):
            raise FinesegError(
                f"--ray {address}: refused without the cluster's token; copy its ~/.ray/auth_token to this machine"
            ) from None
        raise


def _init(ray: Any, verbose: bool, **options: Any) -> Any:
    # Ray prints pages of its logs when one of its processes dies, whatever is asked of it; we say what it means.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    # Read from the environment when Ray was imported, which may have been before ENVIRONMENT was set.
    ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.INFO if verbose else logging.ERROR
        return ray.init(log_to_driver=verbose, logging_level=level, configure_logging=True, **options)


def _keep_output(ray: Any, context: Any, folder: Path | None) -> None:
    """Copy what the processes of this job printed on this machine; Ray's logs of itself stay where they are."""
    if folder is None:
        return
    mark = f":job_id:{ray.get_runtime_context().get_job_id()}\n".encode()
    logs = Path(context.address_info["session_dir"], "logs")
    for log in sorted([*logs.glob("worker-*.out"), *logs.glob("worker-*.err"), *logs.glob("train/*.log")]):
        with suppress(OSError):  # a log is not worth a run
            text = log.read_bytes()
            printed = [line for line in text.splitlines(keepends=True) if not line.startswith(OF_RAY)]
            if printed and (mark in text or log.suffix == ".log"):
                folder.mkdir(parents=True, exist_ok=True)
                name = f"worker-{log.stem.rpartition('-')[2]}{log.suffix}" if log.suffix != ".log" else log.name
                (folder / name).write_bytes(b"".join(printed)[-LOG_BYTES:])


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


# -------------------------------------------------------------- whether it is still there


@contextmanager
def _watch(ray: Any, name: str) -> Iterator[None]:
    """Raise `Lost` in the main thread when Ray's node process here, or the head's directory, has died.

    Ray itself would let the driver wait for minutes, and end it without a word then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop, lost = threading.Event(), threading.Event()

    def tell(number: int, frame: FrameType | None) -> None:
        if lost.is_set():
            lost.clear()  # once
            raise Lost(f"{name} is gone: one of its own processes was killed; the same command continues")

    def poll() -> None:
        misses = 0
        while not stop.wait(WATCH_INTERVAL):
            misses = 0 if all(_answers(*place) for place in places) else misses + 1
            if misses >= MISSES:
                lost.set()
                while lost.is_set() and not stop.wait(WATCH_INTERVAL):
                    signal.pthread_kill(threading.main_thread().ident or 0, DRIVER_SIGNAL)

    places = _places(ray)
    before = signal.signal(DRIVER_SIGNAL, tell)
    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        lost.clear()
        signal.signal(DRIVER_SIGNAL, before)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Take SIGTERM, which a cluster's queue sends before it kills, as Ctrl-C; Ray would end with pages of its stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _places(ray: Any) -> list[tuple[str, int]]:
    """Return (host, port) of the head's directory and of this machine's node process."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    here = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    return [(host.strip("[]"), int(port)), *((node["NodeManagerAddress"], node["NodeManagerPort"]) for node in here)]


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except (OSError, OverflowError):
        return False
    return True


def _kill_children() -> None:
    """Kill what this process has started: it was started by Ray, and nothing that it writes can be left in halves."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


# ------------------------------------------------------------------------ how much there is


def nodes() -> list[tuple[int, int]]:
    """Return (cores, GPUs) of every machine of the session."""
    import ray

    found: list[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in found]


def room(machines: Sequence[tuple[int, int]], cores: int) -> int:
    """Return how many processes of so many cores fit on machines of (cores, GPUs).

    Where there are GPUs, every process has one to itself.
    """
    if any(gpus for _, gpus in machines):
        return sum(min(gpus, found // cores) for found, gpus in machines)
    return sum(found // cores for found, _ in machines)


def total(machines: Sequence[tuple[int, int]]) -> str:
    """Return in words what a message calls all machines together."""
    gpus = sum(cards for _, cards in machines)
    count, unit = (gpus, "GPU") if gpus else (sum(cores for cores, _ in machines), "core")
    what = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{what} of {len(machines)} machines" if len(machines) > 1 else what
