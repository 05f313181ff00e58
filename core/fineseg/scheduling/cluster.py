"""A cluster before any work starts on it: every machine has the same plugins, and sees the same folders."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fineseg.catalog import GROUP, load_catalog
from fineseg.errors import FinesegError
from fineseg.store import write_text

LIMIT = 300.0
"""Longest wait for all machines to answer [s]: each starts a process and imports the plugins' pages."""
CORE = "fineseg"
MARK = ".mark"
"""In a store: some text that no other has."""


@dataclass(frozen=True)
class NodeReport:
    """What one machine says: versions of the core and of each plugin by name, and the folders that it does not see."""

    versions: Mapping[str, str]
    unseen: Sequence[str] = ()


def look(disable: Sequence[str], store: Path, mark: str, data: Path | None) -> NodeReport:
    """Return this machine's report; `mark` is what the store's mark must say there."""
    from fineseg import __version__

    catalog = load_catalog(disable=disable, warn=lambda _: None)
    versions = {CORE: f"{CORE} {__version__}"}
    for point in entry_points(group=GROUP):
        provider = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        why = [
            line.partition(" is broken: ")[2] for line in catalog.broken if line.startswith(f"plugin '{point.name}' ")
        ]
        if not any(name.startswith(f"{point.name} (") for name in catalog.disabled):
            versions[point.name] = f"{provider}, broken ({why[0]})" if why else provider
    unseen = [] if _read_mark(store) == mark else [str(store)]
    unseen += [str(data)] if data is not None and not data.is_dir() else []
    return NodeReport(versions, unseen)


def check_cluster(disable: Sequence[str], store: Path, data: Path | None) -> None:
    """Compare every machine of the session with this one.

    Raises `FinesegError`, a line for each machine and each plugin that differs or folder that it does not see.
    """
    if not _read_mark(store):  # a folder of the same path need not be the same folder
        write_text(store / MARK, uuid.uuid4().hex)
    question = (disable, store, _read_mark(store), data)
    here = look(*question)
    reports = ask_all(question)
    faults = [line for node, report in reports.items() for line in compare(node, report, here)]
    if faults:
        raise FinesegError("\n".join(faults))


def _read_mark(store: Path) -> str:
    try:
        return (store / MARK).read_text(encoding="utf-8")
    except OSError:
        return ""


def ask_all(question: tuple[Any, ...]) -> dict[str, NodeReport]:
    """Return the reports of all machines by name; `question` is what `look` takes."""
    remote = ray.remote(num_cpus=0, max_retries=1)(look)
    asked: dict[str, Any] = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[_name(node, asked)] = remote.options(scheduling_strategy=there).remote(*question)
    _, silent = ray.wait(list(asked.values()), num_returns=len(asked), timeout=LIMIT)
    if silent:
        names = [name for name, answer in asked.items() if answer in silent]
        raise FinesegError(f"{', '.join(names)}: no answer within {LIMIT:.0f} s; see the logs of its Ray")
    return {name: _answer(name, answer) for name, answer in asked.items()}


def compare(node: str, there: NodeReport, here: NodeReport) -> Iterator[str]:
    """Yield in a line each what sets a machine apart from this one."""
    for plugin in sorted({*there.versions, *here.versions}):
        found, wanted = there.versions.get(plugin), here.versions.get(plugin)
        if found != wanted:
            yield (
                f"{node}: plugin {plugin} is {found or 'missing'}, and {wanted or 'missing'} where this command "
                "runs; install the same on every machine"
            )
    for folder in there.unseen:
        yield (
            f"{node}: does not see {folder}; the data and the store (--store) must lie in folders that every machine "
            "has under one path"
        )


def _name(node: Mapping[str, Any], taken: Iterable[str]) -> str:
    """Return what a message calls a machine: its name, and where several nodes have it, their ids as well."""
    name = f"node {node['NodeManagerHostname']}"
    return f"{name} ({node['NodeID'][:8]})" if name in taken else name


def _answer(name: str, answer: Any) -> NodeReport:
    try:
        report: NodeReport = ray.get(answer)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise FinesegError(
            f"{name}: fineseg does not start there ({lines[-1].strip()}); install the same environment on every machine"
        ) from None
    return report
