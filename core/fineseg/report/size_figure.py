"""Sizes of the objects of several data sets in one picture: distributions over each other, proposed ranges below.

After Figure 1 of "Towards Fine-grained Large Object Segmentation", the instance paper: in shares instead of counts, so
that data sets of any number of images compare, and over octaves, so that small objects are told apart as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from fineseg.data.sizes import RANGE_NAMES, AreaRanges, Sizes
from fineseg.report.colours import model_colour
from fineseg.store import write_beside

WIDTH, PLOT_HEIGHT, STRIP_HEIGHT = 11.0, 3.6, 0.55
"""Of the figure, of its plots, and of one data set's strip below them [inches]."""
DPI = 160
FINEST, COARSEST = 1 / 8, 1 / 2
"""Width of a bin [octaves]."""
COCO_EDGES = (32, 96)
MEDIAN_TOP = 0.92
"""Height of a median's line, as a part of the plot; above it stand COCO's edges."""
NAMED = 1.9
"""A third whose ends are further apart than this factor has room for its name."""
_TICKS = {
    "pixels": [2.0**power for power in range(17)],
    "relative": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0],
}
_INK, _FAINT = "#22262b", "#8a9099"
_TINTS = (0.25, 0.5, 0.85)
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sizes",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": _INK,
    "text.parse_math": False,  # a dollar in a file's name is one
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Measured:
    """A data set's sizes, under the name that the picture gives it, with the ranges that were proposed for it."""

    name: str
    sizes: Sizes
    ranges: AreaRanges | None


def write_size_figure(path: Path, measured: Sequence[Measured], *, boxes: bool = False) -> None:
    """Draw data sets into one figure, in the format of the path's suffix (.png or .svg)."""
    with matplotlib.rc_context(_SETTINGS):
        figure = draw_sizes(measured, boxes=boxes)
        form = path.suffix[1:].lower()
        metadata = {"Date": None} if form == "svg" else None
        write_beside(path, lambda beside: figure.savefig(beside, format=form, dpi=DPI, metadata=metadata))


