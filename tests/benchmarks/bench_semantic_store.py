"""Weigh what storing semantic scores in few bytes loses: mIoU and PQ of 100 real images, bytes and time of each.

    python tests/benchmarks/bench_semantic_store.py [--images 100]

No model is trained on these images; what one might say is drawn from their truth: outlines moved by some pixels, soft
borders, segments taken for another class to a degree, noise in all 133 classes, on the grid of stride 4 of an image
scaled to 800 pixels. PQ is that of stuff of at least 1024 pixels, left beside instances whose outlines are moved
likewise, and of those. Prints rows of a markdown table.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from panoptic_cases import draw_scores, warp  # noqa: E402

from fineseg import PanopticMap, Segment  # noqa: E402
from fineseg.data.panoptic import load_map, semantic_labels  # noqa: E402
from fineseg.data.panoptic_json import read_panoptic  # noqa: E402
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result  # noqa: E402
from fineseg.mm.images import fit_size  # noqa: E402
from fineseg.semantic_store import SemanticScores, decode, encode_compact, encode_full, label_map  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "coco_panoptic_train100"
SMALLEST_STUFF = 1024

FORMS: dict[str, Callable[[SemanticScores], bytes]] = {
    "full, float32": encode_full,
    "6 classes, cells of 4 pixels (default)": encode_compact,
    "3 classes, cells of 4 pixels": functools.partial(encode_compact, top=3),
    "10 classes, cells of 2 pixels": functools.partial(encode_compact, top=10, stride=2),
    "6 classes, cells of 8 pixels": functools.partial(encode_compact, stride=8),
}


class Tally:
    """What one form costs and keeps, summed over images."""

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self.counts = PanopticCounts.none(classes)
        self.bytes: list[int] = []
        self.seconds: list[tuple[float, float]] = []
        self.same: list[float] = []
        self.labels = np.zeros((0, 0), np.uint8)

    def mean_iou(self) -> float:
        """Return the mean IoU of the classes that occur in the truth, in percent."""
        hits, true, said = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return float(100 * np.mean(hits[true > 0] / (true + said - hits)[true > 0]))


def fuse(labels: np.ndarray, seen: PanopticMap, things: int) -> PanopticMap:
    """Return instances as they were seen, and the classes of stuff that a label map [H, W] shows between them."""
    instances = [each for each in seen.segments if each.label < things]
    ids = np.where(np.isin(seen.ids, [each.id for each in instances]), seen.ids, 0)
    segments = list(instances)
    for label in np.unique(labels[(ids == 0) & (labels >= things)]).tolist():
        left = (labels == label) & (ids == 0)
        if np.count_nonzero(left) >= SMALLEST_STUFF:
            segments.append(Segment(2**24 - 1 - label, label))
            ids[left] = segments[-1].id
    return PanopticMap(seen.image_id, ids, tuple(segments))


def look(tally: Tally, maps: tuple[PanopticMap, PanopticMap], scores: SemanticScores, things: int, form: str) -> None:
    """Send one image's scores through a form, and count against its truth; the first form loses nothing."""
    truth, seen = maps
    start = time.process_time()
    content = FORMS[form](scores)
    middle = time.process_time()
    found = decode(content, form)
    tally.seconds.append((middle - start, time.process_time() - middle))
    tally.bytes.append(len(content))
    labels, true = label_map(found), semantic_labels(truth)
    known, classes = true != 255, len(tally.counts.tp)
    pairs = true[known].astype(np.int64) * classes + labels[known]
    tally.confusion += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    tally.counts += count_image(truth, fuse(labels, seen, things), classes)
    tally.labels = labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    given = parser.parse_args()
    annotations = DATA / "panoptic_train100.json"
    split = read_panoptic(annotations, annotations.with_suffix(""), DATA / "images", "train100")
    things, classes = len(split.categories), len(split.panoptic_categories)
    tallies = {form: Tally(classes) for form in FORMS}
    for image in split.images[: given.images]:
        rng = np.random.default_rng(image.id)
        truth = load_map(split.panoptic[image.id], image)
        seen = warp(rng, truth, 3.0)
        height, width = fit_size(image.height, image.width, 1333, 800)
        cells = (-(-height // 4), -(-width // 4))
        scores = SemanticScores(draw_scores(rng, seen, classes, cells), (image.height, image.width))
        for form, tally in tallies.items():
            look(tally, (truth, seen), scores, things, form)
            tally.same.append(float(np.mean(tally.labels == next(iter(tallies.values())).labels)))
    print("| form | kB an image | mIoU | PQ | PQ stuff | pixels of the same class, % | encode, decode, CPU ms |")
    print("|---|---|---|---|---|---|---|")
    for form, tally in tallies.items():
        groups = panoptic_result(tally.counts, things).groups
        times = ", ".join(f"{1e3 * statistics.median(each):.0f}" for each in zip(*tally.seconds, strict=True))
        print(
            f"| {form} | {np.mean(tally.bytes) / 1e3:.0f} | {tally.mean_iou():.2f} | {groups['All'].pq:.2f} "
            f"| {groups['Stuff'].pq:.2f} | {100 * np.mean(tally.same):.2f} | {times} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
