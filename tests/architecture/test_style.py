"""Budgets that keep the code readable: lengths of functions and files, annotations on everything public."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION_LINES = 60
FILE_LINES = 400

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_files() -> list[Path]:
    """Return every Python file of core and of the plugins."""
    return sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("plugins/*/fineseg_*/**/*.py")])


def length_faults(code: str) -> list[str]:
    """Return what is longer than the budgets allow, as `line: what`."""
    lines = len(code.splitlines())
    faults = [f"1: file of {lines} lines"] if lines > FILE_LINES else []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, Function) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                faults.append(f"{node.lineno}: {node.name} of {length} lines")
    return faults


def annotation_faults(code: str) -> list[str]:
    """Return what public functions and methods leave without annotation, as `line: what`."""
    return [
        f"{function.lineno}: {function.name} lacks {missing}"
        for function, is_method in _public_functions(ast.parse(code).body, is_method=False)
        for missing in _missing(function, is_method)
    ]


def _public_functions(body: list[ast.stmt], *, is_method: bool) -> Iterator[tuple[Function, bool]]:
    """Yield public functions, and `__init__` and its like; a function inside a function is nobody else's business."""
    for node in body:
        if isinstance(node, Function) and (not node.name.startswith("_") or node.name.endswith("__")):
            yield node, is_method
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node.body, is_method=True)


def _missing(function: Function, is_method: bool) -> Iterator[str]:
    signature = function.args
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    positional = [*signature.posonlyargs, *signature.args][1 if is_method and not static else 0 :]
    rest = [argument for argument in (signature.vararg, signature.kwarg) if argument is not None]
    for argument in [*positional, *signature.kwonlyargs, *rest]:
        if argument.annotation is None:
            yield f"a type for '{argument.arg}'"
    if function.returns is None:
        yield "a return type"


def test_there_is_code_to_look_at() -> None:
    files = source_files()
    assert len([file for file in files if "core" in file.relative_to(ROOT).parts]) > 15
    assert len([file for file in files if "plugins" in file.relative_to(ROOT).parts]) > 5


@pytest.mark.parametrize("file", source_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_style(file: Path) -> None:
    code = file.read_text(encoding="utf-8")
    assert length_faults(code) + annotation_faults(code) == []


def test_lengths_are_noticed() -> None:
    assert length_faults("def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)) == []
    assert length_faults("def f():\n" + "    x = 1\n" * FUNCTION_LINES) == ["1: f of 61 lines"]
    assert length_faults("x = 1\n" * FILE_LINES) == []
    assert length_faults("x = 1\n" * (FILE_LINES + 1)) == ["1: file of 401 lines"]


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("def f(a: int, *b: int, c: int = 1, **d: int) -> None: ...", []),
        ("def f(a, *b, c=1, **d) -> None: ...", [f"a type for '{name}'" for name in "acbd"]),
        ("def f(): ...", ["a return type"]),
        ("def _f(a): ...", []),
        ("class A:\n    def f(self, a) -> None: ...", ["a type for 'a'"]),
        ("class A:\n    @staticmethod\n    def f(a) -> None: ...", ["a type for 'a'"]),
        ("class A:\n    def __init__(self): ...", ["a return type"]),
        ("class _A:\n    def f(self, a): ...", []),
        ("async def f() -> None:\n    def g(a): ...", []),
    ],
)
def test_missing_annotations_are_noticed(code: str, faults: list[str]) -> None:
    assert [fault.partition(" lacks ")[2] for fault in annotation_faults(code)] == faults