def draw_sizes(measured: Sequence[Measured], *, boxes: bool = False) -> Figure:
    """Draw the distributions in pixels and relative to the image, and under each a strip of thirds a data set."""
    strips = STRIP_HEIGHT * len(measured) + 0.2
    figure = Figure(figsize=(WIDTH, PLOT_HEIGHT + strips + 0.3 * len(measured)), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row", gridspec_kw={"height_ratios": [PLOT_HEIGHT, strips]})
    what = "√ box area" if boxes else "√ object area"
    for column, (kind, label) in enumerate((("pixels", f"{what} [pixels]"), ("relative", f"{what} / √ image area"))):
        values = [getattr(each.sizes, kind) for each in measured]
        _distributions(axes[0, column], values)
        for row, each in enumerate(measured):
            _strip(axes[1, column], row, values[row], kind, each)
        _dress(axes[:, column], values, kind, label)
    _mark_coco(axes[0, 0])
    axes[0, 0].set_ylabel("share of the objects, per bin")
    axes[1, 0].set_ylabel("thirds")
    axes[0, 1].set_title("dashed: medians; bars below: a third of the objects each", loc="right", size=8, color=_FAINT)
    _legend(figure, measured)
    return figure


def bin_edges(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return common edges [B+1] for sizes [N] of several data sets, even in octaves, a whole number to an octave.

    The width is the geometric mean of Freedman and Diaconis' for each data set, within 1/8 and 1/2 octave.
    """
    logs = [np.log2(each) for each in values]
    wanted = [2 * np.subtract(*np.percentile(each, [75, 25])) / len(each) ** (1 / 3) for each in logs]
    between = np.exp(np.log(np.maximum(wanted, FINEST)).mean())
    width = 1 / round(1 / float(np.clip(between, FINEST, COARSEST)))
    low = np.floor(min(each.min() for each in logs) / width)
    high = np.floor(max(each.max() for each in logs) / width) + 1
    edges: np.ndarray = 2.0 ** (np.arange(low, high + 1) * width)
    return edges


def _distributions(axes: Axes, values: Sequence[np.ndarray]) -> None:
    edges = bin_edges(values)
    for position, each in enumerate(values):
        colour = model_colour(position)
        heights = np.histogram(each, edges)[0] * (100 / len(each))
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
        axes.stairs(heights, edges, color=colour, linewidth=1.6)
        axes.axvline(float(np.median(each)), 0, MEDIAN_TOP, color=colour, linewidth=1.3, linestyle=(0, (4, 2)))


def _strip(axes: Axes, row: int, values: np.ndarray, kind: str, each: Measured) -> None:
    """Draw the thirds of a data set's objects as a bar with its edges written on it."""
    if each.ranges is None:
        return
    edges = np.quantile(values, [1 / 3, 2 / 3]).tolist()
    if kind == "pixels":
        edges = [high**0.5 for _, high in list(each.ranges.values())[:2]]
    stops = [float(values.min()), *edges, float(values.max())]
    for name, tint, (start, stop) in zip(RANGE_NAMES, _TINTS, pairwise(stops), strict=True):
        axes.barh(row, stop - start, left=start, height=0.42, color=model_colour(row), alpha=tint, linewidth=0)
        if stop > NAMED * start:
            axes.text((start * stop) ** 0.5, row, name, ha="center", va="center", fontsize=8)
    for edge, side in zip(edges, ("right", "left"), strict=True):
        axes.text(edge, row - 0.27, _tick(edge, kind), ha=side, va="bottom", fontsize=8.5, color=_INK)


def _dress(column: Any, values: Sequence[np.ndarray], kind: str, label: str) -> None:
    top, below = column
    edges = bin_edges(values)
    for axes in column:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(_TICKS[kind]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, kind)))
        axes.set_xlim(edges[0], edges[-1])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_FAINT)
        axes.tick_params(length=0, pad=5)
        axes.grid(axis="x", color=_INK, alpha=0.07, linewidth=0.8)
        axes.set_axisbelow(True)
    top.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.8)
    top.yaxis.set_major_locator(MaxNLocator(5))
    top.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    top.set_ylim(0, max(np.histogram(each, edges)[0].max() * 100 / len(each) for each in values) * 1.14)
    top.tick_params(labelbottom=True)
    below.set_ylim(len(values) - 0.45, -0.75)
    below.set_yticks([])
    below.spines["bottom"].set_visible(False)
    below.tick_params(labelbottom=False)
    top.set_xlabel(label)


def _mark_coco(axes: Axes) -> None:
    low, high = axes.get_xlim()
    for edge in COCO_EDGES:
        if low < edge < high:
            axes.axvline(edge, color=_FAINT, linewidth=1, linestyle=":")
            text = axes.text(edge, 1.0, f" COCO's {edge}", transform=axes.get_xaxis_transform(), va="top")
            text.set(fontsize=8, color=_FAINT)


def _legend(figure: Figure, measured: Sequence[Measured]) -> None:
    handles = [matplotlib.patches.Patch(color=model_colour(i), alpha=0.7) for i in range(len(measured))]
    figure.legend(handles, [caption(each) for each in measured], loc="outside upper left", frameon=False, ncols=1)


def caption(each: Measured) -> str:
    """Return a data set's line in the legend."""
    sizes = each.sizes
    drawn = f"{sizes.images:,} images"
    if sizes.images < sizes.of_images:
        drawn = f"{sizes.images:,} of {sizes.of_images:,} images"
    median = f"median {np.median(sizes.pixels):.0f} px ({np.median(sizes.relative):.0%} of the image's side)"
    return f"{each.name}: {len(sizes.pixels):,} objects on {drawn}; {median}"


def _tick(value: float, kind: str) -> str:
    return f"{value:.0f}" if kind == "pixels" else f"{100 * value:.1f}".removesuffix(".0") + "%"
