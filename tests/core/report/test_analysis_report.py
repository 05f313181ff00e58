"""The sections that are read from the matching: their figures, their charts, their words."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
from report_cases import analysis

from fineseg import Category
from fineseg.report.analysis import KINDS, chief, errors, object_sizes, precision_recall
from fineseg.report.charts import HEIGHT, WIDTH, count_bars, percent_lines
from fineseg.report.colours import Stroke, model_stroke, strokes_of
from fineseg.report.records import ReportData

DASH = "\N{EN DASH}"
HOSTILE = "<b onclick='x'>bed</b>"


@pytest.fixture
def data() -> ReportData:
    return ReportData(
        title="Rooms",
        profile="rooms.toml",
        manifest={
            "profile": {"combine": {}, "metric": {"area_ranges": {"small": [0, 144], "large": [144, 1e10]}}},
        },
        metrics={"models": {"one": {"segm": {"AP": 40.0}}, "two": {"segm": {"AP": 50.0}}}, "combined": {}},
        categories=(Category(1, HOSTILE), Category(2, "lamp")),
        analyses={"combined": analysis(60.0), "two": analysis(50.0, worst="background"), "one": analysis(40.0)},
    )


def table(markup: str) -> list[list[str]]:
    """Return the cells of a fragment's first table as text."""
    body = markup[markup.index("<table") : markup.index("</table>")]
    rows = re.findall(r"<tr>.*?</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub("<[^>]*>", " ", cell).replace(DASH, "-").split()) for cell in row] for row in cells]


def alone(data: ReportData) -> ReportData:
    return replace(data, manifest={"profile": {"combine": None}})


# ------------------------------------------------------------ where AP is lost


def test_errors_stand_in_the_order_of_models_and_kinds(data: ReportData) -> None:
    markup = errors(data) or ""
    rows = table(markup)
    assert rows[0] == ["Error", "one", "two", "combined"]
    assert [row[0].split()[0] for row in rows[1:-1]] == list(KINDS)
    assert rows[5][1:] == ["+1.0 1,234", "+9.2 1,234", "+1.0 1,234"]
    assert rows[-1] == ["AP50 as it is", "40.0", "50.0", "60.0"]
    assert "combined loses most to the error “missed”: without it its AP50 of 60.0 would be 69.2." in markup
    assert "--share:100.0%" in markup and "--share:10.8%" in markup


def test_confusions_name_the_classes_and_are_escaped(data: ReportData) -> None:
    markup = errors(data) or ""
    assert "<b onclick" not in markup and "&lt;b onclick" in markup
    assert '<td class="word">lamp</td><td>7</td>' in markup


def test_without_a_combination_the_best_model_is_spoken_of(data: ReportData) -> None:
    assert chief(data) == "combined" and chief(alone(data)) == "two"
    assert "two loses most to the error “background”" in (errors(alone(data)) or "")
    assert "combined" not in (errors(alone(data)) or "")


def test_what_was_not_analysed_has_no_section(data: ReportData) -> None:
    bare = replace(data, analyses={})
    assert errors(bare) is None and precision_recall(bare) is None and object_sizes(bare) is None


def test_a_split_without_truth_has_dashes(data: ReportData) -> None:
    nothing: dict[str, Any] = {key: [None] * 101 for key in ("50", "75", "mean")}
    empty = replace(
        analysis(0.0), ap50=None, gains=dict.fromkeys(KINDS), mean_precision=nothing, confusions=(), objects=[]
    )
    bare = replace(data, analyses={"one": empty})
    assert table(errors(bare) or "")[-1] == ["AP50 as it is", "-"]
    assert precision_recall(bare) is None and object_sizes(bare) is None


# ------------------------------------------------------ precision over recall


def test_classes_with_truth_have_a_chart_by_falling_ap(data: ReportData) -> None:
    many = {
        name: replace(analysis(50.0), precision={"mean": [[float(label)] * 101 for label in range(12)]})
        for name in ("one", "two")
    }
    categories = tuple(Category(label, f"class {label}") for label in range(12))
    markup = precision_recall(replace(alone(data), analyses=many, categories=categories)) or ""
    titles = [re.sub("<[^>]*>", "", title) for title in re.findall(r"<figcaption>(.*?)</figcaption>", markup)]
    order = [11, 10, 9, 8, 3, 2, 1, 0, 7, 6, 5, 4]
    assert titles == ["IoU .50", "IoU .75", "Mean over IoU .50:.95", *(f"class {label} {label}.0" for label in order)]
    assert "The 4 classes between them" in markup
    assert "lamp" not in (precision_recall(data) or "")  # it has no truth


def test_charts_say_the_area_below_their_lines(data: ReportData) -> None:
    markup = precision_recall(data) or ""
    assert 'aria-label="IoU .50: precision over recall; area below: one 50.0, two 50.0, combined 50.0"' in markup
    assert "&lt;b onclick" in markup and "<b onclick" not in markup


# ------------------------------------------------------------ sizes of objects


def test_sizes_show_objects_and_recall(data: ReportData) -> None:
    markup = object_sizes(data) or ""
    assert table(markup) == [
        ["Side length", "Objects", "one", "two", "combined"],
        ["8 to 11", "3", "33.3", "33.3", "33.3"],
        ["11 to 16", "0", "-", "-", "-"],
        ["16 to 23", "40", "90.0", "90.0", "90.0"],
    ]
    assert "small from 0 to 12, large from 12." in markup
    assert 'aria-label="True objects by size: 8 to 11 3; 11 to 16 0; 16 to 23 40"' in markup


# --------------------------------------------------------------------- charts


def points(chart: str) -> list[list[tuple[float, float]]]:
    """Return the corners of a chart's lines."""
    paths = [path.get("d") or "" for path in ElementTree.fromstring(chart).iter("path")]
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)] for path in paths]


def test_lines_run_from_edge_to_edge_and_break_where_nothing_is() -> None:
    chart = percent_lines([([100.0, 50.0, None, 0.0], Stroke("#123456"))], [(0.0, "0")], ("x", "y"), "words")
    ((first, second, last),) = points(chart)
    assert first[0] < second[0] < last[0] <= WIDTH and first[1] < second[1] < last[1] <= HEIGHT
    assert second[1] - first[1] == pytest.approx(last[1] - second[1], abs=0.2)
    assert second[0] - first[0] == pytest.approx((last[0] - first[0]) / 3, abs=0.2)
    assert chart.count("M") == 2 and "h.1" in chart  # the last point stands alone


def test_flat_stretches_keep_their_ends_alone() -> None:
    ((*corners,),) = points(percent_lines([([80.0] * 60 + [0.0] * 41, Stroke("#123456"))], [], ("x", "y"), "words"))
    assert len(corners) == 4


def test_bars_are_as_high_as_their_counts() -> None:
    chart = ElementTree.fromstring(count_bars([10, 0, 20], [], ("x", "y"), "words"))
    heights = [float(bar.get("height") or 0) for bar in chart.iter("rect")]
    assert heights == pytest.approx([heights[1] / 2, heights[1]], abs=0.1)
    assert [text.text for text in chart.iter("text")][:3] == ["0", "10", "20"]


def test_models_differ_in_more_than_colour() -> None:
    strokes = [model_stroke(position) for position in range(6)]
    assert len({stroke.colour for stroke in strokes}) == len({stroke.dashes for stroke in strokes}) == 6
    assert strokes_of(["one", "both"], "both")["both"].colour == "currentColor"
