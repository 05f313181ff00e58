"""Drawn panoptic maps, their files, and panoptic quality by plain loops over pixels and segments."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fineseg import PanopticMap, Segment
from fineseg.data.panoptic import encode_ids


@dataclass
class LoopCounts:
    """What loops count, by label."""

    iou: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    tp: Counter[int] = field(default_factory=Counter)
    fp: Counter[int] = field(default_factory=Counter)
    fn: Counter[int] = field(default_factory=Counter)

    def means(self, labels: Sequence[int]) -> tuple[float, float, float, int]:
        """Return PQ, SQ, RQ [percent] and the number of classes that they are means over."""
        rows = []
        for label in labels:
            tp, mistakes = self.tp[label], self.fp[label] + self.fn[label]
            if tp + mistakes:
                sq = self.iou[label] / tp if tp else 0.0
                rows.append((self.iou[label] / (tp + mistakes / 2), sq, tp / (tp + mistakes / 2)))
        if not rows:
            return (float("nan"),) * 3 + (0,)
        return (*(100 * sum(column) / len(rows) for column in zip(*rows, strict=True)), len(rows))  # type: ignore[return-value]


def count_by_loops(pairs: Sequence[tuple[PanopticMap, PanopticMap]]) -> LoopCounts:
    """Count matches as COCO's evaluation does, one pixel and one pair of segments at a time."""
    total = LoopCounts()
    for truth, found in pairs:
        shared: Counter[tuple[int, int]] = Counter()
        for y in range(truth.ids.shape[0]):
            for x in range(truth.ids.shape[1]):
                shared[int(truth.ids[y, x]), int(found.ids[y, x])] += 1
        _count_pair(truth, found, shared, total)
    return total


def _count_pair(truth: PanopticMap, found: PanopticMap, shared: Counter[tuple[int, int]], total: LoopCounts) -> None:
    matched = set()
    for mine in found.segments:
        size = sum(n for (_, b), n in shared.items() if b == mine.id)
        forgiven = shared[0, mine.id]
        hit = False
        for true in truth.segments:
            if true.label != mine.label:
                continue
            if true.crowd:
                forgiven = shared[0, mine.id] + shared[true.id, mine.id]  # of several crowds the last one
                continue
            area = true.area if true.area is not None else sum(n for (a, _), n in shared.items() if a == true.id)
            union = size + area - shared[true.id, mine.id] - shared[0, mine.id]
            if shared[true.id, mine.id] and union > 0 and shared[true.id, mine.id] / union > 0.5:
                hit = True
                matched.add(true.id)
                total.tp[true.label] += 1
                total.iou[true.label] += shared[true.id, mine.id] / union
        if not hit and not forgiven / size > 0.5:
            total.fp[mine.label] += 1
    for true in truth.segments:
        if not true.crowd and true.id not in matched:
            total.fn[true.label] += 1


# ------------------------------------------------------------------ drawn maps


def draw_pair(rng: np.random.Generator, image_id: int, classes: int) -> tuple[PanopticMap, PanopticMap]:
    """Draw a true map and a prediction near it: void, crowds, stated areas, ids unlisted or without pixels, noise."""
    height, width, scale = (int(side) for side in rng.integers(1, [7, 7, 5]))
    coarse = rng.integers(0, rng.integers(2, 8), (height, width))
    names = np.concatenate([[0], rng.choice(2**24 - 1, 12, replace=False) + 1])
    true_ids = names[np.kron(coarse, np.ones((scale, scale), int))].astype(np.int32)
    segments = []
    for number in np.unique(true_ids[true_ids > 0]).tolist():
        if rng.random() < 0.05:
            continue
        area = float((true_ids == number).sum() + rng.integers(0, 2)) if rng.random() < 0.5 else None
        segments.append(Segment(number, int(rng.integers(classes)), area, bool(rng.random() < 0.2)))
    if rng.random() < 0.1:
        segments.append(Segment(int(names[-1]), int(rng.integers(classes)), 3.0))
    other = np.concatenate([[0], rng.choice(2**24 - 1, 12, replace=False) + 1])
    place = np.searchsorted(np.sort(names), true_ids)
    found_ids = other[place].astype(np.int32)
    noisy = rng.random(found_ids.shape) < rng.choice([0.0, 0.1, 0.3])
    found_ids[noisy] = rng.choice(other, int(noisy.sum()))
    near = {other[place[true_ids == s.id][0]]: s.label for s in segments if (true_ids == s.id).any()}
    found = tuple(
        Segment(n, near[n] if n in near and rng.random() < 0.8 else int(rng.integers(classes)))
        for n in rng.permutation(np.unique(found_ids[found_ids > 0])).tolist()
    )
    shuffled = tuple(segments[i] for i in rng.permutation(len(segments)))
    return PanopticMap(image_id, true_ids, shuffled), PanopticMap(image_id, found_ids, found)


