"""The section of a report on panoptic maps: their quality by model and class, and maps beside the true ones.

Letters: H and W height and width of a map, h and w of its picture, C classes, things first.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fineseg.data.panoptic import PanopticMap, places_of
from fineseg.data.split import Category
from fineseg.report.colours import class_colours
from fineseg.report.overlays import THUMB, load_photo
from fineseg.report.records import MapExample, ReportData
from fineseg.report.sections import (
    COMBINED,
    PANOPTIC,
    SEMANTIC,
    Cell,
    bar_table,
    best_model,
    cell_rows,
    is_combined,
    number,
    percent,
    pq,
    time_tile,
)
from fineseg.report.templates import render_section

FIGURES = ("pq", "sq", "rq")
GROUPS = ("All", "Things", "Stuff")
COLUMNS = [*((group, figure.upper()) for group in GROUPS for figure in FIGURES), ("Pixels", "mIoU")]
VOID_COLOUR = (40, 40, 40)


@dataclass(frozen=True)
class Picture:
    """One picture of an example: its title and words, and the picture itself as a data URI."""

    title: str
    alt: str
    source: str


def panoptic(data: ReportData) -> str | None:
    """Return the section, or None for a run without panoptic maps."""
    if not data.class_pq:
        return None
    tables = _tables(data)
    models = [name for name in tables if name in data.class_pq]
    colours = class_colours(data.panoptic_classes)
    rows = {
        (category.name, colour): [number(data.class_pq[model][label]) for model in models]
        for label, (category, colour) in enumerate(zip(data.panoptic_classes, colours, strict=True))
    }
    return render_section(
        "panoptic",
        "panoptic.html.jinja",
        tiles=_tiles(data),
        columns=COLUMNS,
        rows=_rows(tables),
        verdict=_verdict(data),
        alone=data.metrics.get("fused alone", ()),
        bars=bar_table("By class", "PQ of each class", rows, models),
        choice=_choice(data, colours),
        examples=[
            (example.image.file.name, _pictures(example, colours), _legend(example, data.panoptic_classes))
            for example in data.map_examples
        ],
    )


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    best = best_model(data.metrics)
    if best is None:
        return []
    table, whose = data.metrics["models"][best], best
    tiles = [(percent(pq(table)), "PQ of the best model", best)]
    if is_combined(data):
        table, whose = data.metrics[COMBINED], COMBINED
        tiles.insert(0, (percent(pq(table)), "PQ combined", f"{len(data.metrics['models'])} models"))
    tiles += [(percent(pq(table, group)), f"PQ of {group.lower()}", whose) for group in GROUPS[1:]]
    return [*tiles, time_tile(data)] if data.manifest.get("seconds") else tiles


def _tables(data: ReportData) -> dict[str, Mapping[str, Any]]:
    """Return the scores of all models that have some of these kinds, and of their combination."""
    combined = {COMBINED: data.metrics[COMBINED]} if is_combined(data) else {}
    every = {**data.metrics["models"], **combined}
    return {name: table for name, table in every.items() if {PANOPTIC, SEMANTIC} & table.keys()}


def _verdict(data: ReportData) -> str | None:
    """Return the sentence that sets the combination against the best single model."""
    best = best_model(data.metrics)
    if best is None or not is_combined(data):
        return None
    alone, together = pq(data.metrics["models"][best]), pq(data.metrics[COMBINED])
    if alone is None or together is None:
        return None
    gain = round(together, 1) - round(alone, 1)
    where = f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'}" if abs(gain) >= 0.05 else "the same as"
    return f"Combined, the models reach {together:.1f} PQ: {where} the best single model, {best}, with {alone:.1f}."


def _rows(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Cell]]:
    """Return the figures of each model; the best of each column stands out where there are several."""
    figures = {}
    for model, table in tables.items():
        figures[model] = [pq(table, group, figure) for group in GROUPS for figure in FIGURES]
        figures[model].append(number(table.get(SEMANTIC, {}).get("mIoU")))
    return cell_rows(figures, [figure for _, figure in COLUMNS])


@dataclass(frozen=True)
class Choice:
    """From which model each class of things is taken: rows of (name, colour, true objects, AP of each model, whose)."""

    models: list[str]
    default: str
    rows: list[tuple[str, str, int | None, list[Cell], str]]


def _choice(data: ReportData, colours: Sequence[str]) -> Choice | None:
    """Return the fuser's choice; None of one that makes none, or of a model alone."""
    if data.class_table is None or len(data.class_table["ap"]) < 2:
        return None
    classes = data.class_table["classes"]
    rows = []
    for row, colour in zip(classes, colours[: len(classes)], strict=True):  # things are first
        cells = [Cell(number(ap), model == row["from"]) for model, ap in row["ap"].items()]
        rows.append((row["name"], colour, row.get("objects"), cells, row["from"]))
    return Choice(list(data.class_table["ap"]), data.class_table["default"], rows)


# -------------------------------------------------------------------- pictures


def _pictures(example: MapExample, colours: Sequence[str]) -> list[Picture]:
    name = example.image.file.name
    found = {"Truth": example.truth, **example.models}
    pictures = [Picture("Photo", name, load_photo(example.image).thumb)]
    for title, each in found.items():
        count = f"{len(each.segments)} segment{'' if len(each.segments) == 1 else 's'}"
        pictures.append(Picture(title, f"{title}, {name}: {count}", _png(draw_map(each, colours, THUMB))))
    return pictures


def _legend(example: MapExample, classes: Sequence[Category]) -> list[tuple[str, str]]:
    """Return name and colour of the classes in the maps of an example."""
    shown = {each.label for found in (example.truth, *example.models.values()) for each in found.segments}
    colours = class_colours(classes)
    return [(classes[label].name, colours[label]) for label in sorted(shown) if label >= 0]


def draw_map(found: PanopticMap, colours: Sequence[str], longest: int) -> np.ndarray:
    """Draw a map [H, W] in the colours of its classes, segments parted by dark lines: uint8 RGB [h, w, 3].

    The picture's longer side is at most `longest`. Void, and what is of no class, is nearly black.
    """
    height, width = found.ids.shape
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ids = cv2.resize(found.ids, size, interpolation=cv2.INTER_NEAREST_EXACT)
    rgb = [tuple(bytes.fromhex(colours[each.label][1:])) if each.label >= 0 else VOID_COLOUR for each in found.segments]
    table = np.array([*rgb, VOID_COLOUR, VOID_COLOUR], dtype=np.uint8)
    picture = table[places_of(ids.ravel(), found.segments)].reshape(*ids.shape, 3)
    edge = np.zeros(ids.shape, dtype=bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    picture[edge] //= 3
    return np.asarray(picture)


def _png(picture: np.ndarray) -> str:
    _, data = cv2.imencode(".png", picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
