"""Training curves as inline SVG that takes the page's text colour. No text of the user enters a chart."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from fineseg.report.colours import Stroke

POINTS = 240
"""Points that a line keeps, about one to a pixel of the chart."""
SMOOTHING = 0.04
"""Width of the running mean over a noisy line, as a part of the line."""
SIZE = (4.4, 2.7)
"""Width and height of a chart [inches]; the page scales it."""
_INK = "#0a0b0c"  # stands for the page's text colour until the SVG is written

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "lines.scale_dashes": False,
    "font.family": "sans-serif",
    "font.size": 9,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_NUMBERED_ID = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_STYLE_BLOCK = re.compile(r"\s*<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_FIXED_SIZE = re.compile(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"')


@dataclass(frozen=True)
class Line:
    """One line of a chart: values over steps, both [P], and its stroke. A noisy line gets a running mean over it."""

    steps: np.ndarray
    values: np.ndarray
    stroke: Stroke
    noisy: bool = False


def line_of(rows: Sequence[Mapping[str, Any]], key: str, stroke: Stroke, *, noisy: bool = False) -> Line | None:
    """Return a log's values under one key over their steps, or None where no row has a number there."""
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    if not found:
        return None
    table = np.asarray(found, dtype=np.float64)
    return Line(table[:, 0], table[:, 1], stroke, noisy)


def line_chart(lines: Sequence[Line], *, name: str, floor: float | None = 0.0) -> Markup:
    """Draw lines over training steps; `name` keeps the chart's inner names apart from other charts' on the page.

    `floor` is where the value axis starts; None leaves it to the values.
    """
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": name}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for line in lines:
            _draw(axes, line)
        _dress(axes, floor)
        if floor is not None and (tops := [_top(line) for line in lines]):
            axes.set_ylim(floor, max(max(tops) * 1.08, floor + 1e-9))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    return Markup(_inline(file.getvalue()))


def thin(values: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Return the means of at most `points` even stretches of [P] values, in order."""
    if len(values) <= points:
        return values
    return np.array([stretch.mean() for stretch in np.array_split(values, points)])


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the means [P] over windows of odd `width` centred on each value; a window at the rim is cut off there."""
    window = np.ones(width)
    return np.convolve(values, window, mode="same") / np.convolve(np.ones(len(values)), window, mode="same")


def _draw(axes: Axes, line: Line) -> None:
    steps, values = thin(line.steps), thin(line.values)
    style: dict[str, Any] = {"color": line.stroke.colour, "linewidth": line.stroke.width}
    style["linestyle"] = (0, tuple(line.stroke.dashes)) if line.stroke.dashes else "-"
    if not line.noisy:
        axes.plot(steps, values, marker="o" if len(steps) <= 30 else "", markersize=4, **style)
        return
    some = slice(None, None, -(-len(line.values) // POINTS))
    axes.plot(line.steps[some], line.values[some], color=line.stroke.colour, linewidth=0.7, alpha=0.3)
    axes.plot(steps, running_mean(values, _width(values)), **style)


def _width(values: np.ndarray) -> int:
    return min(2 * int(len(values) * SMOOTHING / 2) + 1, len(values) - 1 + len(values) % 2)


def _top(line: Line) -> float:
    """Return what of a line must fit: of a noisy one the running mean and nearly all values, not single peaks."""
    values = thin(line.values)
    if not line.noisy:
        return float(values.max())
    return max(float(running_mean(values, _width(values)).max()), float(np.percentile(values, 98)))


def _dress(axes: Axes, floor: float | None) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.spines[["left", "bottom"]].set_alpha(0.35)
    axes.tick_params(colors=_INK, length=0, pad=5)
    axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.get_offset_text().set_color(_INK)
    axes.set_xlabel("step", color=_INK)
    axes.set_xlim(left=0)
    axes.margins(y=0.08)


def _inline(svg: str) -> str:
    """Cut a standalone SVG file down to what stands well inside a page."""
    svg = svg[svg.index("<svg") :]
    for pattern in (_STYLE_BLOCK, _METADATA, _NUMBERED_ID):
        svg = pattern.sub("", svg)
    svg = _FIXED_SIZE.sub(lambda match: match[1] or "", svg)
    return svg.replace(_INK, "currentColor").strip()
