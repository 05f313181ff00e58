"""Let a small panoptic model learn sixteen real photographs by heart, and score it on them.

    python tests/realdata/overfit_panoptic.py FOLDER

A model that can not do that has a fault somewhere between the truth's PNGs and PQ. FOLDER gets annotation files of
sixteen photographs to learn and of sixteen others to validate on, links to ../shared/data, and the run. They are those
of the fewest segments, as the images are learned at a small size. A run scores no images that it learned from, so the
sixteen are predicted and scored here.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[2] / "shared" / "data" / "coco_panoptic_train100"
PROFILE = HERE / "overfit_panoptic.toml"
IMAGES = 16


def fill(folder: Path) -> None:
    """Write what the profile reads: the truth of the photographs of the fewest segments, and of those that follow."""
    truth = json.loads((REAL / "panoptic_train100.json").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    by_segments = sorted(truth["annotations"], key=lambda each: len(each["segments_info"]))
    for split, first in (("learned", 0), ("others", IMAGES)):
        annotations = by_segments[first : first + IMAGES]
        chosen = {each["image_id"] for each in annotations}
        images = [image for image in truth["images"] if image["id"] in chosen]
        content = {**truth, "images": images, "annotations": annotations}
        (folder / f"panoptic_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("images", "panoptic_train100"):
        if not (folder / name).exists():
            (folder / name).symlink_to(REAL / name, target_is_directory=True)


def score(folder: Path) -> dict[str, dict[str, float]]:
    """Predict the learned photographs with the run's weights; return the panoptic quality [percent] by group."""
    import torch

    from fineseg.catalog import load_catalog
    from fineseg.data.panoptic import load_map
    from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result
    from fineseg.mm.model import build_model
    from fineseg.mm.panoptic import predict_panoptic
    from fineseg.mm.predict import load_trained
    from fineseg.profile import load_profile

    catalog = load_catalog(warn=print)
    profile = load_profile(PROFILE, catalog, settings=[f"data.root={folder}"]).profile
    part, options = catalog.choose("dataset", profile.data.dataset.name, profile.data.dataset.options)
    split = part.read(options, folder, "learned")
    things, classes = len(split.categories), len(split.panoptic_categories)
    table = profile.models["mobilenet"]
    built = build_model(table, catalog, things, weights_cache=None, init=False, num_stuff=classes - things)
    load_trained(built, next((folder / "store" / "train").glob("*/weights.pth")))
    built.module.eval()
    head, _ = catalog.choose("head", table.head.name, table.head.options)
    counts = PanopticCounts.none(classes)
    for image in split.images:
        found = predict_panoptic(built, image, profile.predict, torch.device("cpu"), head.gives).panoptic
        counts += count_image(load_map(split.panoptic[image.id], image), found, classes)
    return panoptic_result(counts, things).plain()


def main() -> None:
    """Fill the folder that is named, run the profile on it, and score what was learned."""
    folder = Path(sys.argv[1]).resolve()
    fill(folder)
    places = ["--set", f"data.root={folder}", "--store", str(folder / "store"), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "fineseg", "run", str(PROFILE), *places], check=True)
    for group, row in score(folder).items():
        if group != "classes":
            print(f"learned photographs, {group}: " + ", ".join(f"{key} {value:.1f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
