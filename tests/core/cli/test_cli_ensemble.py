"""`fineseg ensemble`: a reference in plain loops, both ways to weigh, options by their model, and no torch."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_sets import as_coco, as_results, draw, oracle
from imported import heavy_after

from fineseg.cli.main import main

Answer = tuple[int, str, str]
Rows = list[dict[str, Any]]
PAPER = "77.38,77.37,77.32,77.21,76.95"


@pytest.fixture
def ensemble(capsys: pytest.CaptureFixture[str], no_progress: None) -> Callable[..., Answer]:
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(*words: object) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["ensemble", *map(str, words)])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, default=lambda counts: counts.decode()))
    return path


def two_files(folder: Path, seed: int = 3) -> tuple[list[Path], dict[str, Any]]:
    """Write what two models say of one drawn split, with boxes; return the files and the truth."""
    split, first = draw(seed, images=12, noise=0.1)
    rng = np.random.default_rng(seed)
    files = []
    for name in "ab":
        rows = [
            {**row, "bbox": box["bbox"], "score": round(float(rng.uniform(0.05, 1)), 5)}
            for row, box in zip(as_results(split, first), as_results(split, first, "bbox"), strict=True)
            if rng.random() < 0.8
        ]
        files.append(write(folder / f"{name}.json", rows))
    return files, as_coco(split)


def merged_by_loops(files: list[Rows], weights: list[float], most: int = 100) -> Rows:
    """Weigh, pool and soften as the paper's pipeline does, one image, one class and one detection at a time."""
    merged: Rows = []
    for image in sorted({row["image_id"] for rows in files for row in rows}):
        kept: Rows = []
        pooled = [
            {**row, "score": row["score"] * weight}
            for rows, weight in zip(files, weights, strict=True)
            for row in rows
            if row["image_id"] == image
        ]
        for category in {row["category_id"] for row in pooled}:
            left = [row for row in pooled if row["category_id"] == category]
            while left:
                best = max(left, key=lambda row: row["score"])
                left = [row for row in left if row is not best]
                kept.append(best)
                for row in left:
                    overlap = box_iou(best["bbox"], row["bbox"])
                    if overlap > 0.5:
                        row["score"] *= 1 - overlap
                left = [row for row in left if row["score"] >= 0.001]
        merged += sorted(kept, key=lambda row: -row["score"])[:most]
    return merged


