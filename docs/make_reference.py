"""Write docs/reference/profile.md from the profile's schema, the catalog of parts and the command line.

    python docs/make_reference.py

Imports no torch. Listed are the parts of the distributions below plugins/, whatever else is installed.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel

from fineseg.catalog import DISABLE_VARIABLE, TRACE_VARIABLE, Entry, load_catalog
from fineseg.cli.main import PROGRAM, VERBS
from fineseg.cli.plugins import OptionRow, option_rows
from fineseg.hookspecs import HOOK_OF_KIND
from fineseg.profile.schema import PartChoice, Profile

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "profile.md"

KIND_OF_KEY = {
    "balancer": "task-balancer",
    "ends": "head",
    "format": "submission",
    "losses": "loss",
    "merge_views": "ensembler",
}
"""Keys that are not called like the kind of part they choose."""

BAR = "\\|"
"""What stands for a bar inside a cell of a markdown table."""

OPENING = """\
# Reference: profile, parts, command line

Written by `python docs/make_reference.py` from the code; change it there.

A profile is one TOML file. Unknown keys are errors, and all faults are shown at once. A part is chosen by its name,
`neck = "fpn"`, or with options, `neck = { name = "fpn", channels = 256 }`. Relative paths in `data.root` and in a
backbone's `weights` are relative to the file that states them; with `--set`, to the current folder.

**Layers**, lowest first: the file that `extends = "other.toml"` names (one level), the file itself, `[demo]` with
`--demo`, `[variants.NAME]` with `--variant NAME`, `[variants.NAME.demo]` with both, each `--with FILE`, each
`--set KEY=VALUE`. Higher layers win key by key; arrays are replaced whole, and so is a part where another `name` is
chosen. `[demo]` and `[variants.NAME]` hold the same tables as a profile: `[demo.train]`, `[variants.large.predict]`.
`fineseg check PROFILE --explain KEY` says which layer set a value.
"""

PARTS_OPENING = f"""\
`{PROGRAM} plugins list` lists what is installed, `{PROGRAM} plugins show NAME` prints these tables. Two environment
variables steer loading: `{DISABLE_VARIABLE}=NAME,NAME` leaves plugins or distributions out, as
`[plugins] disable` does; `{TRACE_VARIABLE}=1` prints hook calls, and the traceback of a plugin that fails.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([OPENING, *_profile(), *_parts(), *_command_line()]).rstrip() + "\n"


# ------------------------------------------------------------------- profile


def _profile() -> Iterator[str]:
    yield "## Profile\n"
    for name, field in Profile.model_fields.items():
        model = _model_in(field.annotation)
        if model is None:
            raise TypeError(f"Profile.{name} is no table; say here how it is shown")
        heading = f"[{name}.X]" if get_origin(field.annotation) is Mapping else f"[{name}]"
        need = "is required" if field.is_required() else "may be left out"
        yield f"### `{heading}`\n\n{_sentence(model)}This table {need}.\n"
        yield _table(_choices_as_parts(model))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as `Mapping[str, Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _sentence(model: type[BaseModel]) -> str:
    """Return what a table's docstring says after naming it, and a space."""
    said = " ".join((model.__doc__ or "").split()).partition(": ")[2]
    return f"{said[:1].upper()}{said[1:]} " if said else ""


def _choices_as_parts(model: type[BaseModel]) -> list[OptionRow]:
    """Return a table's rows; a key that chooses parts is one row, as their options are the parts' own."""
    parts = {name: f for name, f in model.model_fields.items() if _model_in(f.annotation) is PartChoice}
    rows: dict[str, OptionRow] = {}
    for row in option_rows(model):
        name = row.key.removesuffix(".name")
        if name in rows:
            continue  # a part is one of several things that may stand there
        if name in parts:
            kind = KIND_OF_KEY.get(name, name)
            words = parts[name].description or f"{kind} part and its options"
            kinds = f"{row.type.removesuffix('table')}{kind} part" if name == row.key else f"{kind} part"
            row = replace(row, key=name, type=kinds, description=words)
        rows[row.key] = row
    return list(rows.values())


# --------------------------------------------------------------------- parts


def _parts() -> Iterator[str]:
    yield "## Parts\n"
    yield PARTS_OPENING
    entries = first_party()
    for kind in HOOK_OF_KIND:
        for entry in (entry for entry in entries if entry.part.kind == kind):
            part = entry.part
            yield f"### {kind} `{part.name}`\n"
            yield f"{part.summary[:1].upper()}{part.summary[1:]}. From `{entry.distribution}`.\n"
            rows = option_rows(part.options)
            yield _table(rows) if rows else "No options.\n"


def first_party() -> list[Entry]:
    """Return the parts of the distributions below plugins/, by name; a broken one is an error here."""
    files = sorted(ROOT.glob("plugins/*/pyproject.toml"))
    own = {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in files}
    catalog = load_catalog(warn=print)
    found = [entry for entry in catalog.entries if entry.distribution in own]
    missing = own - {entry.distribution for entry in found}
    if missing:
        raise SystemExit(f"not installed or broken: {', '.join(sorted(missing))}; `uv sync` installs all plugins")
    return sorted(found, key=lambda entry: entry.part.name)


# -------------------------------------------------------------- command line


def _command_line() -> Iterator[str]:
    yield "## Command line\n"
    yield "Exit codes: 0 done, 1 anything that went wrong, 130 interrupted. A fault that you can mend is one line.\n"
    for words, command in commands():
        arguments = [str(p.name).upper() for p in command.params if isinstance(p, click.Argument)]
        yield f"### `{' '.join([PROGRAM, *words, *arguments])}`\n"
        yield f"{' '.join((command.help or '').split())}\n"
        options = [p for p in command.params if isinstance(p, click.Option)]
        if options:
            yield _columns(("option", "default", "description"), map(_option, options))


def commands() -> Iterator[tuple[list[str], click.Command]]:
    """Yield every command with the words that call it."""
    for verb, (target, _) in VERBS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, click.Group):
            yield from (([verb, name], inner) for name, inner in command.commands.items())
        else:
            yield [verb], command


def _option(option: click.Option) -> tuple[str, str, str]:
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    default = f"`{option.default}`" if option.show_default else ""
    return f"`{', '.join(option.opts)}{value}`", default, (option.help or "").replace("<", "&lt;")  # a tag to markdown


# ------------------------------------------------------------------ markdown


def _table(rows: list[OptionRow]) -> str:
    return _columns(("key", "type", "default", "description"), map(_cells, rows))


def _cells(row: OptionRow) -> tuple[str, str, str, str]:
    default = row.default if row.default in ("required", "not set") else f"`{row.default}`"
    return f"`{row.key}`", f"`{f'{row.type} {row.range}'.rstrip()}`", default, row.description


def _columns(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |\n" for line in lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
