"""Masks over a photograph as SVG: sharp at every zoom, holes open, the class in colour, as label and as tooltip.

Letters: H and W height and width of the picture's canvas in its own units, N masks of one picture.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fineseg.data import masks
from fineseg.data.split import Category, ImageInfo, TrueObject
from fineseg.errors import FinesegError
from fineseg.predictions import Instances
from fineseg.report.colours import class_colours, text_on

LEAST_CANVAS, MOST_CANVAS = 960, 1600
"""Longer side of a picture's canvas [units], on which outlines are traced: the image's own [pixels] between these."""
THUMB, LARGE = 480, 1200
"""Longer side of the embedded photographs at most [pixels]: of the one in a row, of the enlarged one."""
JPEG_QUALITY = 75
SMOOTH = 0.75
"""Units by which a traced outline may be simplified."""
LABEL_TEXT = 1 / 28
"""Height of a label's letters, as a part of the canvas's longer side."""
LETTER_WIDTH, LABEL_HEIGHT = 0.6, 1.28
"""Of a label's plate, as a part of its letters' height: per letter (a mean of wide bold system fonts), and in all."""
LONGEST_NAME = 18
"""Letters of a class name on a label; the tooltip has all of them."""


@dataclass(frozen=True)
class Photo:
    """A photograph for the page: data URIs of it small and enlarged, and the canvas that masks are laid over it on."""

    thumb: str
    large: str
    height: int
    width: int


@dataclass(frozen=True)
class Label:
    """Text on a coloured plate with its upper left corner at (x, y)."""

    text: str
    x: int
    y: int
    width: int
    height: int
    font: int
    colour: str


@dataclass(frozen=True)
class Shape:
    """One instance on the canvas: an SVG path (even-odd), what the tooltip says, and a label where one found room."""

    path: str
    title: str
    colour: str
    ink: str
    dashed: bool
    label: Label | None


@dataclass(frozen=True)
class Thing:
    """One instance to be drawn: a mask [h, w] at the image's own size, its class, and what else its label says."""

    mask: np.ndarray
    label: int
    name: str
    colour: str
    remark: str = ""
    crowd: bool = False

    @property
    def words(self) -> str:
        """The whole class name and the remark."""
        return f"{self.name} {self.remark}".strip()

    @property
    def short_words(self) -> str:
        """What fits on a label."""
        name = self.name if len(self.name) <= LONGEST_NAME else f"{self.name[: LONGEST_NAME - 1].rstrip(' /,-')}…"
        return f"{name} {self.remark}".strip()


def load_photo(image: ImageInfo) -> Photo:
    """Read an image for the page. Raises `FinesegError` where it cannot be read."""
    pixels = cv2.imread(str(image.file), cv2.IMREAD_COLOR)
    if pixels is None:
        reason = "cannot be decoded as an image" if image.file.exists() else "no such image"
        raise FinesegError(f"{image.file}: {reason}; the report shows it as an example")
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, LEAST_CANVAS), MOST_CANVAS) / longer
    canvas = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Photo(_jpeg(pixels, THUMB), _jpeg(pixels, LARGE), *canvas)


