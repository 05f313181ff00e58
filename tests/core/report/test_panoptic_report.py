"""The report's section on panoptic maps: figures in their places, and pictures in the classes' own colours."""

import base64
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fineseg import Category, ImageInfo, PanopticMap, Segment
from fineseg.report.colours import class_colour, class_colours
from fineseg.report.page import write_report
from fineseg.report.panoptic import draw_map, panoptic
from fineseg.report.records import MapExample, ReportData
from fineseg.report.sections import best_model, scores
from fineseg.report.words import words

CLASSES = (
    Category(62, "<chair>", "", (153, 69, 1)),
    Category(63, "couch"),
    Category(199, "wall", "", (102, 102, 156)),
)

NONE = "\N{EN DASH}"


def quality(pq: float | None) -> dict[str, Any]:
    return {"pq": pq, "sq": 80.0, "rq": 50.0, "n": 2}


def model(pq: float | None, ap: float, **more: Any) -> dict[str, Any]:
    groups = {"All": quality(pq), "Things": quality(None), "Stuff": quality(12.5)}
    return {"panoptic": groups, "segm": {"AP": ap, "AP50": ap, "AP75": ap}, **more}


def data(folder: Path) -> ReportData:
    file = folder / "room.jpg"
    cv2.imwrite(str(file), np.full((40, 60, 3), 128, np.uint8))
    ids = np.zeros((40, 60), np.int32)
    ids[:, 30:], ids[:, 50:] = 5, 9
    truth = PanopticMap(1, ids, (Segment(5, 2), Segment(9, 0)))
    example = MapExample(ImageInfo(1, file, 60, 40), truth, {"a": truth, "b": PanopticMap(1, ids * 0, ())})
    models = {"a": model(30.0, 9.0), "b": model(40.04, 2.0, semantic={"mIoU": 33.3})}
    return ReportData(
        title="t",
        profile="p.toml",
        manifest={"seconds": {"train": 5.0}},
        metrics={"models": models, "combined": models["b"]},
        categories=CLASSES[:2],
        panoptic_classes=CLASSES,
        class_pq={"a": (1.0, 2.0, 3.0), "b": (4.0, math.nan, 6.0), "combined": (4.0, math.nan, 6.0)},
        map_examples=[example],
    )


def test_the_section(tmp_path: Path) -> None:
    text = panoptic(data(tmp_path)) or ""
    assert "<chair>" not in text and "&lt;chair&gt;" in text
    rows = re.findall(r'<tr><th scope="row">([ab])</th>(.*?)</tr>', text)
    cells = {name: re.findall(r"<td[^>]*>(.*?)</td>", row) for name, row in rows}
    assert [re.sub("<.*?>", "", cell) for cell in cells["b"]] == [
        "40.0", "80.0", "50.0", NONE, "80.0", "50.0", "12.5", "80.0", "50.0", "33.3"
    ]  # fmt: skip
    assert re.sub("<.*?>", "", cells["a"][-1]) == NONE
    assert '<span class="figure">40.0</span><span class="what">PQ of the best model</span>' in text
    assert text.count("data:image/png;base64,") == 3 and text.count("data:image/jpeg;base64,") == 1
    assert "Truth, room.jpg: 2 segments" in text and "b, room.jpg: 0 segments" in text


def test_the_best_model_is_that_of_the_best_pq(tmp_path: Path) -> None:
    given = data(tmp_path)
    assert best_model(given.metrics) == "b"
    said = scores(given) or ""
    assert "Mask AP" in said and "AP of the best single model" not in said and "33.3" not in said


def test_pictures_have_the_colours_of_the_classes() -> None:
    colours = class_colours(CLASSES)
    assert colours == ["#994501", class_colour(1), "#66669c"]
    ids = np.zeros((40, 60), np.int32)
    ids[:, 30:], ids[:, 50:], ids[:10, :9] = 5, 9, 7
    found = PanopticMap(1, ids, (Segment(5, 2), Segment(9, 0)))  # 7 is not listed
    picture = draw_map(found, colours, 480)
    assert picture.shape == (40, 60, 3)
    assert picture[20, 40].tolist() == [102, 102, 156] and picture[20, 55].tolist() == [153, 69, 1]
    assert picture[20, 3].tolist() == picture[3, 3].tolist() == [40, 40, 40]
    assert picture[20, 50].tolist() == [51, 23, 0] and picture[20, 30].tolist() == [34, 34, 52]
    assert draw_map(found, colours, 30).shape == (20, 30, 3)


