"""`fineseg run` of a panoptic competition as a user calls it: whole, and again with its models combined otherwise."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fineseg.data.panoptic import load_map
from fineseg.data.panoptic_json import read_panoptic
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result
from fineseg.panoptic_predictions import StoredMaps, panoptic_file
from fineseg.panoptic_predictions import read_panoptic as read_stored
from fineseg.predictions import read_instances
from fineseg.store import read_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PROFILE = Path(__file__).parent / "micro_panoptic.toml"
STEPS, IMAGES = 2 * 8 * 3, 4 * (4 + 2)  # models x epochs x steps; each alone and both together, validation + test


def run(folder: Path, out: str, *more: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", out, *more]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400)
    assert done.returncode == 0, done.stdout
    metrics, manifest = (json.loads((folder / out / f"{name}.json").read_text()) for name in ("metrics", "manifest"))
    return metrics, manifest, done.stdout


def validations(store: Path) -> list[list[dict[str, Any]]]:
    """Return the validations of each training that made any."""
    found = [read_rows(file) for file in sorted((store / "train").glob("*/curve.jsonl"))]
    return [rows for rows in ([row for row in each if "PQ" in row] for each in found) if rows]


def test_a_panoptic_run_leaves_what_it_promises(tmp_path: Path) -> None:
    metrics, manifest, text = run(tmp_path, "out")
    assert set(metrics["models"]) == {"plain", "lsh"}
    assert manifest["work"] == {"optimizer_steps": STEPS, "forward_passes": IMAGES}
    for name, table in metrics["models"].items():
        assert list(table["panoptic"]) == ["All", "Things", "Stuff"] and list(table["segm"])[:1] == ["AP"]
        assert all(set(group) == {"pq", "sq", "rq", "n"} for group in table["panoptic"].values())
        assert table["panoptic"]["Stuff"]["n"] > 3
        assert ("semantic" in table) == (name == "plain")  # the other's scores are not kept
    assert 0 < metrics["models"]["plain"]["semantic"]["mIoU"] < 100
    assert list(metrics["combined"]) == ["panoptic", "semantic", "segm", "boundary", "holes"]
    assert metrics["combined"]["panoptic"] not in [table["panoptic"] for table in metrics["models"].values()]
    (validated,) = validations(tmp_path / "store")
    assert [row["epoch"] for row in validated] == [4, 8]
    best, table = max(validated, key=lambda row: row["PQ"]), metrics["models"]["lsh"]
    for figure, value in (("PQ", table["panoptic"]["All"]["pq"]), ("AP", table["segm"]["AP"])):
        assert best[figure] == pytest.approx(value, abs=0.5)

    (annotations,) = (tmp_path / "store" / "data").glob("*/annotations/panoptic_val.json")
    maps, images = annotations.with_suffix(""), annotations.parents[1] / "images"
    split = read_panoptic(annotations, maps, images, "val", labelled=True)
    for name, table in metrics["models"].items():
        files = sorted(p for p in (tmp_path / "out" / "predictions" / name / "validation").glob("0000?.parquet"))
        found = StoredMaps(read_stored(map(panoptic_file, files), semantic=False))
        assert found.keys() == read_instances(files).keys() == {image.id for image in split.images}
        total = PanopticCounts.none(len(split.panoptic_categories))
        for image in split.images:
            total += count_image(load_map(split.panoptic[image.id], image), found[image.id], len(total.tp))
        assert panoptic_result(total, len(split.categories)).groups["All"].pq == table["panoptic"]["All"]["pq"]

    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 2
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Panoptic quality</h2>" in report and "data:image/png;base64," in report
    assert "PQ " in text and text.splitlines()[-1].startswith("done in ")

    fused, second, text = run(tmp_path, "fused", "--set", "combine.fuser=two-level")
    assert "starting Ray" not in text
    assert fused["models"].pop("dense")["panoptic"] == metrics["combined"]["panoptic"]  # now a model before the fuser
    assert fused["models"] == metrics["models"]
    assert second["work"] == {"optimizer_steps": 0, "forward_passes": 0}
    assert list(fused["combined"]) == ["panoptic"] and fused["combined"] != metrics["combined"]
    report = (tmp_path / "fused" / "report.html").read_text(encoding="utf-8")
    assert "PQ combined" in report and "Combined, the models reach" in report
