"""The report's section on the search."""

from typing import Any

import pytest

from fineseg.report.page import SECTIONS
from fineseg.report.records import ReportData
from fineseg.report.search import search

SETTING = {"weights": {"m1": 1.0, "<m2>": 0.7071}, "options": {"nms_iou": 0.6}, "thresholds": 0.0}
OTHER = {"weights": {"m1": 1.0, "<m2>": 0.5}, "options": {"most": 50}, "thresholds": {"chair": 0.1, "sofa": 0.0}}
FOUND: dict[str, Any] = {"metric": "AP", "unsearched": 31.384, "searched": 33.2, "nested": 32.0, "standard_error": 0.31}
FOUND |= {"used": True, "setting": SETTING, "folds": [SETTING, OTHER]}


def section(found: dict[str, Any] | None) -> str | None:
    metrics = {"models": {}} if found is None else {"models": {}, "search": found}
    return search(ReportData("t", "p.toml", {}, metrics))


def test_the_section() -> None:
    text = section(FOUND) or ""
    assert text.lstrip().startswith("<h2>Search</h2>") and "<m2>" not in text
    for words in ("31.38", "32.00", "+0.62", "0.31", "33.20", "0.7071", "chair 0.1", "without part 2", "as set"):
        assert words in text
    assert "not used" not in text
    assert search in SECTIONS


def test_says_that_it_is_not_used() -> None:
    text = section({**FOUND, "used": False}) or ""
    assert "The search is not used" in text
    assert "33.20" not in text


@pytest.mark.parametrize("found", [None])
def test_nothing_searched(found: None) -> None:
    assert section(found) is None
