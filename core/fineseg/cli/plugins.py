"""`fineseg plugins`: what is installed, what each part lets a profile set, its checks, and projects of new ones."""

import json
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fineseg.catalog import Catalog, Entry, load_catalog, tracing
from fineseg.cli import print_table, warn
from fineseg.errors import FinesegError, one_line
from fineseg.hookspecs import HOOK_OF_KIND

PROGRAM = "fineseg"
TOML_WORDS = {bool: "boolean", int: "integer", float: "float", str: "string"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
LENGTHS = {"min_length": "at least", "max_length": "at most"}


@click.group()
def command() -> None:
    """List the installed parts, show or check one, or begin a new one."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def list_parts(as_json: bool) -> None:
    """List every part that a profile can name."""
    rows = part_rows(load_catalog(warn=warn))
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        print_table(("kind", "name", "plugin", "version", "summary"), [tuple(row.values()) for row in rows])


@command.command("show", short_help="Show the options of a part.")
@click.argument("name")
def show(name: str) -> None:
    """Show the options of the part NAME, of every kind that has this name."""
    for entry in load_catalog(warn=warn).named(name):
        _print_part(entry)


@command.command("check", short_help="Run the checks of a part, or of a plugin's parts.")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(HOOK_OF_KIND)), help="Of several parts of this name, the one to check.")
def check(name: str, kind: str | None) -> None:
    """Check whether the part NAME, or every part of the plugin NAME, keeps to what is promised for its kind."""
    from fineseg.testing.kit import check_part

    failed = []
    for entry in _chosen(load_catalog(warn=warn), name, kind):
        click.echo(f"{entry.part.kind} '{entry.part.name}' of {entry.provider}")
        verdicts = []
        for verdict in check_part(entry, {}):
            click.echo(f"  {verdict.outcome}  {verdict.holds}" + (f": {_one_line(verdict.why)}" if verdict.why else ""))
            if verdict.error is not None and tracing():
                traceback.print_exception(verdict.error)
            verdicts.append(verdict.outcome)
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("passed", "failed", "skipped"))
        click.echo(f"{counts}\n")
        failed += [f"{entry.part.kind} '{entry.part.name}': {counts}"] if "failed" in verdicts else []
    if failed:
        raise FinesegError("\n".join(failed))


@command.command("new", short_help="Begin a plugin with one part that works.")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(HOOK_OF_KIND)), required=True, help="What the part is.")
@click.option("--out", type=click.Path(path_type=Path), help="The project's folder; fineseg-NAME if absent.")
def new(name: str, kind: str, out: Path | None) -> None:
    """Write the project of a new plugin with one part NAME, which works and waits for your code."""
    from fineseg.scaffold import distribution_name, project_files, write_project

    files = project_files(name, kind)
    taken = [entry for entry in load_catalog(warn=warn).of_kind(kind) if entry.part.name == name]
    if taken:
        raise FinesegError(f"{kind} '{name}' is provided by {taken[0].provider} already; choose another name")
    there = _installed_version(distribution_name(name))
    if there is not None:
        raise FinesegError(f"'{name}': {distribution_name(name)} {there} is installed already; choose another name")
    folder = out or Path(distribution_name(name))
    write_project(folder, files)
    for place in files:
        click.echo(f"wrote {folder / place}")
    click.echo(f"\nuv pip install --no-deps -e {folder}\n{PROGRAM} plugins check {name}")


def _installed_version(distribution: str) -> str | None:
    """Return the version of a distribution, whatever its parts and whether they can be used; None where there is none.

    One of that name would take its place.
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _chosen(catalog: Catalog, name: str, kind: str | None) -> Sequence[Entry]:
    """Return the parts called so, or else those of the plugin or distribution called so."""
    found = [entry for entry in catalog.entries if name == entry.part.name]
    found = found or [entry for entry in catalog.entries if name in (entry.plugin, entry.distribution)]
    found = found or list(catalog.named(name))
    return [catalog.find(kind, name)] if kind else found


def _one_line(text: str) -> str:
    return one_line(" ".join(text.split()))


def part_rows(catalog: Catalog) -> list[dict[str, str]]:
    """Return one row per part, sorted by kind and name."""
    entries = sorted(catalog.entries, key=lambda entry: (entry.part.kind, entry.part.name))
    return [
        {
            "kind": entry.part.kind,
            "name": entry.part.name,
            "plugin": entry.plugin,
            "version": entry.version,
            "summary": entry.part.summary,
        }
        for entry in entries
    ]


@dataclass(frozen=True)
class OptionRow:
    """One option in words: its key (dotted inside a table), TOML type, default, allowed range and description."""

    key: str
    type: str
    default: str
    range: str
    description: str


def option_rows(model: type[BaseModel]) -> list[OptionRow]:
    """Describe every option of a part; tables inside tables are listed under dotted keys."""
    return list(_rows(model, "", {}))


def _rows(model: type[BaseModel], prefix: str, values: Mapping[str, Any]) -> Iterator[OptionRow]:
    """Yield a model's rows; `values` are defaults that an outer table's own default gives instead."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        default = values[name] if name in values else field.get_default(call_default_factory=True)
        tables = _tables(field.annotation)
        if field.annotation not in tables:
            yield OptionRow(key, _type(field.annotation), _default(default), _range(field.metadata), _help(field))
        for table in tables:
            inner = dict(default) if isinstance(default, table) else {}
            yield from _rows(table, f"{key}.", inner)


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a value of this type may be, without looking inside arrays."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [table for inner in get_args(annotation) for table in _tables(inner)]
    return []


def _type(annotation: Any) -> str:
    """Name a type in TOML's words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [c for extra in inner[1:] for c in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return f"{_type(inner[0])} {_range(bounds)}".rstrip()
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in inner)
    if origin in (Union, types.UnionType):
        return " | ".join(_type(choice) for choice in inner if choice is not types.NoneType)
    if origin is tuple and Ellipsis not in inner:
        return f"[{', '.join(_type(item) for item in inner)}]"
    if origin in (dict, Mapping):
        return f"table of {_type(inner[1])}"
    if origin is not None and inner:
        return f"array of {_type(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return TOML_WORDS.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    return "not set" if value is None else _toml(value)


def _toml(value: Any) -> str:
    """Write a value as a profile would."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}" if value else "{}"
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, default=str, ensure_ascii=False)


def _range(constraints: Sequence[Any]) -> str:
    """Put into words what pydantic was told about a value's bounds, length and pattern."""
    words = []
    for constraint in constraints:
        for name, sign in BOUNDS.items():
            if getattr(constraint, name, None) is not None:
                words.append(f"{sign} {getattr(constraint, name)}")
        for name, sign in LENGTHS.items():
            if getattr(constraint, name, None):
                words.append(f"{sign} {getattr(constraint, name)} long")
        if getattr(constraint, "pattern", None):
            words.append(f"matches {constraint.pattern}")
    return ", ".join(words)


def _help(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _print_part(entry: Entry) -> None:
    part = entry.part
    click.echo(f"{part.kind} '{part.name}': {part.summary}")
    click.echo(f"provided by {entry.provider}, recipe version {part.recipe_version}")
    rows = option_rows(part.options)
    if rows:
        print_table(("option", "type", "default", "range", "description"), [astuple(row) for row in rows])
    else:
        click.echo("no options")
    click.echo()
