"""Small charts of figures in percent as inline SVG that takes the page's text colour: lines, and bars of counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fineseg.report.colours import Stroke
from fineseg.report.records import Numbers
from fineseg.report.templates import render_section

WIDTH, HEIGHT = 340, 220
"""Of a chart [units]; the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 8, 36
TEMPLATE = "charts.html.jinja"


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where [units], what it says."""

    at: float
    text: str


def percent_lines(
    lines: Sequence[tuple[Numbers, Stroke]],
    ticks: Sequence[tuple[float, str]],
    titles: tuple[str, str],
    words: str,
    *,
    middles: bool = False,
) -> Markup:
    """Draw lines of values 0 to 100, each spread evenly over the width; a value that is None breaks its line.

    `ticks` are (part of the width, text) below, `titles` what width and height show, with units, `words` say it to
    those who cannot see.
    Values stand from edge to edge, or in the `middles` of as many equal parts.
    """
    drawn = [(_path(values, middles=middles), stroke) for values, stroke in lines]
    marks = [Tick(_x(part), text) for part, text in ticks]
    heights = [Tick(_y(value / 100), str(value)) for value in range(0, 101, 25)]
    return Markup(render_section("lines", TEMPLATE, **_frame(titles, words), lines=drawn, ticks=marks, heights=heights))


def count_bars(
    counts: Sequence[int], ticks: Sequence[tuple[float, str]], titles: tuple[str, str], words: str
) -> Markup:
    """Draw counts as bars side by side over the whole width; ticks, titles and words as of `percent_lines`."""
    top = _round_up(max(counts, default=1))
    step = 1 / max(1, len(counts))
    bars = [
        (_x(n * step) + 1, _y(count / top), _x((n + 1) * step) - _x(n * step) - 2, _y(0) - _y(count / top))
        for n, count in enumerate(counts)
    ]
    marks = [Tick(_x(part), text) for part, text in ticks]
    heights = [Tick(_y(part / 2), f"{round(top * part / 2):,}") for part in range(3)]
    return Markup(render_section("bars", TEMPLATE, **_frame(titles, words), bars=bars, ticks=marks, heights=heights))


def legend(strokes: Mapping[str, Stroke]) -> Markup:
    """Return the list of what each stroke stands for."""
    return Markup(render_section("strokes", TEMPLATE, strokes=strokes))


def _frame(titles: tuple[str, str], words: str) -> dict[str, object]:
    edges = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    return {"width": WIDTH, "height": HEIGHT, "title": titles[0], "upwards": titles[1], "words": words, **edges}


def _path(values: Numbers, *, middles: bool) -> str:
    """Return SVG path data through the values; points amid equal ones are left out."""
    count, first = (len(values), 0.5) if middles else (max(1, len(values) - 1), 0.0)
    pieces: list[str] = []
    for n, value in enumerate(values):
        before, after = (values[m] if 0 <= m < len(values) else None for m in (n - 1, n + 1))
        if value is None or before == value == after:
            continue
        pieces.append(f"{'M' if before is None else 'L'}{_x((n + first) / count):.1f} {_y(value / 100):.1f}")
        if before is None and after is None:
            pieces.append("h.1")  # a point alone
    return "".join(pieces)


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _round_up(count: int) -> int:
    """Return the next number of the form 2, 4, 6, 8 or 10 times a power of ten, which halves well."""
    power = 1
    while power * 10 < count:
        power *= 10
    return next(power * factor for factor in (2, 4, 6, 8, 10) if power * factor >= count)