def test_a_page_holds_the_pictures(tmp_path: Path) -> None:
    given = data(tmp_path)
    page = write_report(tmp_path / "report.html", given).read_text(encoding="utf-8")
    assert page.index("Panoptic quality</h2>") < page.index("Things</h2>")
    sources = re.findall(r"data:image/png;base64,([^\"]+)", page)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(sources[0]), np.uint8), cv2.IMREAD_COLOR)
    wanted = draw_map(given.map_examples[0].truth, class_colours(CLASSES), 480)
    assert np.array_equal(decoded[:, :, ::-1], wanted)


def test_a_class_has_one_colour_on_the_page_that_can_be_seen(tmp_path: Path) -> None:
    text = panoptic(data(tmp_path)) or ""
    assert "#994501" in text and "#994501" in (scores(replace(data(tmp_path), per_class={"a": (1.0, 2.0)})) or "")
    dark = class_colours([Category(1, "car", "", (0, 0, 70)), Category(2, "void", "", (0, 0, 0))])
    assert [int(each[5:], 16) > 100 for each in dark] == [True, False] and dark[1][1:3] == dark[1][3:5] != "00"


CHOICE = {
    "default": "b",
    "ap": {"a": 9.0, "b": 2.0},
    "classes": [
        {"id": 62, "name": "<chair>", "from": "a", "objects": 1151, "ap": {"a": 9.0, "b": 2.0}},
        {"id": 63, "name": "couch", "from": "b", "ap": {"a": None, "b": None}},
    ],
}


def test_which_model_a_class_comes_from(tmp_path: Path) -> None:
    assert "comes from" not in (panoptic(data(tmp_path)) or "")
    text = panoptic(replace(data(tmp_path), class_table=CHOICE)) or ""
    table = text[text.index("Which model each class of things comes from</h3>") :]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", table[: table.index("</table>")])
    said = [
        [re.sub("<.*?>", "", cell) for cell in (name, *re.findall(r"<td[^>]*>(.*?)</td>", row))] for name, row in rows
    ]
    assert said == [["&lt;chair&gt;", "1,151", "9.0", "2.0", "a"], ["couch", NONE, NONE, NONE, "b"]]
    assert '<td class="best">9.0</td>' in rows[0][1] and "keeps to b where the AP does not decide" in text
    one = {**CHOICE, "ap": {"a": 9.0}}
    assert "comes from" not in (panoptic(replace(data(tmp_path), class_table=one)) or "")


def test_what_a_reader_of_panoptic_pages_is_told(tmp_path: Path) -> None:
    assert "PQ" in (words(data(tmp_path)) or "") and "PQ" not in (words(replace(data(tmp_path), class_pq={})) or "PQ")
    assert "Things</h2>" in (scores(data(tmp_path)) or "")
    markup = panoptic(data(tmp_path)) or ""
    assert len(re.findall(r'<small class="group">(All|Things|Stuff|Pixels)</small>', markup)) == 10  # also on phones


def test_other_runs_have_no_such_section() -> None:
    assert panoptic(ReportData("t", "p", {}, {"models": {"m": {"segm": {"AP": 1.0}}}})) is None


def test_a_fused_combination_of_models_without_maps(tmp_path: Path) -> None:
    """One model's maps are the fuser's, another scores pixels alone; what is fused has no instances to rank."""
    plain = data(tmp_path)
    models = {"a": model(30.0, 9.0), "pixels": {"semantic": {"mIoU": 61.5}}, "objects": {"segm": {"AP": 70.0}}}
    told = replace(
        plain,
        manifest={**plain.manifest, "profile": {"combine": {"fuser": {"name": "rule"}}}},
        metrics={"models": models, "combined": {"panoptic": model(42.5, 0.0)["panoptic"]}, "fused alone": ["a"]},
        class_pq={"a": (1.0, 2.0, 3.0), "combined": (4.0, math.nan, 6.0)},
    )
    text = panoptic(told) or ""
    rows = dict(re.findall(r'<tr[^>]*><th scope="row">(a|pixels|objects|combined)</th>(.*?)</tr>', text))
    assert list(rows) == ["a", "pixels", "combined"]
    cells = {name: re.findall(r"<td[^>]*>(.*?)</td>", row) for name, row in rows.items()}
    assert [re.sub("<.*?>", "", cell) for cell in cells["pixels"]] == [NONE] * 9 + ["61.5"]
    assert "Combined, the models reach 42.5 PQ: 12.5 points above the best single model, a, with 30.0." in text
    assert "PQ combined" in text and "a: no maps of its own;" in text
    assert best_model(told.metrics) == "a"  # by PQ, not by the AP of a model without maps
    table = scores(told) or ""
    assert "combined" not in table and "pixels" not in table and "objects" in table and "points above" not in table
    assert write_report(tmp_path / "report.html", told).stat().st_size > 1000
