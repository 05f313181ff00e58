"""Writing the profile that was proposed: whole, checked as `fineseg check --data` does, or not at all."""

import json
import os
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fineseg.catalog import Catalog
from fineseg.data.findings import Finding, told
from fineseg.data.split import Split
from fineseg.errors import FinesegError, one_line
from fineseg.profile import load_profile
from fineseg.proposal.measure import Machine, Measured, measure
from fineseg.proposal.propose import Fit, area_ranges, detections, duration_words, fit, image_scale, model
from fineseg.stages.check import check_profile_data
from fineseg.store import write_beside

FOLDER = Path(__file__).parent
WIDTH = 116
SHOWN_CLASSES = 12
UNNAMED = "competition"


@dataclass(frozen=True)
class Request:
    """Where the data lie and where the profile goes; `held_out` is the part of the images without a `val` file."""

    profile: Path
    coco: Path
    images: Path
    val: Path | None
    val_images: Path | None
    held_out: float


@dataclass(frozen=True)
class Proposed:
    """The text of a profile, and what it will take."""

    text: str
    fit: Fit


Answers = Callable[[bool], tuple[str, str]]
"""Given whether the network is small: where its ImageNet weights come from, none if empty, and why."""


def propose_profile(request: Request, catalog: Catalog, machine: Machine, weights: Answers) -> Proposed:
    """Measure the data and return a profile for it; raises `FinesegError` for data that cannot be read."""
    places = _places(request)
    train, scored = _read(places, catalog, request)
    data = measure(train)
    held_out = 0 if scored else _held_out(request, len(train.images))
    used = len(train.images) - held_out
    scale = image_scale(data, machine)
    chosen = model(data, scale, machine)
    fitted = fit(data, scale, machine, used)
    source, why = weights(chosen.small)
    text = (
        _templates()
        .get_template("profile.toml.jinja")
        .render(
            heading=_heading(request, data, machine, fitted),
            data_tables=_data_tables(places, held_out, used, len(scored.images) if scored else held_out),
            limits=detections(data),
            ranges=area_ranges(data),
            scale=scale,
            fit=fitted,
            model=chosen,
            weights=source,
            weights_why=why,
        )
    )
    return Proposed(text, fitted)


def write_checked(path: Path, text: str, catalog: Catalog, store: Path) -> tuple[Finding, ...]:
    """Write a profile once it and its data pass their checks; return what the data's checks warn of.

    Raises `FinesegError`, and writes nothing, where they do not, and where the file is there already.
    """
    refuse_existing(path)
    found: list[Finding] = []

    def write(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8")
        try:
            loaded = load_profile(beside, catalog)
        except FinesegError as error:
            raise FinesegError(str(error).replace(str(beside), str(path))) from None
        found.extend(check_profile_data(loaded, catalog, store))
        if errors := told(found, "error"):
            raise FinesegError("\n".join(errors))

    write_beside(path, write)
    return tuple(found)


def refuse_existing(path: Path) -> None:
    """Raise `FinesegError` where a file would be overwritten."""
    if path.exists():
        raise FinesegError(f"{path}: is there already; name another file, or delete it")


# ------------------------------------------------------------------ where the data lie


def _places(request: Request) -> dict[str, Any]:
    """Return name, root, and the paths below it, as the profile's tables have them."""
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
    given = [*(file.parent for file in files.values()), *folders.values()]
    root = os.path.commonpath([_plain(folder) for folder in given])
    relative = not any(path.is_absolute() for path in [*given, request.profile])
    here = _plain(request.profile.parent)
    return {
        "name": re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]+", "-", request.profile.stem).strip("-") or UNNAMED,
        "root": (Path(os.path.relpath(root, here)) if relative else Path(root)).as_posix(),
        "annotations": {split: _below(root, file) for split, file in files.items()},
        "images": {split: _below(root, folder) for split, folder in folders.items()},
    }


def _plain(path: Path) -> str:
    """Return an absolute path without `..`; links stay, as somebody may have placed them on purpose."""
    return os.path.normpath(path.absolute())


def _below(root: str, path: Path) -> str:
    return Path(os.path.relpath(_plain(path), root)).as_posix()


def _read(places: Mapping[str, Any], catalog: Catalog, request: Request) -> tuple[Split, Split | None]:
    """Read the splits by the data set part that the profile will name."""
    tables = tomllib.loads(_data_tables(places, 0, 0, 0))["data"]
    options = {key: value for key, value in tables["dataset"].items() if key != "name"}
    part, checked = catalog.choose("dataset", tables["dataset"]["name"], options)
    root = Path(_plain(request.profile.parent)) / places["root"]
    train = part.read(checked, root, "train")
    if not train.labelled:
        raise FinesegError(f"{request.coco}: has no annotations; a profile needs labelled images to train on")
    return train, part.read(checked, root, "val") if request.val is not None else None


def _held_out(request: Request, images: int) -> int:
    if images < 2:
        raise FinesegError(f"{request.coco}: {images} image; two are needed to train on one and score on the other")
    return min(images - 1, max(1, round(request.held_out * images)))


# ------------------------------------------------------------------------------ text


def _data_tables(places: Mapping[str, Any], held_out: int, trained_on: int, scored: int) -> str:
    why = f"{trained_on} images are trained on, {scored} scored on"
    why += "; another seed holds out others" if held_out else ""
    return _templates().get_template("data.toml.jinja").render(**places, held_out=held_out, split_why=why)


def _heading(request: Request, data: Measured, machine: Machine, fitted: Fit) -> str:
    counts = [f"{name} {count:,}" for name, count in data.classes[:SHOWN_CLASSES]]
    more = len(data.classes) - len(counts)
    classes = ", ".join(counts) + (f", and {more} more down to {data.classes[-1][1]:,}" if more > 0 else "")
    lines = [
        f"A first profile for {request.coco.name}, proposed by fineseg. Above each number stands why.",
        "",
        f"Data      {data.images:,} images, {len(data.pixels):,} objects of {len(data.classes)} classes: {classes}",
        f"Machine   {machine.words()}",
        f"Cost      about {duration_words(fitted.seconds)} of training and {fitted.gib:.1f} GiB, estimated",
        f"Check     fineseg check {request.profile.name} --data",
        f"Run       fineseg run {request.profile.name}",
    ]
    return "\n".join(one_line(line) for line in lines)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"toml": _toml, "reason": _comment}
    return environment


def _toml(text: str) -> str:
    """Return a text as a TOML string: JSON's, but for the one control character that JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """Return lines as comments, wrapped."""
    lines: Sequence[str] = text.splitlines() or [""]
    wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]]
    return "\n".join(f"# {line}".rstrip() for line in wrapped)
