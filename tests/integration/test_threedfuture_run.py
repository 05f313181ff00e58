"""3D-FUTURE on files in its own format: both tracks, one command each, and each zip passes the check."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fineseg_datasets.threedfuture_fixture import write_fixture

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PROFILE = Path(__file__).parents[2] / "competitions" / "3dfuture.toml"
SMALL = Path(__file__).parent / "threedfuture_small.toml"
IMAGES = {"train": 12, "val": 3, "test": 4}


def fineseg(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fineseg", *arguments], cwd=folder, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def run_track(folder: Path, track: list[str]) -> tuple[dict[str, Any], str]:
    """Run one track; return the run's manifest, and what the checker says of its zip."""
    layers = [*track, "--with", str(SMALL), "--set", f"data.root={folder / 'data'}"]
    fineseg(folder, "run", str(PROFILE), *layers, "--out", "out", "--store", "store")
    checked = fineseg(
        folder, "submission", "check", "out/submission.zip", "--profile", str(PROFILE), *layers, "--store", "store"
    )
    return json.loads((folder / "out" / "manifest.json").read_text()), checked


def test_both_tracks(tmp_path: Path) -> None:
    write_fixture(tmp_path / "data", IMAGES, seed=2)
    manifest, checked = run_track(tmp_path, [])
    held_out = 3  # of 12, as 3,000 of 12,144
    assert manifest["work"]["optimizer_steps"] == 2 * 2 * 5  # models x epochs x 9 images in twos
    assert manifest["work"]["forward_passes"] == 2 * (held_out + IMAGES["test"])
    assert "ok; format '3dfuture' for the 4 images of 'test'" in checked

    manifest, checked = run_track(tmp_path, ["--variant", "track-a"])
    assert manifest["work"] == {"optimizer_steps": 0, "forward_passes": 2 * IMAGES["val"]}
    assert "ok; format '3dfuture' for the 3 images of 'val'" in checked
