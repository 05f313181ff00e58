"""The report: one HTML page that needs no server and nothing from the net, made of sections."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fineseg.report.analysis import errors, object_sizes, precision_recall
from fineseg.report.cost import cost
from fineseg.report.folds import folds
from fineseg.report.gallery import gallery
from fineseg.report.panoptic import panoptic
from fineseg.report.records import Example, ReportData, Section
from fineseg.report.search import search
from fineseg.report.sections import scores, training_curves, what_ran
from fineseg.report.templates import render_page
from fineseg.report.words import words
from fineseg.store import write_text

__all__ = ["SECTIONS", "Example", "ReportData", "Section", "write_report"]

SECTIONS: tuple[Section, ...] = (
    panoptic,
    scores,
    folds,
    search,
    errors,
    precision_recall,
    object_sizes,
    gallery,
    training_curves,
    cost,
    what_ran,
    words,
)
"""What a report shows, in this order: a section is added by its line here."""

_HEADING = re.compile(r"\s*<h2[^>]*>(.*?)</h2>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class _Placed:
    """A section on the page: the anchor and title that the navigation links, empty without a heading."""

    anchor: str
    title: str
    body: Markup


def write_report(path: Path, data: ReportData, sections: Sequence[Section] = SECTIONS) -> Path:
    """Write the page whole; return `path`. Raises `FinesegError` where an example's image cannot be read."""
    fragments = [fragment for section in sections if (fragment := section(data)) is not None]
    placed = [_place(number, fragment) for number, fragment in enumerate(fragments, start=1)]
    write_text(path, render_page(data=data, sections=placed))
    return path


def _place(number: int, fragment: str) -> _Placed:
    heading = _HEADING.match(fragment)
    title = html.unescape(_TAG.sub("", heading[1])).strip() if heading else ""
    return _Placed(f"section-{number}", title, Markup(fragment))
