"""What every part keeps to, whatever its kind; and how the checks of a class are run, by pytest or without it.

A class of checks has methods `test_...` that raise `AssertionError`, with one sentence that tells the author what is
wrong, or `unittest.SkipTest` where there is nothing to check. The first line of a method's docstring is what it holds.
"""

import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from fineseg.catalog import GROUP, Catalog, Entry, load_catalog

HEAVY = ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "ray")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_SUMMARY = 120
STRANGE = "no-such-option"


def expect(holds: bool, otherwise: str) -> None:
    """Raise `AssertionError` with what is wrong, unless it holds."""
    if not holds:
        raise AssertionError(otherwise)


class Conformance:
    """Checks of one part. A plugin's tests subclass the class of its kind and say which part it is.

        class TestBestOf(EnsemblerConformance):
            part = "best-of"
            options = {"keep": 20}

    The part is looked up among what is installed, as a profile does. `options` are what a profile says beside its name.
    """

    kind: ClassVar[str]
    part: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    @property
    def entry(self) -> Entry:
        """The part and who provides it. Raises `FinesegError` where it is not installed."""
        return installed().find(self.kind, self.part)

    @property
    def record(self) -> Any:
        """The part's record, as its hook yields it."""
        return self.entry.part

    @property
    def chosen(self) -> Any:
        """The part's options as it gets them."""
        return self.record.options.model_validate(dict(self.options))

    def test_name_and_summary(self) -> None:
        """Name is lower case with hyphens, summary is one short line."""
        record = self.record
        expect(bool(NAME.fullmatch(record.name)), f"name '{record.name}' must be words of a-z and 0-9 with '-' between")
        said = record.summary
        expect(
            said == said.strip() and 0 < len(said) <= LONGEST_SUMMARY, f"summary must be 1 to {LONGEST_SUMMARY} long"
        )
        expect("\n" not in said and not said.endswith("."), "summary must be one line without a full stop")
        expect(record.recipe_version >= 1, "recipe_version counts from 1")

    def test_options_round_trip(self) -> None:
        """Options are frozen, and come back from JSON as they were."""
        options = self.chosen
        expect(bool(options.model_config.get("frozen")), "options must be frozen: derive them from fineseg.Options")
        written = json.dumps(options.model_dump(mode="json"), allow_nan=False)
        again = self.record.options.model_validate(json.loads(written))
        expect(again == options, f"options changed on their way through JSON: {written}")

    def test_unknown_option_is_refused(self) -> None:
        """An unknown option is refused."""
        try:
            self.record.options.model_validate({**self.options, STRANGE: 1})
        except ValidationError as error:
            strange = [row for row in error.errors() if row["loc"] == (STRANGE,)]
            expect(bool(strange), f"'{STRANGE}' is not among the faults: {error}")
        else:
            raise AssertionError(f"'{STRANGE}' was taken: derive options from fineseg.Options, which forbids the rest")

    def test_options_are_described(self) -> None:
        """Every option has a description."""
        bare = list(_undescribed(self.record.options, ""))
        expect(not bare, f"no description: {', '.join(bare)}")

    def test_import_is_light(self) -> None:
        """The plugin's module imports no torch, mmdet or ray."""
        module = _module_of(self.entry)
        found = heavy_imports(module)
        expect(not found, f"importing {module} imports {', '.join(found)}; import it inside the function that needs it")


@cache
def heavy_imports(module: str) -> list[str]:
    """Return which heavy packages a process of its own has loaded after it imported a module."""
    code = f"import json, sys, {module}; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    expect(done.returncode == 0, f"{module} cannot be imported: {(done.stderr.strip() or '?').splitlines()[-1]}")
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def installed() -> Catalog:
    """Return what is installed; a plugin that is broken is told of where a part is not found."""
    return load_catalog(warn=lambda _: None)


def _module_of(entry: Entry) -> str:
    points = entry_points(group=GROUP, name=entry.plugin)
    return next(point.module for point in points if point.dist and point.dist.name == entry.distribution)


def _undescribed(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the keys, dotted inside tables, of options that nobody described; a table is described by its own."""
    for name, field in model.model_fields.items():
        tables = list(_tables(field.annotation))
        if not tables and not (field.description or "").strip():
            yield f"{prefix}{name}"
        for table in tables:
            yield from _undescribed(table, f"{prefix}{name}.")


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for inner in get_args(annotation):
            yield from _tables(inner)
