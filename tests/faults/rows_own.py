"""Faults of a first profile for somebody's own data, `new`, and of runs side by side, `board` and `diff`."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.place import Make, Row, both, cut, edited, folder_at, gone, holds, nothing
from panoptic_cases import categories, change, write_maps

from fineseg import PanopticMap, Segment
from fineseg.proposal.measure import Machine

TRAIN = "data/annotations/instances_train.json"
NEW = f"new n.toml --coco {TRAIN} --images data/train"
MAPS = "new n.toml --coco m.json --images data/train"
STORE = (".fineseg*",)


def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a laptop without a network: neither is what these rows are about."""
    no_machine(monkeypatch)
    monkeypatch.setattr("fineseg.proposal.surroundings.answers", lambda address: False)


def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a laptop, and no proxy between it and what it asks."""
    monkeypatch.setattr("fineseg.proposal.surroundings.this_machine", lambda: Machine(2, 8.0))
    monkeypatch.setenv("no_proxy", "*")


def one_image(document: dict[str, Any]) -> None:
    """Leave the image of the first object."""
    first = document["annotations"][0]
    document["annotations"] = [first]
    document["images"] = [image for image in document["images"] if image["id"] == first["image_id"]]


def maps(things: Mapping[int, bool]) -> Make:
    """Let three images have panoptic maps of two classes, of which these are things; a half is of each."""

    def make(folder: Path) -> None:
        ids = np.tile(np.repeat([1, 2], 16), (32, 1)).astype(np.int32)
        truth = [PanopticMap(number, ids, (Segment(1, 0), Segment(2, 1))) for number in (1, 2, 3)]
        images = [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 32} for n in (1, 2, 3)]
        change(write_maps(folder, "m", truth, (1, 2)), images=images, categories=categories(things))

    return make


MAPPED = maps({1: True, 2: False})


def sweep_folder(folder: Path) -> None:
    (folder / "runs" / "s").mkdir(parents=True)
    (folder / "runs" / "s" / "sweep.json").write_text("{}")


def run_without_scores(folder: Path) -> None:
    (folder / "runs" / "r").mkdir(parents=True)
    (folder / "runs" / "r" / "manifest.json").write_text(json.dumps({}))


ROWS = [
    Row("new: a file is there", nothing, NEW.replace("n.toml", "c.toml"), patch=no_look),
    Row("new: no annotations", gone(TRAIN), NEW, patch=no_look),
    Row("new: annotations cut off", cut(TRAIN), NEW, patch=no_look),
    Row("new: annotations without labels", edited(TRAIN, lambda d: d.pop("annotations")), NEW, patch=no_look),
    Row("new: annotations without objects", edited(TRAIN, lambda d: d["annotations"].clear()), NEW, patch=no_look),
    Row("new: one image", edited(TRAIN, one_image), NEW, patch=no_look),
    Row("new: no folder of images", nothing, NEW.replace("data/train", "nowhere"), patch=no_look),
    Row("new: other folder of images", nothing, NEW.replace("data/train", "data/annotations"), STORE, no_look),
    Row("new: a picture is none", holds("data/train/2.png", "text"), NEW, STORE, no_look),
    Row("new: no weights", nothing, f"{NEW} --weights w.pth", patch=no_look),
    Row("new: weights that do not answer", nothing, f"{NEW} --weights http://localhost:1/w.pth", patch=no_look),
    Row("new: weights at no address", nothing, f"{NEW} --weights http://localhost:port/w.pth", patch=no_machine),
    Row("new: two ways to score", nothing, f"{NEW} --val v.json --val-fraction 0.2"),
    Row("new: folder of no annotations", nothing, f"{NEW} --val-images data/val"),
    Row("new: all is held out", nothing, f"{NEW} --val-fraction 1"),
    Row("new: a picture for annotations", nothing, NEW.replace(TRAIN, "data/train/1.png"), patch=no_look),
    Row("new: results for annotations", nothing, NEW.replace(TRAIN, "p.json"), patch=no_look),
    Row("new: no such task", nothing, f"{NEW} --task semantic"),
    Row("new: maps wanted of instances", nothing, f"{NEW} --task panoptic", patch=no_look),
    Row("new: instances to train on, maps to score", MAPPED, f"{NEW} --val m.json", patch=no_look),
    Row("new: maps to train on, instances to score", MAPPED, f"{MAPS} --val {TRAIN}", patch=no_look),
    Row("new: no folder of PNGs", both(MAPPED, lambda folder: shutil.rmtree(folder / "m")), MAPS, patch=no_look),
    Row("new: a PNG missing", both(MAPPED, gone("m/000002.png")), MAPS, patch=no_look),
    Row("new: nothing is a thing", maps({1: False, 2: False}), MAPS, patch=no_look),
    Row("new: nothing is stuff", maps({1: True, 2: True}), MAPS, patch=no_look),
    Row("board: no folder", nothing, "board nowhere"),
    Row("board: a file", nothing, "board c.toml"),
    Row("board: no such figure", folder_at("runs"), "board --metric AP", ("runs/.board.sqlite",)),
    Row("diff: no folder", nothing, "diff nowhere data"),
    Row("diff: a folder of a sweep", sweep_folder, "diff runs/s runs/s"),
    Row("diff: a run that is not through", run_without_scores, "diff runs/r runs/r"),
]
