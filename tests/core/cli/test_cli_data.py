"""`fineseg data sizes` as a user meets it."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fineseg.cli.data import short_names
from fineseg.cli.main import main


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    made = []
    for name, side in (("large", 300), ("small", 40)):
        rng = np.random.default_rng(side)
        images = [{"id": i, "height": 1000, "width": 1000} for i in range(50)]
        rows = [{"image_id": int(rng.integers(50)), "area": float(rng.lognormal(0, 1) * side**2)} for _ in range(400)]
        made.append(tmp_path / f"{name}.json")
        made[-1].write_text(json.dumps({"images": images, "annotations": [r for r in rows if r["area"] < 1e6]}))
    return made[0], made[1]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_table_and_figure(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "data", "sizes", *files, "--images", 30, "--out", tmp_path / "new" / "sizes.png")
    assert (code, err) == (0, "")
    rows = json.loads(call(capsys, "data", "sizes", *files, "--images", 30, "--json")[1])["files"]
    lines = out.splitlines()
    for row, line in zip(rows, lines[1:], strict=False):
        assert (
            line.startswith(row["file"]) and f"30 of 50  {row['objects']}" in line and f"{row['median']:.1f} px" in line
        )
    tables = [tomllib.loads(line.partition(": ")[2]) for line in lines if "area_ranges = {" in line]
    assert [table["area_ranges"] for table in tables] == [row["area_ranges"] for row in rows]  # can be pasted
    assert all(abs(share - 1 / 3) < 0.05 for row in rows for share in row["shares"].values())
    assert lines[-1] == f"wrote {tmp_path / 'new' / 'sizes.png'}"
    assert (tmp_path / "new" / "sizes.png").read_bytes().startswith(b"\x89PNG")


def test_seed(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    def medians(*more: object) -> list[float]:
        told = json.loads(call(capsys, "data", "sizes", *files, "--json", *more)[1])
        return [row["median"] for row in told["files"]]

    assert medians("--images", 20) == medians("--images", 20, "--seed", 0) != medians("--images", 20, "--seed", 1)
    assert medians("--seed", 1) == medians("--seed", 2)  # all images


def test_names() -> None:
    assert short_names([Path("a/train.json"), Path("a/val.json")]) == ["train", "val"]
    assert short_names([Path("a/x.json"), Path("b/x.json")]) == ["a/x.json", "b/x.json"]
