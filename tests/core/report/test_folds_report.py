"""The report's section on folds."""

import re
from typing import Any

from fineseg.report.folds import folds
from fineseg.report.records import ReportData


def data(models: dict[str, Any], record: dict[str, Any] | None) -> ReportData:
    return ReportData("t", "p.toml", {"folds": record}, {"models": models})


def test_the_table() -> None:
    record = {"file": "f", "folds": 3, "seed": 7, "images": [1200, 1200, 1]}
    models = {
        "<m1>": {"segm": {"AP": 50.0}, "folds": [{"AP": 40.0}, {"AP": 44.0}, {"AP": 48.0}]},
        "m2": {"segm": {"AP": 50.0}, "folds": [{"AP": None}, {"AP": 44.0}, {"AP": None}]},
        "given": {"segm": {"AP": 50.0}},
    }
    text = folds(data(models, record)) or ""
    assert text.lstrip().startswith("<h2>Folds</h2>") and "<m1>" not in text
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    heads = [re.sub(r"<small>(.*?)</small>", r" \1", head) for head in rows[0]]
    assert heads == [
        "Model", "Fold 0 1,200 images", "Fold 1 1,200 images", "Fold 2 1 image", "Mean", "Spread standard deviation"
    ]  # fmt: skip
    assert rows[1:] == [
        ["&lt;m1&gt;", "40.0", "44.0", "48.0", "44.0", "4.0"],
        ["m2", "-", "44.0", "-", "44.0", "-"],
    ]
    assert "drawn with seed 7" in text
    assert "as a file says" in (folds(data(models, {**record, "seed": None})) or "")


def test_without_folds_there_is_no_section() -> None:
    assert folds(data({"m": {"segm": {"AP": 1.0}}}, None)) is None
    assert folds(ReportData("t", "p", {})) is None
