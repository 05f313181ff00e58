"""Writing the profile that was proposed: whole, checked as `fineseg check --data` does, or not at all."""

import json
import os
import shlex
import textwrap
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fineseg.catalog import Catalog
from fineseg.data.findings import Finding, told
from fineseg.data.split import Split
from fineseg.errors import FinesegError, one_line
from fineseg.profile import load_profile
from fineseg.proposal.measure import Machine, Measured, Stuff, measure, measure_stuff
from fineseg.proposal.panoptic import map_rules, panoptic_cost, panoptic_model
from fineseg.proposal.places import Places, Request, find_places, plain
from fineseg.proposal.propose import INSTANCES, Fit, area_ranges, detections, duration_words, fit, image_scale, model
from fineseg.stages.check import check_profile_data
from fineseg.store import write_beside

FOLDER = Path(__file__).parent
WIDTH = 116
SHOWN_CLASSES = 12
TOGETHER = "\N{NO-BREAK SPACE}"
"""A space at which a comment is not wrapped."""


@dataclass(frozen=True)
class Proposed:
    """The text of a profile, and what it will take."""

    text: str
    fit: Fit


Answers = Callable[[bool], tuple[str, str]]
"""Given whether the network is small: where its ImageNet weights come from, none if empty, and why."""


def propose_profile(request: Request, catalog: Catalog, machine: Machine, weights: Answers) -> Proposed:
    """Measure the data and return a profile for it; raises `FinesegError` for data that cannot be read."""
    places = find_places(request)
    train, scored = _read(places, catalog, request)
    data, stuff = measure(train), measure_stuff(train) if places.task == "panoptic" else None
    held_out = 0 if scored else _held_out(request, len(train.images))
    used = len(train.images) - held_out
    scale = image_scale(data, machine)
    chosen = panoptic_model(scale, machine) if stuff else model(data, scale, machine)
    fitted = fit(scale, machine, used, panoptic_cost(len(train.panoptic_categories)) if stuff else INSTANCES)
    source, why = weights(chosen.small)
    text = (
        _templates()
        .get_template("profile.toml.jinja")
        .render(
            heading=_heading(request, data, stuff, machine, fitted),
            data_tables=_data_tables(places, held_out, used, len(scored.images) if scored else held_out),
            limits=detections(data),
            ranges=area_ranges(data),
            rules=map_rules(stuff, machine) if stuff else None,
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


# --------------------------------------------------------------------------- reading


def _read(places: Places, catalog: Catalog, request: Request) -> tuple[Split, Split | None]:
    """Read the splits by the data set part that the profile will name."""
    tables = tomllib.loads(_data_tables(places, 0, 0, 0))["data"]
    options = {key: value for key, value in tables["dataset"].items() if key != "name"}
    part, checked = catalog.choose("dataset", tables["dataset"]["name"], options)
    root = Path(plain(request.profile.parent)) / places.root
    train = part.read(checked, root, "train")
    if not train.labelled:
        raise FinesegError(f"{request.coco}: has no annotations; a profile needs labelled images to train on")
    scored = part.read(checked, root, "val") if request.val is not None else None
    _refuse_elsewhere(train, "--images", request.images)
    if scored is not None:
        option, folder = (
            ("--images", request.images) if request.val_images is None else ("--val-images", request.val_images)
        )
        _refuse_elsewhere(scored, option, folder)
    return train, scored


def _refuse_elsewhere(split: Split, option: str, folder: Path) -> None:
    """Raise `FinesegError` where none of the images is there: another folder was meant."""
    if split.images and not any(image.file.is_file() for image in split.images):
        wanted = os.path.relpath(split.images[0].file, folder)
        raise FinesegError(
            f"{option} {folder}: holds none of the {len(split.images):,} images, such as {wanted}; give the folder "
            "that file names are relative to"
        )


def _held_out(request: Request, images: int) -> int:
    if images < 2:
        raise FinesegError(f"{request.coco}: {images} image; two are needed to train on one and score on the other")
    return min(images - 1, max(1, round(request.held_out * images)))


# ------------------------------------------------------------------------------ text


def _data_tables(places: Places, held_out: int, trained_on: int, scored: int) -> str:
    why = f"{trained_on} images are trained on, {scored} scored on"
    why += "; another seed holds out others" if held_out else ""
    return _templates().get_template("data.toml.jinja").render(places=places, held_out=held_out, split_why=why)


def _heading(request: Request, data: Measured, stuff: Stuff | None, machine: Machine, fitted: Fit) -> str:
    lines = [
        f"A first profile for {request.coco.name}, proposed by fineseg. Above each number stands why.",
        "",
        f"Data      {data.images:,} images, {len(data.pixels):,} objects of {_counted(data.classes)}",
        *([f"Stuff     {len(stuff.every):,} segments of {_counted(stuff.classes)}"] if stuff else []),
        f"Machine   {machine.words()}",
        f"Cost      about {duration_words(fitted.seconds)} of training and {fitted.gib:.1f} GiB, estimated",
        f"Check     fineseg check {shlex.quote(request.profile.name)} --data",
        f"Run       fineseg run {shlex.quote(request.profile.name)}",
    ]
    return "\n".join(one_line(line) for line in lines)


def _counted(classes: Sequence[tuple[str, int]]) -> str:
    """Return how many classes there are, and the most frequent ones with their numbers."""
    counts = [f"{name} {count:,}".replace(" ", TOGETHER) for name, count in classes[:SHOWN_CLASSES]]
    more = len(classes) - len(counts)
    rest = f", and {more} more down to {classes[-1][1]:,}" if more > 0 else ""
    return f"{len(classes)} classes: {', '.join(counts)}{rest}"


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
    return "\n".join(f"# {line}".rstrip() for line in wrapped).replace(TOGETHER, " ")
