"""A zip with one JSON file in it: written the same to the byte every time, read without trusting it."""

import zipfile
from pathlib import Path

from fineseg import FinesegError
from fineseg.store import write_beside

LARGEST_JSON = 2**31  # bytes; a file that claims more is no submission

_OLDEST_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def write_zip(path: Path, name: str, text: str) -> Path:
    """Write `text` as the only member `name` of a zip, whole or not at all; equal text gives equal bytes."""
    member = zipfile.ZipInfo(name, date_time=_OLDEST_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = _UNIX
    member.external_attr = 0o644 << 16

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w") as archive:
            archive.writestr(member, text.encode("utf-8"))

    write_beside(path, write)
    return path


def read_zip(path: Path, name: str) -> str:
    """Return the text of the only member `name` of a zip; raises `FinesegError` for any other zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_others(archive, path, name)
            content = archive.read(name)
        return content.decode("utf-8")
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise FinesegError(f"{path}: {name}: byte {error.start} is not UTF-8, so this is no JSON") from None
    except FinesegError:
        raise
    except Exception as error:  # a damaged zip fails in zipfile in a dozen ways
        raise FinesegError(f"{path}: is no readable zip ({' '.join(str(error).split())})") from None


def _refuse_others(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    for member in archive.infolist():
        found = member.filename
        if found.startswith(("/", "\\")) or ".." in found.replace("\\", "/").split("/") or ":" in found:
            raise FinesegError(f"{path}: member {found!r} points outside of the zip; only {name} belongs in it")
    names = [member.filename for member in archive.infolist()]
    if names.count(name) != 1:
        raise FinesegError(f"{path}: must hold {name} once; it holds {_listed(names)}")
    if len(names) > 1:
        raise FinesegError(f"{path}: must hold {name} alone; it also holds {_listed([n for n in names if n != name])}")
    size = archive.getinfo(name).file_size
    if size > LARGEST_JSON:
        raise FinesegError(f"{path}: {name} is said to be {size} bytes large; at most {LARGEST_JSON} are read")


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most])) or "nothing"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
