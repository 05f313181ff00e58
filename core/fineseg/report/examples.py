"""The section of examples: photograph, truth, the best single model, the combination, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from fineseg.data.split import Category
from fineseg.predictions import Instances
from fineseg.report.colours import class_colour
from fineseg.report.overlays import Photo, Shape, Thing, load_photo, predicted_things, shapes, true_things
from fineseg.report.records import Example, ReportData
from fineseg.report.sections import best_model, is_combined
from fineseg.report.templates import render_section

SHOWN_FROM = 0.3
"""Score from which a prediction is drawn."""


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


def examples(data: ReportData) -> str | None:
    """Return the section of examples, or None for a run without any."""
    if not data.examples:
        return None
    best = best_model(data.metrics)
    labels: set[int] = set()
    rows = [_row(number, example, data, best, labels) for number, example in enumerate(data.examples, start=1)]
    classes = [(data.categories[label].name, class_colour(label)) for label in sorted(labels)]
    return render_section("examples", rows=rows, classes=classes, shown_from=SHOWN_FROM)


def _row(number: int, example: Example, data: ReportData, best: str | None, labels: set[int]) -> _Row:
    """Draw one example; the classes it shows are added to `labels`."""
    image = example.image
    photo = load_photo(image)
    truth = true_things(image, example.truth, data.categories)
    pictures = [_picture("Truth", truth, photo, "object", image.file.name)]
    columns = [(best, example.models.get(best))] if best is not None else []
    columns += [("Combined", example.combined)] if is_combined(data) else []
    shown = list(truth)
    for title, found in columns:
        things = _things(found, data.categories)
        shown += things or []
        pictures.append(_picture(title, things, photo, "prediction", image.file.name))
    labels.update(thing.label for thing in shown)
    detail = f"{image.width} x {image.height} pixels, image {image.id}"
    return _Row(f"photo-{number}", image.file.name, detail, photo, pictures)


def _things(found: Instances | None, categories: Sequence[Category]) -> list[Thing] | None:
    return None if found is None else predicted_things(found, categories, SHOWN_FROM)


def _picture(title: str, things: Sequence[Thing] | None, photo: Photo, noun: str, file: str) -> _Picture:
    if things is None:
        return _Picture(title, "not predicted", f"{title}, {file}: not predicted", None)
    count = f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
    words = ", ".join(thing.words for thing in things)
    alt = f"{title}, {file}: {count}{': ' + words if words else ''}"
    return _Picture(title, count, alt, shapes(things, photo.height, photo.width))
