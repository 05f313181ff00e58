"""Time panoptic quality of 100 real images: matching alone, and files from start to end with one and two threads.

    python tests/benchmarks/bench_pq.py [--peer FOLDER]

Predictions are the truth with its outlines moved by some pixels. FOLDER is a checkout of cocodataset/panopticapi, which
is on no package index: its function is fed with maps that are in memory already, and what it counts must be what we
count. Prints rows of a markdown table; medians of `--repeats`. Matching and decoding are timed by the processor's clock
on one thread, the whole by the wall's. Decoding is what a reader of the PNGs cannot do without.
"""

import argparse
import contextlib
import functools
import io
import operator
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from panoptic_cases import change, warp, write_maps  # noqa: E402

from fineseg import PanopticMap, Split  # noqa: E402
from fineseg.console import Console  # noqa: E402
from fineseg.data.panoptic import load_map, read_ids  # noqa: E402
from fineseg.data.panoptic_json import read_panoptic  # noqa: E402
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image  # noqa: E402
from fineseg.stages.panoptic_files import score_panoptic_files  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "coco_panoptic_train100"
MOVED = 3.0
"""Pixels that outlines are moved by, as a standard deviation."""

Pairs = list[tuple[PanopticMap, PanopticMap]]


def seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the median time of the work."""
    taken = []
    for _ in range(repeats):
        start = clock()
        work()
        taken.append(clock() - start)
    return statistics.median(taken)


def match(pairs: Pairs, classes: int) -> PanopticCounts:
    """Match all pairs that are in memory."""
    return functools.reduce(operator.add, (count_image(*pair, classes) for pair in pairs))


def peer_match(folder: Path, split: Split, pairs: Pairs) -> Callable[[], PanopticCounts]:
    """Return panopticapi's matching of the same pairs as a call; its reading of files hands out maps in memory."""
    sys.path.insert(0, str(folder))
    from panopticapi import evaluation  # type: ignore[import-not-found]

    numbers = [category.id for category in split.panoptic_categories]
    memory = {
        f"{side}/{pair[0].image_id}": each.ids.astype(np.uint32)
        for pair in pairs
        for side, each in zip(("true", "found"), pair, strict=True)
    }

    def annotation(each: PanopticMap) -> dict[str, Any]:
        rows = [
            {"id": s.id, "category_id": numbers[s.label], "area": s.area, "iscrowd": int(s.crowd)}
            for s in each.segments
        ]
        return {"image_id": each.image_id, "file_name": str(each.image_id), "segments_info": rows}

    annotations = [tuple(annotation(each) for each in pair) for pair in pairs]

    def call() -> PanopticCounts:
        reader = mock.Mock(open=memory.__getitem__)
        with (
            mock.patch.multiple(evaluation, Image=reader, rgb2id=lambda ids: ids),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            found = evaluation.pq_compute_single_core(0, annotations, "true", "found", dict.fromkeys(numbers))
        rows = [found[number] for number in numbers]
        columns = (np.array([getattr(row, name) for row in rows]) for name in ("iou", "tp", "fp", "fn"))
        return PanopticCounts(*columns)

    return call


def write_found(folder: Path, split: Split, pairs: Pairs) -> Path:
    """Write the predictions as files; return their JSON."""
    maps = [found for _, found in pairs]
    path = write_maps(folder, "found", maps, [c.id for c in split.panoptic_categories])
    change(path, images=[], categories=[])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of cocodataset/panopticapi")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    truth = DATA / "panoptic_train100.json"
    split = read_panoptic(truth, truth.with_suffix(""), DATA / "images", "train100")
    rng, classes = np.random.default_rng(0), len(split.panoptic_categories)
    true = [load_map(split.panoptic[image.id], image) for image in split.images]
    pairs = [(each, warp(rng, each, MOVED)) for each in true]
    per_image = 1e3 / len(pairs)
    print("| what, 100 images of COCO | ms an image |")
    print("|---|---|")
    ours = seconds(lambda: match(pairs, classes), given.repeats)
    print(f"| matching, maps in memory | {ours * per_image:.2f} |")
    if given.peer is not None:
        call = peer_match(given.peer, split, pairs)
        expected, counted = call(), match(pairs, classes)
        for name in ("iou", "tp", "fp", "fn"):
            np.testing.assert_allclose(getattr(counted, name), getattr(expected, name), rtol=0, atol=1e-9)
        theirs = seconds(call, given.repeats)
        print(f"| the same by panopticapi | {theirs * per_image:.2f}, {theirs / ours:.1f} times as long |")
    with tempfile.TemporaryDirectory() as name:
        found = write_found(Path(name), split, pairs)
        files = [p.file for p in split.panoptic.values()] + sorted(found.with_suffix("").iterdir())
        decoding = seconds(lambda: [read_ids(file) for file in files], given.repeats)
        print(f"| decoding both PNGs | {decoding * per_image:.2f} |")
        score = functools.partial(
            score_panoptic_files, found, None, truth, truth.with_suffix(""), Console(io.StringIO())
        )
        alone = 0.0
        for threads in (1, 2):
            with mock.patch("os.cpu_count", return_value=threads):
                whole = seconds(score, given.repeats, time.perf_counter)
            alone = alone or whole
            print(f"| files from start to end, threads: {threads} | {whole * per_image:.2f} ({alone / whole:.2f}) |")
        quality = cast(Any, score()).result.groups["All"]
        print(f"PQ {quality.pq:.2f} SQ {quality.sq:.2f} RQ {quality.rq:.2f} n {quality.n}", file=sys.stderr)


if __name__ == "__main__":
    main()
