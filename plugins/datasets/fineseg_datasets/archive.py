"""Zips that are written the same to the byte every time."""

import zipfile
from pathlib import Path

from fineseg.store import write_beside

_OLDEST_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def zip_member(name: str, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Return the head of a member, without clock or machine in it."""
    member = zipfile.ZipInfo(name, date_time=_OLDEST_TIME)
    member.compress_type = compression
    member.create_system = _UNIX
    member.external_attr = 0o644 << 16
    return member


def write_zip(path: Path, name: str, text: str) -> Path:
    """Write `text` as the only member `name` of a zip, whole or not at all; equal text gives equal bytes."""

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w") as archive:
            archive.writestr(zip_member(name), text.encode("utf-8"))

    write_beside(path, write)
    return path
