"""What pydantic finds wrong with tables, in the words of the file: path, what is wrong, what would be right."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from fineseg.profile.layers import quoted
from fineseg.profile.schema import PartChoice

SHOWN = 60
"""Characters of a wrong value that are shown."""
WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "tuple_type": "an array",
    "list_type": "an array",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "an array of {min_length} or more",
    "too_long": "an array of {max_length} or fewer",
    "string_too_short": "{min_length} or more characters long",
    "string_too_long": "{max_length} or fewer characters long",
    "string_pattern_mismatch": "text that matches {pattern}",
}
"""pydantic's kind of error -> what would be right."""
OTHER_TYPE = frozenset(kind for kind in WANTED if kind.endswith(("_type", "_parsing"))) | {"literal_error", "enum"}
"""Errors that say: meant for another branch of a union."""

Place = tuple[str, ...]


def faults_of(error: ValidationError, prefix: Sequence[str], model: type[BaseModel], tables: Any) -> list[str]:
    """Return one line for each fault that `model` found in the tables at a path of the file.

    Of a value that may be of several types, only what is wrong with the nearest one is said.
    """
    lines: list[tuple[Place, str]] = []
    unions: dict[Place, dict[str, list[tuple[Place, Any]]]] = {}
    for fault in error.errors():
        where, union, branch = _place(fault, tables)
        if union is None:
            lines.append((where, _sentence(fault, model, where)))
        else:
            unions.setdefault(union, {}).setdefault(branch, []).append((where, fault))
    for union, branches in unions.items():
        lines += _union_lines(union, list(branches.values()), model)
    return [f"{'.'.join([*prefix, *map(quoted, where)]) or 'the profile'}: {text}" for where, text in lines]


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" for a near miss, or the list of what there is."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names)}" if names else "nothing is known there"


def written(value: Any) -> str:
    """Return a value about as the file has it, cut where it is long."""
    return shortened(json.dumps(value, default=str, ensure_ascii=False))


def shortened(text: str) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _place(fault: Any, tables: Any) -> tuple[Place, Place | None, str]:
    """Return a fault's path in the file and, if it belongs to a branch of a union, the union's path and the branch.

    pydantic puts a mark into the path for every branch: it is what the tables do not have at that depth.
    """
    where: list[str] = []
    union, branch, value = None, "", tables
    for name in fault["loc"]:
        if (isinstance(value, Mapping) and name in value) or (
            isinstance(value, list | tuple) and isinstance(name, int) and name < len(value)
        ):
            value = value[name]
        elif fault["type"] == "missing" and name == fault["loc"][-1]:
            if isinstance(name, int):
                continue  # an array that is too short: the array is what is wrong
        else:
            union, branch = (tuple(where), str(name)) if union is None else (union, branch)
            continue
        where.append(str(name))
    return tuple(where), union, branch


def _union_lines(
    union: Place, branches: list[list[tuple[Place, Any]]], model: type[BaseModel]
) -> list[tuple[Place, str]]:
    for branch in branches:
        if any(where != union or fault["type"] not in OTHER_TYPE for where, fault in branch):
            return [(where, _sentence(fault, model, where)) for where, fault in branch]
    faults = [fault for branch in branches for _, fault in branch]
    wanted = " or ".join(dict.fromkeys(_wanted(fault) for fault in faults))
    return [(union, f"must be {wanted}, not {written(faults[0]['input'])}")]


def _sentence(fault: Any, model: type[BaseModel], where: Place) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggest(where[-1], _fields_at(model, where[:-1]))}"
    if kind == "missing":
        return _missing(fault, model, where)
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short" and context["min_length"] == 1:
        return "must not be empty"
    if kind in WANTED:
        return f"must be {_wanted(fault)}, not {written(fault['input'])}"
    return f"{fault['msg'][0].lower()}{fault['msg'][1:]}, not {written(fault['input'])}"


def _wanted(fault: Any) -> str:
    context = fault.get("ctx", {})
    if context.get("class_name") == PartChoice.__name__:
        return "the name of a part, or a table with its name and options"
    numbers = {key: f"{value:g}" for key, value in context.items() if isinstance(value, float)}
    return WANTED[fault["type"]].format(**context | numbers)


def _missing(fault: Any, model: type[BaseModel], where: Place) -> str:
    item = fault["loc"][-1]
    if isinstance(item, int):
        return f"value {item + 1} of the array is missing"
    field = _table_at(model, where[:-1]).model_fields.get(item)
    table = _table_type(field.annotation) if field is not None else None
    if table is PartChoice:
        return f'missing; choose a part, {item} = "NAME"'
    if table is not None and len(where) == 1:
        return f"missing; the profile needs a table [{item}{'.NAME' if item == 'models' else ''}]"
    return "missing; it must be set"


def _fields_at(model: type[BaseModel], where: Sequence[str]) -> list[str]:
    return list(_table_at(model, where).model_fields)


def _table_at(model: type[BaseModel], where: Sequence[str]) -> type[BaseModel]:
    """Return the model of the table at a path, as far as it is made of nested models and tables of them."""
    current = model
    for name in where:
        field = current.model_fields.get(name)
        current = (_table_type(field.annotation) if field is not None else None) or current
    return current


def _table_type(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as `Mapping[str, Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _table_type(argument)
        if found is not None:
            return found
    return None
