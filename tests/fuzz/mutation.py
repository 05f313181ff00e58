"""Hostile input for readers: any node of a sound document replaced, dropped or doubled, and bytes changed anywhere."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fineseg import FinesegError

LONGEST_LINE = 2_000
"""Characters of a message: a path, a place, and what is right there."""
DEADLINE_MS = 30_000
"""Nothing that is read here takes a fiftieth of it, alone on a machine; an endless loop does."""

# Texts that no JSON library would write, by the marks that stand for them in a document.
UNWRITABLE = {
    "@deep list@": "[" * 100_000 + "]" * 100_000,
    "@deep object@": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@digits@": "9" * 1_000_000,
    "@beyond float@": "1e999",
    "@tiny@": "-1e-999",
    "@half a pair@": '"\\ud800"',
    "@twice@": '{"id": 1, "id": 2}',
}
MARKS = tuple(UNWRITABLE)
INTEGERS = (
    0,
    1,
    -1,
    2,
    255,
    65_535,
    65_536,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**300,
)
TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "\u2028",
    "\u202e",
    "é",
    "😀",
    "../../x",
    "/",
    "C:\\x",
    "x" * 5_000,
    "0" * 300,
    "nan",
    "1",
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(INTEGERS),
    st.integers(-20, 200),
    st.floats(),
    st.sampled_from(TEXTS),
    st.text(max_size=12),
)
VALUES = st.one_of(
    ATOMS,
    st.recursive(
        ATOMS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=8,
    ),
)


def examples(count: int) -> settings:
    """Return settings of a fuzzer: `count` examples, always the same ones.

    With `--hypothesis-profile long` it is 20,000, drawn anew.
    """
    common: dict[str, Any] = {
        "deadline": DEADLINE_MS,
        "database": None,
        "suppress_health_check": list(HealthCheck),
    }
    if settings.get_current_profile_name() == "long":
        return settings(settings.get_profile("long"), **common)
    return settings(max_examples=count, derandomize=True, **common)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key or index) of every node below the top."""
    rows = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in list(rows):
        yield document, key
        yield from places(value)


@st.composite
def mutated(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """Draw a document that differs from a sound one in one to four places."""
    top = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(top))
        container, key = found[draw(st.integers(0, len(found) - 1))]
        change = draw(st.sampled_from(("value", "value", "drop", "double", "move", "rename")))
        if change == "value" or container is top:
            container[key] = draw(values)
        elif change == "drop":
            del container[key]
        elif change == "double" and isinstance(container, list):
            container.insert(draw(st.integers(0, len(container))), copy.deepcopy(container[key]))
        elif change == "move":
            other, name = found[draw(st.integers(0, len(found) - 1))]
            container[key] = copy.deepcopy(other[name])
        elif isinstance(container, dict):
            container[draw(st.text(max_size=8) | st.sampled_from(list(container)))] = copy.deepcopy(container[key])
    return top[0]


def json_values() -> st.SearchStrategy[Any]:
    """Return values for JSON, marks of what cannot be written among them."""
    return st.one_of(VALUES, VALUES, st.sampled_from(MARKS))


def json_text(document: Any) -> str:
    """Return a document as JSON, with texts in place of the marks."""
    text = json.dumps(document)
    for mark, written in UNWRITABLE.items():
        text = text.replace(f'"{mark}"', written)
    return text


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw bytes that differ from sound ones in one to six places, or end early."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        place, length = draw(st.integers(0, len(made))), draw(st.sampled_from((1, 1, 2, 4, 8, 64, 1024)))
        change = draw(st.sampled_from(("flip", "flip", "put", "insert", "drop", "double", "cut")))
        if change == "flip" and place < len(made):
            made[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "put":
            made[place : place + length] = draw(st.sampled_from((b"\xff", b"\0", b"\x7f"))) * length
        elif change == "insert":
            made[place:place] = draw(
                st.binary(max_size=8) | st.sampled_from((b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"9" * 5_000))
            )
        elif change == "drop":
            del made[place : place + length]
        elif change == "double":
            made[place:place] = made[place : place + length]
        elif change == "cut":
            del made[place:]
    return bytes(made)


def assert_one_line(error: FinesegError) -> None:
    """A fault is one line that says something, of bearable length."""
    text = str(error)
    assert text.strip() and len(text.splitlines()) == 1 and len(text) <= LONGEST_LINE, text[:300]


def assert_lines(error: FinesegError) -> None:
    """The same of an error that lists several faults."""
    lines = str(error).split("\n")
    assert all(line.strip() and len(line.splitlines()) == 1 and len(line) <= LONGEST_LINE for line in lines), lines
