"""Settings as a TOML file that lies over a profile: `--with FILE`."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def overlay_text(settings: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return the text of an overlay: a line for each dotted key, below comments.

    Values are what a profile can hold: strings, numbers, booleans, arrays and tables.
    """
    lines = [f"# {''.join(letter if letter.isprintable() else ' ' for letter in comment)}" for comment in comments]
    lines += [f"{'.'.join(map(_key, key.split('.')))} = {toml_value(value)}" for key, value in settings.items()]
    return "".join(f"{line}\n" for line in lines)


def toml_value(value: Any) -> str:
    """Write a value as TOML, tables on one line."""
    if isinstance(value, Mapping):
        entries = [f"{_key(key)} = {toml_value(item)}" for key, item in value.items()]
        return f"{{ {', '.join(entries)} }}" if entries else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else toml_value(name)
