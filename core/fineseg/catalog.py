"""Discovery of plugins: every installed distribution's `fineseg` entry points -> one `Catalog`, passed as an argument.

A plugin is taken whole or not at all. One that fails to import, misspells a hook or yields something that is no part
becomes a warning that names it; only two plugins claiming the same name are an error, since either could be meant.
"""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy
from pydantic import BaseModel

from fineseg import hookspecs
from fineseg.class_ends import ClassTable
from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import Split
from fineseg.errors import FinesegError, one_line
from fineseg.parts import KINDS, BackboneSpec, HeadSpec, NeckSpec, Part
from fineseg.predictions import Instances

GROUP = "fineseg"
DISABLE_VARIABLE = "FINESEG_DISABLE_PLUGINS"
TRACE_VARIABLE = "FINESEG_TRACE_PLUGINS"

RETURNS: Mapping[str, Mapping[str, Any]] = {
    "backbone": {"build": BackboneSpec},
    "neck": {"build": NeckSpec},
    "head": {"build": HeadSpec},
    "loss": {"build": object},
    "task-balancer": {"build": object},
    "tta": {"build": (tuple, list)},
    "ensembler": {"build": Callable},
    "panoptic-fuser": {"build": Callable, "class_table": (ClassTable, type(None))},
    "dataset": {"read": Split, "generate": object},
    "submission": {"write": Path, "check": list, "read": Mapping},
}
"""Of each kind of part its functions, and what they return."""
MERGED: Mapping[str, type] = {"ensembler": Instances, "panoptic-fuser": PanopticMap}
"""What the functions that are built return."""

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A part and who provides it: `plugin` is the entry point's name in the distribution's metadata."""

    part: Part
    plugin: str
    distribution: str
    version: str

    @property
    def provider(self) -> str:
        """Return the provider in words, e.g. `backbones (fineseg-backbones 0.1.0)`."""
        return f"{self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Catalog:
    """All parts that can be named in a profile.

    `broken` holds one line per plugin that could not be used, `disabled` the blocked ones: both may explain a name
    that is not found.
    """

    entries: tuple[Entry, ...] = ()
    broken: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Entry, ...]:
        """Return the entries of one kind, sorted by name."""
        return tuple(sorted((e for e in self.entries if e.part.kind == kind), key=lambda e: e.part.name))

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of one kind, sorted."""
        return tuple(entry.part.name for entry in self.of_kind(kind))

    def named(self, name: str) -> tuple[Entry, ...]:
        """Return the entries with this name, of whatever kind; raises `FinesegError` when there are none."""
        found = tuple(entry for entry in self.entries if entry.part.name == name)
        if not found:
            raise FinesegError(f"unknown part '{name}'{self._advice(name, {e.part.name for e in self.entries})}")
        return found

    def find(self, kind: str, name: str) -> Entry:
        """Return the one entry of this kind and name; raises `FinesegError` naming what there is instead."""
        for entry in self.entries:
            if (entry.part.kind, entry.part.name) == (kind, name):
                return entry
        others = sorted({e.part.kind for e in self.entries if e.part.name == name})
        hint = f", which is a name of kind {' and '.join(others)}" if others else ""
        raise FinesegError(f"unknown {kind} '{name}'{hint}{self._advice(name, self.names(kind))}")

    def read_options(self, kind: str, name: str, raw: Mapping[str, Any]) -> BaseModel:
        """Check a table of a profile against the part's options; raises pydantic's `ValidationError`."""
        return self.find(kind, name).part.options.model_validate(dict(raw))

    def choose(self, kind: str, name: str, raw: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return a part and its checked options; raises `FinesegError` or pydantic's `ValidationError`.

        What the part's functions raise, or return of a wrong kind, is a `FinesegError` that names the plugin.
        """
        return guarded(self.find(kind, name)), self.read_options(kind, name, raw)

    def _advice(self, name: str, choices: Iterable[str]) -> str:
        """Return what may help: near names, all choices, and, for a name unlike all of them, where it may come from."""
        known = sorted(set(choices))
        near = difflib.get_close_matches(name, known, n=3)
        clauses = [f"did you mean {' or '.join(repr(n) for n in near)}?"] if near else []
        clauses.append(f"choices: {', '.join(known) or 'none'}")
        if all(name != entry.part.name for entry in self.entries) and not near:
            clauses.append("install the plugin that provides it")
        clauses += [f"disabled: {', '.join(self.disabled)}"] if self.disabled else []
        clauses += self.broken
        return "; " + "; ".join(clauses)


def load_catalog(*, disable: Iterable[str] = (), warn: Warn) -> Catalog:
    """Load every installed plugin that is not blocked by `disable` or by FINESEG_DISABLE_PLUGINS.

    Both name entry points or distributions. `warn` gets one line per broken plugin and per unknown name in a block
    list. Raises `FinesegError` when two plugins provide the same kind and name.
    """
    points = sorted(entry_points(group=GROUP), key=lambda point: (_canonical(_distribution(point)), point.name))
    blocked = {_canonical(name): name for name in [*disable, *_listed(DISABLE_VARIABLE)]}
    _warn_of_unknown(blocked, points, warn)
    loader = _Loader()
    for point in points:
        if blocked.keys() & _handles(point):
            loader.disabled.append(f"{point.name} ({_distribution(point)})")
        else:
            loader.load(point)
    for line in loader.broken:
        warn(line)
    _refuse_clashes(loader.entries)
    return Catalog(tuple(loader.entries), tuple(loader.broken), tuple(loader.disabled))


class _Loader:
    """Registers plugins one by one, so that each failure has exactly one culprit."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.broken: list[str] = []
        self.disabled: list[str] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        if tracing():
            self._manager.add_hookcall_monitoring(_trace_call, _trace_nothing)

    def load(self, point: EntryPoint) -> None:
        """Take all parts of one plugin, or note in one line why none."""
        try:
            self.entries.extend(self._collect(point))
        except (Exception, SystemExit) as error:  # a plugin may fail in any way; the program goes on without it
            if tracing():
                traceback.print_exception(error, file=sys.stderr)
            who = f"plugin '{point.name}' ({_distribution(point)} {_version(point)})"
            self.broken.append(f"{who} is broken: {_in_one_line(error)}")

    def _collect(self, point: EntryPoint) -> list[Entry]:
        plugin = point.load()
        handle = f"{_distribution(point)}:{point.name}"
        self._manager.register(plugin, handle)
        try:
            self._refuse_misspelt(plugin)
            parts = [part for kind in KINDS for part in self._call(kind, plugin)]
            _refuse_repeated(parts)
        except BaseException:
            self._manager.unregister(plugin)
            raise
        return [Entry(part, point.name, _distribution(point), _version(point)) for part in parts]

    def _refuse_misspelt(self, plugin: object) -> None:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            known = hookspecs.HOOK_OF_KIND.values()
            callers = self._manager.get_hookcallers(plugin) or []
            wrong = [caller.name for caller in callers if caller.name not in known]
            near = [match for name in wrong for match in difflib.get_close_matches(name, known, n=1)]
            hint = f"did you mean {', '.join(near)}?" if near else f"the hooks are {', '.join(known)}"
            raise TypeError(f"unknown hook {', '.join(wrong)}; {hint}") from None

    def _call(self, kind: type[Part], plugin: object) -> list[Part]:
        hook = hookspecs.HOOK_OF_KIND[kind.kind]
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        answers = self._manager.subset_hook_caller(hook, others)()
        parts = [part for answer in answers for part in answer]
        for part in parts:
            if not isinstance(part, kind):
                raise TypeError(f"{hook} yields {part!r}, which is no fineseg.{kind.__name__}")
            if not (isinstance(part.options, type) and issubclass(part.options, BaseModel)):
                raise TypeError(f"{hook} yields '{part.name}' whose options are no pydantic model: {part.options!r}")
        return parts


def _refuse_repeated(parts: Sequence[Part]) -> None:
    seen: set[tuple[str, str]] = set()
    for part in parts:
        if (part.kind, part.name) in seen:
            raise ValueError(f"yields the {part.kind} '{part.name}' twice")
        seen.add((part.kind, part.name))


def _refuse_clashes(entries: Sequence[Entry]) -> None:
    providers: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        providers.setdefault((entry.part.kind, entry.part.name), []).append(entry)
    clashes = [_clash(kind, name, claims) for (kind, name), claims in providers.items() if len(claims) > 1]
    if clashes:
        raise FinesegError("\n".join(clashes))


def _clash(kind: str, name: str, claims: Sequence[Entry]) -> str:
    last = claims[-1]
    unique = sum(entry.plugin == last.plugin for entry in claims) == 1
    handle = last.plugin if unique else last.distribution
    return (
        f"{kind} '{name}' is provided by {' and '.join(entry.provider for entry in claims)}; disable all but one, "
        f'e.g. {DISABLE_VARIABLE}={handle} or [plugins] disable = ["{handle}"]'
    )


def _warn_of_unknown(blocked: Mapping[str, str], points: Sequence[EntryPoint], warn: Warn) -> None:
    known = {handle for point in points for handle in _handles(point)}
    for canonical, name in blocked.items():
        if canonical not in known:
            near = difflib.get_close_matches(canonical, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"installed: {', '.join(sorted(known)) or 'none'}"
            warn(f"cannot disable plugin '{name}': no such plugin or distribution; {hint}")


def _handles(point: EntryPoint) -> set[str]:
    """Return the names under which a plugin can be blocked."""
    return {_canonical(point.name), _canonical(_distribution(point))}


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown distribution"


def _version(point: EntryPoint) -> str:
    return point.dist.version if point.dist else "of unknown version"


def _canonical(name: str) -> str:
    """Return a distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _listed(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _trace_call(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
    for implementation in implementations:
        print(f"{hook}: {implementation.plugin_name}", file=sys.stderr)


def _trace_nothing(*_: Any) -> None:
    """Nothing is printed after a hook call: pluggy wants both halves of a monitor."""


# ------------------------------------------------------- what parts do when called


def guarded(entry: Entry) -> Any:
    """Return a part whose functions name their plugin when they fail, or return what they must not.

    A fault of a plugin is its author's: the user hears of it in one line, the author of all with FINESEG_TRACE_PLUGINS.
    """
    part = entry.part
    checked: dict[str, Any] = {
        name: _guarded(
            getattr(part, name),
            f"{part.kind} '{part.name}' of plugin {entry.provider}: {name}",
            wanted,
            MERGED.get(part.kind),
        )
        for name, wanted in RETURNS[part.kind].items()
        if getattr(part, name) is not None
    }
    return replace(part, **checked)


def _guarded(function: Callable[..., Any], what: str, wanted: Any, merged: type | None = None) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        try:
            found = function(*arguments)
        except (FinesegError, OSError, MemoryError):
            raise  # a fault of the user's files or the machine: they say themselves where
        except Exception as error:
            if tracing():
                traceback.print_exception(error, file=sys.stderr)
            raise FinesegError(f"{what} failed ({_in_one_line(error)}); {TRACE_VARIABLE}=1 shows where") from error
        if not isinstance(found, wanted):
            wish = " or ".join(kind.__name__ for kind in (wanted if isinstance(wanted, tuple) else (wanted,)))
            raise FinesegError(f"{what} returned {type(found).__name__}; it must return {wish}")
        return _guarded(found, f"{what.removesuffix('build')}merging", merged) if wanted is Callable else found

    return call


def _in_one_line(error: BaseException) -> str:
    return one_line(" ".join(f"{type(error).__name__}: {error}".split()))


def tracing() -> bool:
    """Say whether authors want to see how plugins fail."""
    return os.environ.get(TRACE_VARIABLE, "") not in ("", "0")
