"""The gallery: a row an image, side by side the truth, each model, the combination; each picture can be enlarged."""

from collections.abc import Sequence
from dataclasses import dataclass

from fineseg.data.split import Category
from fineseg.predictions import Instances
from fineseg.report.analysis import chief
from fineseg.report.colours import class_colours
from fineseg.report.overlays import Photo, Shape, Thing, load_photo, predicted_things, shapes, true_things
from fineseg.report.records import Example, ReportData
from fineseg.report.sections import COMBINED, METRIC, merges_instances
from fineseg.report.templates import render_section

SHOWN_FROM = 0.3
"""Score from which a prediction is drawn."""
GROUPS = {
    "worst": "The lowest image AP of {chief}",
    "best": "The highest image AP of {chief}",
    "random": "Drawn at random from the others",
}
ALONE = {"random": "Drawn at random"}
"""Where no other group stands above."""


@dataclass(frozen=True)
class _Picture:
    """One picture of a row; `shapes` is None where nothing was predicted for the image, not even emptiness."""

    title: str
    caption: str
    alt: str
    shapes: list[Shape] | None


@dataclass(frozen=True)
class _Row:
    """One example on the page."""

    anchor: str
    name: str
    detail: str
    photo: Photo
    pictures: list[_Picture]


def gallery(data: ReportData) -> str | None:
    """Return the section of examples, or None for a run without any."""
    if not data.examples:
        return None
    names = [name for name, table in data.metrics["models"].items() if METRIC in table]
    labels: set[int] = set()
    groups: dict[str, list[_Row]] = {}
    for number, example in enumerate(data.examples, start=1):
        groups.setdefault(example.group, []).append(_row(number, example, data, names, labels))
    meanings = GROUPS if len(groups) > 1 else ALONE
    colours = class_colours(data.categories)
    titles = ["Truth", *names, *(["Combined"] if merges_instances(data) else [])]
    return render_section(
        "gallery",
        "gallery.html.jinja",
        groups=[(group, meanings.get(group, "").format(chief=chief(data)), rows) for group, rows in groups.items()],
        titles=titles,
        classes=[(data.categories[label].name, colours[label]) for label in sorted(labels)],
        shown_from=SHOWN_FROM,
        ranked=any(example.scores for example in data.examples),
    )


def _row(number: int, example: Example, data: ReportData, names: Sequence[str], labels: set[int]) -> _Row:
    """Draw one example; the classes it shows are added to `labels`."""
    image = example.image
    photo = load_photo(image)
    truth = true_things(image, example.truth, data.categories)
    pictures = [_picture("Truth", truth, photo, "object", image.file.name)]
    columns = [(name, name, example.models.get(name)) for name in names]
    columns += [("Combined", COMBINED, example.combined)] if merges_instances(data) else []
    shown = list(truth)
    for title, name, found in columns:
        things = _things(found, data.categories)
        shown += things or []
        pictures.append(_picture(title, things, photo, "prediction", image.file.name, example.scores.get(name)))
    labels.update(thing.label for thing in shown)
    detail = f"{image.width} x {image.height} pixels, image {image.id}"
    return _Row(f"photo-{number}", image.file.name, detail, photo, pictures)


def _things(found: Instances | None, categories: Sequence[Category]) -> list[Thing] | None:
    return None if found is None else predicted_things(found, categories, SHOWN_FROM)


def _picture(
    title: str, things: Sequence[Thing] | None, photo: Photo, noun: str, file: str, ap: float | None = None
) -> _Picture:
    if things is None:
        return _Picture(title, "not predicted", f"{title}, {file}: not predicted", None)
    count = f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
    words = ", ".join(thing.words for thing in things)
    alt = f"{title}, {file}: {count}{': ' + words if words else ''}"
    caption = count if ap is None else f"AP {ap:.0f}, {len(things)} shown"
    return _Picture(title, caption, alt, shapes(things, photo.height, photo.width))
