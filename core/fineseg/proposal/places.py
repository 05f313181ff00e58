"""Where somebody's data lie, of which kind they are, and how a profile names both."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fineseg.data.json_entries import load_json
from fineseg.errors import FinesegError

Task = Literal["instance", "panoptic"]

UNNAMED = "competition"


@dataclass(frozen=True)
class Request:
    """Where the data lie and where the profile goes; `held_out` is the part of the images without a `val` file.

    `task` is what is to be learnt, None for all that the files tell.
    """

    profile: Path
    coco: Path
    images: Path
    val: Path | None
    val_images: Path | None
    held_out: float
    task: Task | None = None


@dataclass(frozen=True)
class Places:
    """Name, root, and the paths below it by split, as the profile's tables have them.

    `kind` is what the files tell: instances, or panoptic maps, whose PNGs lie in the folders `maps`. `task` is what is
    learnt of it; things of panoptic files are instances too.
    """

    name: str
    root: str
    kind: Task
    task: Task
    annotations: Mapping[str, str]
    images: Mapping[str, str]
    maps: Mapping[str, str]


def find_places(request: Request) -> Places:
    """Return where the data lie; raises `FinesegError` for what is not there, and for files of the wrong kind."""
    files = {"train": request.coco} | ({"val": request.val} if request.val is not None else {})
    folders = {"train": request.images}
    if request.val is not None:
        folders["val"] = request.val_images or request.images
    for option, file in zip(("--coco", "--val"), files.values(), strict=False):
        if not file.is_file():
            raise FinesegError(f"{option} {file}: no such file; give a COCO annotation file")
    for option, folder in zip(("--images", "--val-images"), folders.values(), strict=False):
        if not folder.is_dir():
            raise FinesegError(f"{option} {folder}: no such folder; give the one that file names are relative to")
    kind = _common_kind(request)
    maps = {split: _maps_of(file) for split, file in files.items()} if kind == "panoptic" else {}
    given = [*(file.parent for file in files.values()), *folders.values()]
    root = os.path.commonpath([plain(folder) for folder in given])
    relative = not any(path.is_absolute() for path in [*given, request.profile])
    here = plain(request.profile.parent)
    return Places(
        name=re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]+", "-", request.profile.stem).strip("-") or UNNAMED,
        root=(Path(os.path.relpath(root, here)) if relative else Path(root)).as_posix(),
        kind=kind,
        task=request.task or kind,
        annotations=_below(root, files),
        images=_below(root, folders),
        maps=_below(root, maps),
    )


def plain(path: Path) -> str:
    """Return an absolute path without `..`; links stay, as somebody may have placed them on purpose."""
    return os.path.normpath(path.absolute())


def kind_of(file: Path) -> Task:
    """Say what a COCO file tells: in a panoptic one annotations list the segments of an image's map.

    A file that has no annotations, or is none of COCO's, counts as one of instances: its reader says what it lacks.
    Raises `FinesegError` for what is no JSON.
    """
    document = load_json(Path(plain(file)))
    rows = document.get("annotations") if isinstance(document, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return "panoptic" if isinstance(first, dict) and "segments_info" in first else "instance"


def _common_kind(request: Request) -> Task:
    kind = kind_of(request.coco)
    if request.val is not None and kind_of(request.val) != kind:
        lacking, other = (request.val, request.coco) if kind == "panoptic" else (request.coco, request.val)
        raise FinesegError(
            f"{lacking}: has no panoptic annotations (segments_info), and {other} has: give --coco and --val two files "
            "of one kind"
        )
    if request.task == "panoptic" and kind != "panoptic":
        raise FinesegError(
            f"--task panoptic: {request.coco} has no panoptic annotations (segments_info); give COCO's panoptic file, "
            "or leave out --task"
        )
    return kind


def _maps_of(file: Path) -> Path:
    """Return the folder of a panoptic file's PNGs, which has the file's name, as all of COCO's have."""
    folder = file.with_suffix("")
    if not folder.is_dir():
        raise FinesegError(f"{folder}: no such folder; the PNGs of {file} must lie there, in a folder of its name")
    return folder


def _below(root: str, paths: Mapping[str, Path]) -> dict[str, str]:
    return {split: Path(os.path.relpath(plain(path), root)).as_posix() for split, path in paths.items()}
