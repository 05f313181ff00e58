"""What the report says of models with ends."""

import re
from typing import Any

from fineseg.report.records import ReportData
from fineseg.report.sections import what_ran

PARTS = {"backbone": {"name": "resnet"}, "neck": {"name": "fpn"}}
ENDS = {"maps": {"name": "e-ups"}, "boxes": {"name": "<htc>"}}


def words(models: dict[str, Any], chosen: list[str] | None = None) -> str:
    profile = {"competition": {"models": chosen}, "models": models}
    text = what_ran(ReportData("t", "p.toml", {"profile": profile}, {"models": {}})) or ""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_what_ends_share_and_what_they_do_not() -> None:
    both = {**PARTS, "ends": ENDS, "ends_training": "frozen-first", "head": None}
    text = words({"m": both, "n": {**both, "ends_training": None}, "plain": {**PARTS, "head": {"name": "e-ups"}}})
    shared = "share backbone resnet and neck fpn, {} training; all else is each end"
    assert f"Ends of m m/maps (e-ups) and m/boxes (&lt;htc&gt;) {shared.format('frozen-first')}" in text
    assert shared.format("joint") in text and text.count("Ends of") == 2


def test_models_of_one_head_are_not_mentioned() -> None:
    assert "Ends of" not in words({"m": {**PARTS, "head": {"name": "e-ups"}, "ends": {}}}) + words({})


def test_models_that_did_not_run_are_not_mentioned() -> None:
    both = {**PARTS, "ends": ENDS}
    text = words({"m": both, "n": both}, ["n"])
    assert "Ends of n" in text and "Ends of m" not in text
