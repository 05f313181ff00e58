"""Every part of the project's own plugins keeps to what `fineseg.testing` promises of its kind."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from small_models import MASK_RCNN, POINTREND

from fineseg.catalog import Entry, load_catalog
from fineseg.testing import CONFORMANCE
from fineseg.testing.kit import checks_of
from fineseg_datasets.options import SPLIT
from fineseg_datasets.showroom import write_panoptic_split, write_split
from fineseg_datasets.threedfuture_fixture import write_fixture

ROOT = Path(__file__).parents[2]
OWN = {
    tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"]
    for file in sorted(ROOT.glob("plugins/*/pyproject.toml"))
}
ENTRIES = [entry for entry in load_catalog(warn=pytest.fail).entries if entry.distribution in OWN]
FEW_ROOMS = {"train": 3, "val": 1, "test": 1, "size": 64}
FEW_PROPOSALS = {"train_proposals": 100, "test_proposals": 50, "samples": 32}


def rooms(self: Any, folder: Path) -> Path:
    write_split(folder, "train", 3, (64, 64), seed=0)
    return folder


def panoptic_rooms(self: Any, folder: Path) -> Path:
    write_panoptic_split(folder, "train", 3, (64, 64), seed=0)
    return folder


def furniture(self: Any, folder: Path) -> Path:
    write_fixture(folder, {"train": 3, "val": 1, "test": 1})
    return folder


SETTINGS: dict[str, dict[str, Any]] = {
    "resnet": {"options": {"depth": 18, "base_channels": 8}},
    "res2net": {"options": {"depth": 50, "base_width": 4}},
    "resnext": {"options": {"depth": 50, "groups": 4, "base_width": 4, "base_channels": 16}},
    "senet": {"options": {"base_channels": 16, "groups": 4}},
    "hrnet": {"options": {"width": 8, "modules": [1, 1, 1], "blocks": 1}},
    "nas-fpn": {"options": {"channels": 16, "stacks": 2}},
    "hrnet-concat": {"channels": (256, 8, 16, 32, 64), "strides": (4, 4, 8, 16, 32)},
    "mask-rcnn": {"options": MASK_RCNN},
    "pointrend": {"options": POINTREND},
    "htc": {"options": {"rpn": FEW_PROPOSALS, "box": {"width": 32, "samples": 16}, "mask_roi": 8, "mask_convs": 1}},
    "lwl-htc": {"options": {"rpn": FEW_PROPOSALS, "box": {"width": 32, "samples": 16}}},
    "e-ups": {
        "options": {
            "rpn": FEW_PROPOSALS,
            "box": {"width": 32, "samples": 16},
            "mask_convs": 1,
            "semantic": {"width": 16},
            "panoptic": {"stuff_area": 0},
        }
    },
    "solov2": {
        "options": {"convs": 1, "width": 32, "mask_width": 32, "mask_channels": 16, "grids": [12, 10, 8, 6, 4]},
    },
    "hrnet-deeplab": {
        "options": {"width": 16, "detail": 8},
        "backbone": {"name": "hrnet", "width": 8, "modules": [1, 1, 1], "blocks": 1},
        "neck": {"name": "hrnet-concat"},
    },
    "showroom": {"options": FEW_ROOMS},
    "showroom-panoptic": {"options": FEW_ROOMS},
    "coco-instance": {
        "options": {"annotations": f"annotations/{SPLIT}.json", "images": "images"},
        "write_sample": rooms,
    },
    "coco-panoptic/dataset": {"options": {"images": "images"}, "write_sample": panoptic_rooms},
    "3dfuture/dataset": {"write_sample": furniture},
}
"""What a part is checked with: small numbers where its own would take long, data where it draws none."""


def settings_of(entry: Entry) -> dict[str, Any]:
    return SETTINGS.get(f"{entry.part.name}/{entry.part.kind}", SETTINGS.get(entry.part.name, {}))


CASES = [
    pytest.param(entry, check, id=f"{entry.part.kind} {entry.part.name} {check.removeprefix('test_')}")
    for entry in ENTRIES
    for check in checks_of(CONFORMANCE[entry.part.kind])
]


def test_every_kind_has_its_class_and_parts() -> None:
    assert {entry.part.kind for entry in ENTRIES} == CONFORMANCE.keys()
    assert len(CASES) > 200
    named = {key.partition("/")[0] for key in SETTINGS}
    assert named <= {entry.part.name for entry in ENTRIES}


@pytest.mark.parametrize(("entry", "check"), CASES)
def test_own_part(entry: Entry, check: str) -> None:
    base = CONFORMANCE[entry.part.kind]
    kit = type(base.__name__, (base,), {"part": entry.part.name, **settings_of(entry)})
    getattr(kit(), check)()