def warp(rng: np.random.Generator, truth: PanopticMap, pixels: float) -> PanopticMap:
    """Move the outlines of a map by about so many pixels, as a model's are off; segments that vanish are not listed."""
    height, width = truth.ids.shape
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for axis in (across, down):
        coarse = rng.normal(0, pixels, (height // 24 + 2, width // 24 + 2)).astype(np.float32)
        axis += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    moved = cv2.remap(truth.ids.astype(np.float32), across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    ids = moved.astype(np.int32)  # ids are below 2^24, which float32 holds exactly
    present = set(np.unique(ids).tolist())
    found = tuple(Segment(s.id, s.label) for s in truth.segments if s.id in present)
    return PanopticMap(truth.image_id, ids, found)


def draw_scores(rng: np.random.Generator, seen: PanopticMap, classes: int, cells: tuple[int, int]) -> np.ndarray:
    """Draw what a semantic model might say that sees these segments: probabilities float32 [classes, *cells].

    Soft along outlines, each segment taken for another class to a degree, uneven over the image, and all of it as
    smooth as what a network says; classes that are not there have a little too.
    """

    def bumps(mean: float, spread: float) -> np.ndarray:
        coarse = rng.normal(mean, spread, (9, 12)).astype(np.float32)
        return np.asarray(cv2.resize(coarse, cells[::-1], interpolation=cv2.INTER_CUBIC))

    logits = np.stack([bumps(-7, 1) for _ in range(classes)])
    for each in seen.segments:
        area = cv2.resize((seen.ids == each.id).astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(area, (0, 0), 1.2)
        uneven, other = bumps(0, 1.2), rng.integers(classes)
        sure = rng.uniform(0.35, 1)
        for label, share in ((each.label, sure), (int(other), 1 - sure)):
            logits[label] = np.logaddexp(logits[label], np.log(soft * share + 1e-4) + uneven)
    logits -= logits.max(axis=0)
    odds = np.exp(logits)
    return np.asarray(odds / odds.sum(axis=0), np.float32)


# ----------------------------------------------------------------------- files


def write_maps(folder: Path, name: str, maps: Sequence[PanopticMap], category_ids: Sequence[int]) -> Path:
    """Write maps as COCO panoptic JSON, without images and categories, beside a folder of PNGs of that name."""
    (folder / name).mkdir(parents=True)
    annotations = []
    for each in maps:
        (folder / name / f"{each.image_id:06d}.png").write_bytes(encode_ids(each.ids))
        rows = [
            {"id": s.id, "category_id": category_ids[s.label], "iscrowd": int(s.crowd), "area": _area(each, s)}
            for s in each.segments
        ]
        annotations.append({"image_id": each.image_id, "file_name": f"{each.image_id:06d}.png", "segments_info": rows})
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"annotations": annotations}))
    return path


def _area(each: PanopticMap, segment: Segment) -> float:
    return segment.area if segment.area is not None else int((each.ids == segment.id).sum())


def change(path: Path, **values: Any) -> dict[str, Any]:
    """Set top-level keys of a JSON file and return all of it."""
    document: dict[str, Any] = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps(document))
    return document


def categories(ids: Mapping[int, bool]) -> list[dict[str, Any]]:
    """Return the category list of ids and whether each is a thing."""
    return [{"id": n, "name": f"class {n}", "isthing": int(thing), "supercategory": "all"} for n, thing in ids.items()]
