"""Checked access to JSON that anyone may have written: every fault is one line that says where and what.

`annotations/train.json: annotations[17]: category_id is missing`
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fineseg.errors import FinesegError, is_control

_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
STARTS = {
    b"\x1f\x8b": "it is gzipped, unpack it first",
    b"PK": "it is a zip, unpack it first",
    b"\x89PNG": "it is a picture",
    b"\xff\xd8": "it is a picture",
    b"\xff\xfe": "it is UTF-16, save it as UTF-8",
    b"\xfe\xff": "it is UTF-16, save it as UTF-8",
}
"""First bytes of files that are handed over for JSON, and what to do about them."""
_LONGEST_VALUE = 60
_LARGEST_INTEGER = 2**63 - 1
_LARGEST_NUMBER = 1e12


class Entry:
    """One object of a JSON file and its place, e.g. `train.json: annotations[17]`."""

    __slots__ = ("value", "where")

    def __init__(self, value: dict[str, Any], where: str) -> None:
        self.value = value
        self.where = where

    def fault(self, what: str) -> FinesegError:
        """Return the error that names this place; the caller raises it."""
        return FinesegError(f"{self.where}: {what}")

    def has(self, key: str) -> bool:
        """Say whether the key is there and not null."""
        return self.value.get(key) is not None

    def get(self, key: str) -> Any:
        """Return the value of a key that must be there."""
        try:
            return self.value[key]
        except KeyError:
            raise self.fault(f"{key} is missing") from None

    def integer(self, key: str, low: int = -_LARGEST_INTEGER, high: int = _LARGEST_INTEGER) -> int:
        """Return a whole number within [low, high]."""
        value = self.get(key)
        if type(value) is not int:
            raise self.fault(f"{key} is {shown(value)}; it must be a whole number")
        if not low <= value <= high:
            raise self.fault(f"{key} is {shown(value)}; it must be from {low} to {high}")
        return value

    def number(self, key: str, low: float = -_LARGEST_NUMBER, high: float = _LARGEST_NUMBER) -> float:
        """Return a finite number within [low, high]."""
        return self.as_number(self.get(key), key, low, high)

    def as_number(self, value: Any, name: str, low: float = -_LARGEST_NUMBER, high: float = _LARGEST_NUMBER) -> float:
        """Return `value`, found under `name`, as a finite number within [low, high]."""
        if type(value) not in (int, float):
            raise self.fault(f"{name} is {shown(value)}; it must be a number")
        if not low <= value <= high:
            raise self.fault(f"{name} is {shown(value)}; it must be {_range_in_words(low, high)}")
        return float(value)

    def text(self, key: str) -> str:
        """Return a text of one line, which can be encoded."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.fault(f"{key} is {shown(value)}; it must be a text")
        if not value.isprintable() and any(map(is_control, value)):
            raise self.fault(f"{key} is {shown(value)}; it must be a text without line breaks and control characters")
        return value


def load_json(path: Path) -> Any:
    """Read a JSON file; raises `FinesegError` for one that is absent, unreadable or no JSON (with line and column)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        hint = _hint(error.object)
        raise FinesegError(f"{path}: byte {error.start} is not UTF-8, so this is no JSON{hint}") from None
    except OSError as error:
        raise FinesegError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_json(text, str(path))


def parse_json(text: str, source: str) -> Any:
    """Parse JSON text; `source` names it in messages."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        hint = "; is the file cut off?" if cut else ""
        place = f"line {error.lineno}, column {error.colno}"
        raise FinesegError(f"{source}: {place}: no valid JSON ({error.msg}){hint}") from None
    except RecursionError:
        raise FinesegError(f"{source}: no valid JSON (nested too deeply)") from None
    except ValueError:  # the one that is no JSONDecodeError
        raise FinesegError(f"{source}: no valid JSON (a number of thousands of digits)") from None


def _hint(content: bytes) -> str:
    """Say what else a file may be, by its first bytes."""
    return next((f"; {advice}" for start, advice in STARTS.items() if content.startswith(start)), "")


def document_of(value: Any, source: str, expected: str) -> Entry:
    """Return the object at the top of a file; `expected` says in words what it should hold."""
    if not isinstance(value, dict):
        raise FinesegError(f"{source}: must be an object with {expected}, not {kind_of(value)}")
    return Entry(value, source)


def entries_of(document: Entry, key: str) -> Iterator[Entry]:
    """Yield the objects of the list under `key`."""
    rows = document.get(key)
    if not isinstance(rows, list):
        raise document.fault(f"{key} must be a list, not {kind_of(rows)}")
    return (entry_at(row, f"{document.where}: {key}[{index}]") for index, row in enumerate(rows))


def entry_at(value: Any, where: str) -> Entry:
    """Return the object that stands at `where`."""
    if not isinstance(value, dict):
        raise FinesegError(f"{where}: must be an object, not {kind_of(value)}")
    return Entry(value, where)


def _range_in_words(low: float, high: float) -> str:
    if high < _LARGEST_NUMBER:
        return f"from {low:g} to {high:g}"
    return "a finite number" if low < 0 else f"a finite number, {low:g} or more"


def kind_of(value: Any) -> str:
    """Return in words what kind of JSON value this is."""
    return _KINDS.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return a value as a message can show it: one short line."""
    if isinstance(value, (dict, list)):
        return kind_of(value)
    if type(value) is int and abs(value) > _LARGEST_INTEGER:
        return f"a whole number of about {int(math.log10(abs(value))) + 1} digits"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def shown_ids(ids: list[int], most: int = 12) -> str:
    """Return sorted ids shortly: `1..6`, `1, 3, 7`, or the first ones and how many there are."""
    if not ids:
        return "none"
    if len(ids) > 2 and ids[-1] - ids[0] == len(ids) - 1:
        return f"{ids[0]}..{ids[-1]}"
    few = ", ".join(map(str, ids[:most]))
    return few if len(ids) <= most else f"{few}, ... ({len(ids)} in all)"
