"""Let a small panoptic model learn sixteen real photographs by heart, and score it on them.

    python tests/realdata/overfit_panoptic.py FOLDER

A model that can not do that has a fault somewhere between the truth's PNGs and PQ. FOLDER gets the sixteen's annotation
file, twice, links to the photographs and their maps in ../shared/data, and the run.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[2] / "shared" / "data" / "coco_panoptic_train100"
IMAGES = 16


def fill(folder: Path) -> None:
    """Write what the profile reads: the truth of the first photographs of the real file."""
    truth = json.loads((REAL / "panoptic_train100.json").read_text(encoding="utf-8"))
    truth["images"] = truth["images"][:IMAGES]
    chosen = {image["id"] for image in truth["images"]}
    truth["annotations"] = [each for each in truth["annotations"] if each["image_id"] in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("learned", "scored"):
        (folder / f"panoptic_{split}.json").write_text(json.dumps(truth), encoding="utf-8")
    for name in ("images", "panoptic_train100"):
        if not (folder / name).exists():
            (folder / name).symlink_to(REAL / name, target_is_directory=True)


def main() -> None:
    """Fill the folder that is named, and run the profile on it."""
    folder = Path(sys.argv[1]).resolve()
    fill(folder)
    command = [
        sys.executable,
        "-m",
        "fineseg",
        "run",
        str(HERE / "overfit_panoptic.toml"),
        "--set",
        f"data.root={folder}",
    ]
    sys.exit(subprocess.run([*command, "--store", str(folder / "store"), "--out", str(folder / "run")]).returncode)


if __name__ == "__main__":
    main()
