"""A hundred real photographs from their files through two ends, their fusion and the zip, and scored again."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fineseg.data.panoptic import decode_ids
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic

pytestmark = [pytest.mark.integration, pytest.mark.realdata, pytest.mark.timeout(900)]
PROFILE = Path(__file__).parents[1] / "realdata" / "coco100.toml"
MAPS = "panoptic_train100"
WEIGHTS = "weights_mobilenet_v2_quant/mobilenet_v2_1.0_224_quant.npz"


def fineseg(folder: Path, *words: object) -> str:
    command = [sys.executable, "-m", "fineseg", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pq_by_hand(found: dict[int, Any], truth: dict[str, Any], folder: Path) -> float:
    """Return PQ [percent] by the definition, segment by segment: no code of the project but the PNGs' decoding."""
    tp, iou, fp, fn = ({c["id"]: 0.0 for c in truth["categories"]} for _ in range(4))
    for row in truth["annotations"]:
        of_truth = decode_ids((folder / row["file_name"]).read_bytes(), row["file_name"])
        ids, segments = found[row["image_id"]]
        void, matched, taken = of_truth == 0, set(), set()
        crowds = np.isin(of_truth, [s["id"] for s in row["segments_info"] if s["iscrowd"]])
        for segment in segments:
            mask = ids == segment["id"]
            for true in (s for s in row["segments_info"] if not s["iscrowd"]):
                if true["category_id"] == segment["category_id"]:
                    other = of_truth == true["id"]
                    both = (mask & other).sum()
                    share = both / (mask.sum() + other.sum() - both - (mask & void).sum())
                    if share > 0.5:
                        tp[true["category_id"]] += 1
                        iou[true["category_id"]] += share
                        matched.add(true["id"])
                        taken.add(segment["id"])
        for true in row["segments_info"]:
            fn[true["category_id"]] += not true["iscrowd"] and true["id"] not in matched
        for segment in segments:
            mask, same = ids == segment["id"], segment["category_id"]
            of_crowd = [s["id"] for s in row["segments_info"] if s["iscrowd"] and s["category_id"] == same]
            spared = void | (crowds & np.isin(of_truth, of_crowd))
            fp[same] += segment["id"] not in taken and (mask & spared).sum() / mask.sum() <= 0.5
    known = [c for c in tp if tp[c] + fp[c] + fn[c] > 0]
    return 100 * float(np.mean([iou[c] / (tp[c] + 0.5 * fp[c] + 0.5 * fn[c]) for c in known]))


def test_a_hundred_real_photographs(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "coco_panoptic_train100"
    generate_panoptic(ShowroomOptions(train=40, size=128), tmp_path, "train", lambda done, total: None)
    annotations = tmp_path / "annotations"
    rooms = json.loads((annotations / "panoptic_train.json").read_text(encoding="utf-8"))
    truth = json.loads((real / "panoptic_train100.json").read_text(encoding="utf-8"))
    rooms["categories"] = truth["categories"]  # the rooms' classes are some of COCO's, under its ids
    (annotations / "panoptic_train.json").write_text(json.dumps(rooms), encoding="utf-8")
    for source, place in ((real / "images", tmp_path / "images" / "photographs"), (real / MAPS, annotations / MAPS)):
        place.symlink_to(source, target_is_directory=True)
    for image in truth["images"]:
        image["file_name"] = f"photographs/{image['file_name']}"
    (annotations / f"{MAPS}.json").write_text(json.dumps(truth), encoding="utf-8")
    weights = [f"models.{end}.backbone.weights={shared_data / WEIGHTS}" for end in ("e-ups", "lwl-htc")]
    settings = [word for each in (f"data.root={tmp_path}", *weights) for word in ("--set", each)]
    fineseg(tmp_path, "run", PROFILE, *settings, "--store", "store", "--out", "out")

    profile = ("--profile", PROFILE, *settings, "--store", "store")
    said = fineseg(tmp_path, "submission", "check", "out/submission.zip", *profile)
    assert "for the 100 images of 'train100'" in said
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        archive.extractall(tmp_path / "zip")
    (file,) = (tmp_path / "zip").glob("*.json")
    found = {}
    for row in json.loads(file.read_text(encoding="utf-8"))["annotations"]:
        ids = decode_ids((file.with_suffix("") / row["file_name"]).read_bytes(), row["file_name"])
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in row["segments_info"]}
        found[row["image_id"]] = (ids, row["segments_info"])
    assert len(found) == 100

    words = ("--predictions", file, "--ground-truth", annotations / f"{MAPS}.json", "--json")
    again = json.loads(fineseg(tmp_path, "evaluate", "--task", "panoptic", *words))
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["combined"]["panoptic"]
    assert {group: {key: again[group][key] for key in row} for group, row in told.items()} == told
    assert again["All"]["pq"] > 0
    assert again["All"]["pq"] == pytest.approx(pq_by_hand(found, truth, real / MAPS), abs=1e-9)
