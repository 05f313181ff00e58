"""Findings: ranked by harm, many of a kind in one line."""

import random

from fineseg.data.findings import KINDS, Finding, ranked, told


def test_errors_stand_before_warnings_and_near_twins_lead_the_warnings() -> None:
    severities = [kind.severity for kind in KINDS.values()]
    assert severities == sorted(severities) and set(severities) == {"error", "warning"}
    assert next(name for name, kind in KINDS.items() if kind.severity == "warning") == "alike-in-two-splits"


def test_ranked_by_harm_and_stable_within_a_kind() -> None:
    made = [Finding(kind, "here", str(number)) for kind in KINDS for number in range(3)]
    mixed = list(made)
    random.Random(0).shuffle(mixed)
    mixed.sort(key=lambda finding: finding.what)
    assert ranked(mixed) == made
    assert ranked([]) == []


def test_many_of_a_kind_are_one_line() -> None:
    few = [Finding("mask-tiny", f"train: object {n}", "has 1 pixel") for n in range(3)]
    assert told(few, "warning") == [f"train: object {n}: has 1 pixel" for n in range(3)]
    wall = [Finding("mask-tiny", f"train: object {n}", "has 1 pixel") for n in range(10_000)]
    twin = Finding("alike-in-two-splits", "val: image 1", "looks the same as train: image 2")
    fatal = Finding("mask-empty", "val: object 3", "its mask is empty")
    assert told([*wall, fatal, twin], "warning") == [
        "val: image 1: looks the same as train: image 2",
        "10,000 masks have hardly a pixel: train: object 0: has 1 pixel; train: object 1: has 1 pixel; "
        "train: object 2: has 1 pixel; and 9,997 more",
    ]
    assert told([*wall, fatal], "error") == ["val: object 3: its mask is empty"]


def test_as_json() -> None:
    assert Finding("mask-empty", "val: object 3", "its mask is empty").plain() == {
        "severity": "error",
        "kind": "mask-empty",
        "where": "val: object 3",
        "what": "its mask is empty",
    }