def _jpeg(pixels: np.ndarray, longest: int) -> str:
    """Return an image [h, w, 3] as the data URI of a JPEG whose longer side is at most `longest` [pixels]."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def true_things(image: ImageInfo, truth: Sequence[TrueObject], categories: Sequence[Category]) -> list[Thing]:
    """Return the true objects of an image, to be drawn; one without a segmentation is left out."""
    things, colours = [], class_colours(categories)
    for true_object in truth:
        if not true_object.segmentation:
            continue
        rle = masks.to_rle(true_object.segmentation, image.height, image.width)
        mask = masks.decode(rle["counts"], *rle["size"])
        label, remark = true_object.label, "(crowd)" if true_object.crowd else ""
        things.append(Thing(mask, label, categories[label].name, colours[label], remark, true_object.crowd))
    return things


def predicted_things(found: Instances, categories: Sequence[Category], threshold: float) -> list[Thing]:
    """Return the instances scored at `threshold` or higher, best first, to be drawn."""
    colours = class_colours(categories)
    order = [i for i in np.argsort(-found.scores, kind="stable") if found.scores[i] >= threshold]
    return [
        Thing(
            mask=masks.decode(found.masks[i], found.height, found.width),
            label=int(found.labels[i]),
            name=categories[int(found.labels[i])].name,
            colour=colours[int(found.labels[i])],
            remark=f"{found.scores[i]:.2f}",
        )
        for i in order
    ]


def shapes(things: Sequence[Thing], height: int, width: int) -> list[Shape]:
    """Lay things on a canvas [H, W]: the largest lowest, labels given room in the order of `things`."""
    placed: list[Label] = []
    drawn: list[tuple[int, Shape]] = []
    for thing in things:
        mask = on_canvas(thing.mask, height, width)
        if not mask.any():
            continue
        label = _place(mask, thing.short_words, thing.colour, placed)
        if label is not None:
            placed.append(label)
        shape = Shape(mask_path(mask), thing.words, thing.colour, text_on(thing.colour), thing.crowd, label)
        drawn.append((int(np.count_nonzero(mask)), shape))
    return [shape for _, shape in sorted(drawn, key=lambda entry: -entry[0])]


def on_canvas(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale a boolean mask to the canvas [H, W]; one too thin for the canvas keeps every unit it touches."""
    if mask.shape == (height, width):
        return mask
    shrinks = mask.shape[0] > height or mask.shape[1] > width
    cover = cv2.resize(
        mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    )
    scaled: np.ndarray = cover >= 128
    return scaled if scaled.any() else cover > 0


def mask_path(mask: np.ndarray) -> str:
    """Trace a boolean mask [H, W] as SVG path data; filled by the even-odd rule it keeps its holes."""
    left, top, part = _cut_out(mask)
    outlines, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    paths = []
    for outline in outlines:
        corners = cv2.approxPolyDP(outline, SMOOTH, True).reshape(-1, 2)
        (x, y), steps = corners[0].tolist(), np.diff(corners, axis=0)
        paths.append(f"M{x} {y}l{' '.join(f'{right} {down}' for right, down in steps.tolist()) or '0 0'}z")
    return "".join(paths)


def _cut_out(mask: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return the left and top edge of a mask's box, and the mask inside it as uint8."""
    whole = mask.astype(np.uint8)
    left, top, across, down = cv2.boundingRect(whole)
    return left, top, whole[top : top + down, left : left + across]


def _place(mask: np.ndarray, text: str, colour: str, placed: Sequence[Label]) -> Label | None:
    """Find room for a label: in the middle of the mask where it is wide enough, else above or below it, else inside."""
    height, width = mask.shape
    font = round(LABEL_TEXT * max(height, width))
    wide, high = round(font * (len(text) + 1) * LETTER_WIDTH), round(font * LABEL_HEIGHT)
    left, top, part = _cut_out(mask)
    down, across = part.shape
    depth = cv2.distanceTransform(np.pad(part, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    middle_y, middle_x = np.unravel_index(int(depth.argmax()), depth.shape)
    middle = (left + int(middle_x) - wide // 2, top + int(middle_y) - high // 2)
    around = [
        (left, top - high),
        (left, top + down),
        (left, top),
        (left + across - wide, top + down - high),
    ]
    fits = across >= wide and down >= 2 * high
    for x, y in [middle, *around] if fits else [*around, middle]:
        inside_x = max(0, min(x, width - wide))
        inside_y = max(0, min(y, height - high))
        label = Label(text, inside_x, inside_y, wide, high, font, colour)
        if not any(_overlap(label, other) for other in placed):
            return label
    return None


def _overlap(one: Label, other: Label) -> bool:
    apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not apart_x and abs(one.y - other.y) < one.height
