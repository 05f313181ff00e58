"""Where a submission comes from, told by the bare file: a record in the zip's comment, and one in the store.

Readers of zips pass over the comment, so a file that carries one is read as without. Files that cannot carry it, or
have lost it, are looked up in the store by a hash of what they hold.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineseg.data.json_entries import parse_json
from fineseg.errors import FinesegError
from fineseg.store import Store, content_key, file_hash, write_beside, write_json

KIND = "submissions"
FORM = "fineseg submission"
VERSION = 1
LARGEST_COMMENT = 65_535  # bytes; a zip counts them in 16 bits
DISPENSABLE = ("profile", "predictions", "cost", "environment", "trainings", "folds", "scores", "data")
"""What a record that is too long for a comment goes without, in this order; the store keeps all of it."""

_END = b"PK\5\6"  # with which the last record of a zip begins, 22 bytes before the end where there is no comment
_END_LENGTH = 22
_LARGEST_CONTENT = 2**33  # bytes of a zip's members that are hashed
_CHUNK = 2**20


# -------------------------------------------------------------------- writing


def carry(file: Path, record: Mapping[str, Any]) -> bool:
    """Put a record into a zip as its comment, whole or not at all; no other byte changes.

    Returns False for a file that cannot carry one: no zip, or one with a comment of its own.
    """
    with open(file, "rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - _END_LENGTH))
        end = opened.read()
    if not (end.startswith(_END) and end.endswith(b"\0\0") and zipfile.is_zipfile(file)):
        return False
    comment = _comment_of(record)

    def write(beside: Path) -> None:
        shutil.copyfile(file, beside)
        with open(beside, "r+b") as opened:
            opened.seek(size - 2)
            opened.write(len(comment).to_bytes(2, "little") + comment)

    write_beside(file, write)
    return True


def _comment_of(record: Mapping[str, Any]) -> bytes:
    kept = {FORM: VERSION, **record}
    for name in ("", *DISPENSABLE):
        if kept.pop(name, None) is not None:
            kept["left out"] = [*kept.get("left out", []), name]
        comment = json.dumps(kept, separators=(",", ":"), default=str).encode("ascii")
        if len(comment) <= LARGEST_COMMENT:
            return comment
    return json.dumps({FORM: VERSION, "left out": ["all"]}).encode("ascii")


def keep(store: Path, file: Path, record: Mapping[str, Any]) -> None:
    """Put a record into the store, under what the file holds; the last one stands for equal files."""
    write_json(_place(store, content_hash(file)), {FORM: VERSION, **record})


def _place(store: Path, digest: str) -> Path:
    return Store(store).folder(KIND, content_key({"content": digest})) / "record.json"


# -------------------------------------------------------------------- reading


def explained(file: Path, store: Path) -> tuple[dict[str, Any], str]:
    """Return a file's record, and where it was found, in words.

    Raises `FinesegError` for a file that cannot be read, or of which nothing is known.
    """
    try:
        digest = content_hash(file)
    except OSError as error:
        raise FinesegError(f"{file}: {error.strerror or error}; give a submission file") from None
    if (carried := _record(_comment(file), str(file))) is not None:
        return carried, "the file's own comment"
    place = _place(store, digest)
    if place.is_file() and (stored := _record(place.read_bytes(), str(place))) is not None:
        return stored, f"the store {store}, by the file's content"
    raise FinesegError(
        f"{file}: carries no record of where it comes from, and the store {store} knows no submission of this content; "
        "give --store the store of the run that wrote it"
    )


def _comment(file: Path) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.comment
    except Exception:  # a damaged zip fails in zipfile in a dozen ways
        return b""


def _record(content: bytes, source: str) -> dict[str, Any] | None:
    """Return the record that bytes hold, None for bytes that are something else."""
    try:
        value = parse_json(content.decode("utf-8"), source)
    except (FinesegError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) and FORM in value else None


def content_hash(file: Path) -> str:
    """Return the sha256 of what a file holds: for a zip of its members, so that comment and packing do not count.

    A zip with one member has the hash of that member alone. Raises `OSError`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            if sum(member.file_size for member in members) <= _LARGEST_CONTENT:
                hashes = [[member.filename, _hash_of(archive, member)] for member in members]
                return hashes[0][1] if len(hashes) == 1 else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    except Exception:  # no zip, or a damaged one, which fails in zipfile in a dozen ways
        pass
    return file_hash(file)


def _hash_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with archive.open(member) as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
