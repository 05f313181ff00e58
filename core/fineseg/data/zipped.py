"""A zip with one JSON file in it, read without trusting it."""

import zipfile
from pathlib import Path
from typing import Any

from fineseg.data.json_entries import parse_json
from fineseg.errors import FinesegError, one_line

LARGEST_JSON = 2**31  # bytes; a file that claims more is no submission
LARGEST_RATIO = 100  # of a large file to what it takes in the zip; results shrink to a fifth or so
SMALL_JSON = 2**26  # bytes; so much may be of any ratio


def load_zipped_json(path: Path, name: str | None = None) -> tuple[Any, str]:
    """Return the parsed JSON of a zip's only member, and how messages name it: `path: member`.

    The member must be called `name` where that is given. Raises `FinesegError` for any other zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _only_member(archive, path, name)
            content = archive.read(member)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise FinesegError(f"{path}: {member}: byte {error.start} is not UTF-8, so this is no JSON") from None
    except FinesegError:
        raise
    except OSError as error:
        raise FinesegError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged zip fails in zipfile in a dozen ways
        raise FinesegError(f"{path}: is no readable zip ({' '.join(str(error).split())})") from None
    source = f"{path}: {member}"
    return parse_json(text, source), source


def _only_member(archive: zipfile.ZipFile, path: Path, name: str | None) -> str:
    names = archive.namelist()
    wanted = name or "one JSON file"
    for found in names:
        if found.startswith(("/", "\\")) or ".." in found.replace("\\", "/").split("/") or ":" in found:
            raise FinesegError(f"{path}: member {found!r} points outside of the zip; only {wanted} belongs in it")
    if name is None and len(names) == 1:
        name = names[0]
        if one_line(name) != name:
            raise FinesegError(f"{path}: member {name!r} has line breaks or control characters in its name")
    if name is None or names.count(name) != 1:
        raise FinesegError(f"{path}: must hold {wanted}{' once' if name else ''}; it holds {_listed(names)}")
    if len(names) > 1:
        raise FinesegError(f"{path}: must hold {name} alone; it also holds {_listed([n for n in names if n != name])}")
    member = archive.getinfo(name)
    size, packed = member.file_size, member.compress_size
    if size > LARGEST_JSON:
        raise FinesegError(f"{path}: {name} is said to be {size} bytes large; at most {LARGEST_JSON} are read")
    if size > SMALL_JSON and size > LARGEST_RATIO * packed:
        raise FinesegError(f"{path}: {name} unpacks to {size} bytes from {packed}, as no list of results does")
    return name


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most])) or "nothing"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