def box_iou(first: list[float], second: list[float]) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def assert_same(found: Rows, expected: Rows) -> None:
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        for key in ("image_id", "category_id"):
            assert ours[key] == theirs[key]
        assert ours["segmentation"] == theirs["segmentation"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
        assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops(seed: int, tmp_path: Path, ensemble: Callable[..., Answer]) -> None:
    files, _ = two_files(tmp_path, seed)
    out, read = tmp_path / "c.json", [json.loads(file.read_text()) for file in files]
    words = [*files, "--method", "linear-interpolation", "--scores", "30.5,41", "--out", out]
    code, said, err = ensemble(*words, "--option", "theta_min=0.7")
    assert (code, err) == (0, "")
    assert_same(json.loads(out.read_text()), merged_by_loops(read, [0.7, 1.0]))
    assert said.splitlines()[:2] == [f"{files[0]}: AP 30.50", f"{files[1]}: AP 41.00"]
    assert ensemble(*words, "--option", "max_per_image=2")[0] == 0
    assert_same(json.loads(out.read_text()), merged_by_loops(read, [0.6, 1.0], most=2))


def test_weights_of_the_paper(tmp_path: Path, ensemble: Callable[..., Answer]) -> None:
    """Eq. 1 with the paper's five scores: five detections far apart keep their own weights."""
    files = []
    for n in range(5):
        mask = np.zeros((10, 50), bool)
        mask[2:8, 10 * n : 10 * n + 8] = True
        row = {"image_id": 0, "category_id": 0, "score": 1.0, "segmentation": coded(mask)}
        files.append(write(tmp_path / f"{n}.json", [row]))
    out = tmp_path / "out.json"
    assert ensemble(*files, "--method", "linear-interpolation", "--scores", PAPER, "--out", out)[0] == 0
    found = sorted(json.loads(out.read_text()), key=lambda row: row["bbox"][0])
    assert [round(row["score"], 3) for row in found] == [1.0, 0.991, 0.944, 0.842, 0.6]
    assert [row["bbox"] for row in found] == [[10 * n, 2, 8, 6] for n in range(5)]  # the masks', where none is given
    assert {row["category_id"] for row in found} == {0}


def coded(mask: np.ndarray) -> dict[str, Any]:
    from fineseg.data import masks

    return {"size": list(mask.shape), "counts": masks.encode(mask).decode()}


def test_ground_truth_weighs_by_what_each_file_reaches(tmp_path: Path, ensemble: Callable[..., Answer]) -> None:
    files, truth = two_files(tmp_path)
    read = [json.loads(file.read_text()) for file in files]
    masks_only = [[{k: v for k, v in row.items() if k != "bbox"} for row in rows] for rows in read]
    measured = [oracle(json.loads(json.dumps(truth, default=bytes.decode)), rows) for rows in masks_only]
    aps = [summary[0] for summary, _ in measured]
    assert abs(aps[0] - aps[1]) > 0.1
    gt, out = write(tmp_path / "g.json", truth), tmp_path / "c.json"
    code, said, err = ensemble(*files, "--method", "linear-interpolation", "--ground-truth", gt, "--out", out)
    assert (code, err) == (0, "")
    assert [line.rsplit(" ", 1)[-1] for line in said.splitlines()[:2]] == [f"{ap:.2f}" for ap in aps]
    weights = [1.0 if ap == max(aps) else 0.6 for ap in aps]
    by_image = {image["id"]: n for n, image in enumerate(truth["images"])}  # in the order of the truth's images

    def placed(rows: Rows) -> Rows:
        return sorted(rows, key=lambda row: by_image[row["image_id"]])

    assert_same(json.loads(out.read_text()), placed(merged_by_loops(read, weights)))

    per_class = ("--method", "linear-reweight", "--option", "ranking=per-class", "--ground-truth", gt)
    assert ensemble(*files, *per_class, "--out", out)[0] == 0
    classes = {c["id"]: [rows[n][0] for _, rows in measured] for n, c in enumerate(truth["categories"])}
    for rows, n in zip(read, range(2), strict=True):
        for row in rows:
            mine, other = classes[row["category_id"]][n], classes[row["category_id"]][1 - n]
            tied = mine == other or (math.isnan(mine) and math.isnan(other))
            row["score"] *= 0.75 if tied else 1.0 if mine > other else 0.5
    assert_same(json.loads(out.read_text()), placed(merged_by_loops(read, [1.0, 1.0])))


def test_files_of_any_form_and_without_scores(tmp_path: Path, ensemble: Callable[..., Answer]) -> None:
    files, _ = two_files(tmp_path)
    read = [json.loads(file.read_text()) for file in files]
    wrapped = write(tmp_path / "w.json", {"images": [], "annotations": read[1]})
    out = tmp_path / "c.json"
    code, said, _ = ensemble(files[0], wrapped, "--method", "linear-interpolation", "--out", out)
    assert code == 0 and said.startswith(f"{files[0]}: AP not known\n")
    assert_same(json.loads(out.read_text()), merged_by_loops(read, [1.0, 1.0]))
    nothing = write(tmp_path / "n.json", [])
    assert ensemble(nothing, nothing, "--method", "linear-interpolation", "--out", out)[0] == 0
    assert json.loads(out.read_text()) == []


METHOD = ("--method", "linear-interpolation")


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    files, _ = two_files(tmp_path)
    assert heavy_after("ensemble", *files, *METHOD, "--out", tmp_path / "c.json") == set()


@pytest.mark.realdata
def test_three_real_models(shared_data: Path, tmp_path: Path, ensemble: Callable[..., Answer]) -> None:
    folder = shared_data / "yolact_preds_val100"
    files = sorted(folder.glob("*.json"))
    out = tmp_path / "c.json"
    assert len(files) == 3
    assert ensemble(*files, *METHOD, "--scores", "29.8,28.2,31.2", "--out", out)[0] == 0
    read = [json.loads(file.read_text()) for file in files]
    weights = [0.6 + 0.4 * (ap - 28.2) / 3 for ap in (29.8, 28.2, 31.2)]
    found, expected = json.loads(out.read_text()), merged_by_loops(read, weights)
    key = lambda row: (row["image_id"], row["category_id"], row["segmentation"]["counts"])  # noqa: E731
    kept, wanted = ({key(row): row["score"] for row in rows} for rows in (found, expected))
    assert len(found) == len(expected) > 1000 and kept.keys() == wanted.keys()
    for place, score in wanted.items():
        assert kept[place] == pytest.approx(score, abs=1e-6)
