"""Colours of classes and strokes of models, the same on every picture, table and chart of a page."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from fineseg.data.split import Category

_CLASSES = (
    "#e6194b", "#2f7ed8", "#ffb000", "#2ca44f", "#9b4dca", "#14b8c4", "#f3722c", "#e83e9c",
    "#8fbf26", "#6a5cff", "#a9673a", "#00a884", "#ff8fa3", "#5b8c00", "#7aa7ff", "#c9a227",
)  # fmt: skip
_MODELS = (
    "#2f7ed8", "#e8710a", "#1a9f5a", "#b04fd0", "#d93a5e", "#0f9fb5",
    "#9a8a00", "#8d6e63", "#5e6ad2", "#6b9e1f", "#c2557a", "#5a7a8c",
)  # fmt: skip
_DASHES = ((), (7.0, 3.0), (2.5, 2.0), (9.0, 3.0, 2.0, 3.0), (4.0, 2.0), (1.0, 2.5))
_GOLDEN_RATIO = 0.618034
_LEAST_LUMINANCE = 0.08
"""Of a class: darker outlines are lost on photographs, darker segments in what is void."""


def class_colours(categories: Sequence[Category]) -> list[str]:
    """Return the colour of each class as #rrggbb: the data set's own where it has one, made lighter if too dark."""
    return [
        class_colour(label) if category.colour is None else _lightened(category.colour)
        for label, category in enumerate(categories)
    ]


def _lightened(colour: tuple[int, int, int]) -> str:
    """Mix a colour with as much white as it takes to be seen."""
    mixed = ("#{:02x}{:02x}{:02x}".format(*(round(c + (255 - c) * part / 20) for c in colour)) for part in range(21))
    return next(each for each in mixed if _luminance(each) >= _LEAST_LUMINANCE)


def class_colour(label: int) -> str:
    """Return the colour of a class, by its position in the class table, as #rrggbb."""
    if label < len(_CLASSES):
        return _CLASSES[label]
    hue = (label * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.52, 0.62)[label % 3], 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def model_colour(position: int) -> str:
    """Return the colour of a run's model, by its position among the models."""
    return _MODELS[position % len(_MODELS)]


@dataclass(frozen=True)
class Stroke:
    """How a model's lines are drawn: `dashes` are lengths of strokes and gaps in points, none for an unbroken line."""

    colour: str
    dashes: tuple[float, ...] = ()
    width: float = 1.8


def model_stroke(position: int) -> Stroke:
    """Return the stroke of a run's model, by its position among the models; not its colour alone tells it apart."""
    return Stroke(model_colour(position), _DASHES[position % len(_DASHES)])


def strokes_of(names: Sequence[str], combined: str) -> dict[str, Stroke]:
    """Return the strokes of models in their order; what is called `combined` has the page's ink, unbroken and wide."""
    return {
        name: Stroke("currentColor", width=2.8) if name == combined else model_stroke(position)
        for position, name in enumerate(names)
    }


def text_on(colour: str) -> str:
    """Return black or white, whichever reads better on a colour."""
    luminance = _luminance(colour)
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
