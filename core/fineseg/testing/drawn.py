"""Small random data that checks run on: instances of one image, scores of all classes, whole splits with pictures.

Letters: N instances, C classes, H and W the image's height and width in pixels.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from fineseg.data import masks
from fineseg.data.panoptic import PanopticMap, encode_ids
from fineseg.data.split import RLE, Category, ImageInfo, PanopticFile, Segment, Split, TrueObject
from fineseg.parts import ModelScore
from fineseg.predictions import Instances, make_instances
from fineseg.semantic_store import STRIDE, SemanticScores

Size = tuple[int, int]
SCORE_STEPS = 100
"""Scores are hundredths, so that formats that round them keep them; many repeat."""


def draw_instances(rng: np.random.Generator, size: Size, count: int, classes: int, *, image_id: int = 9) -> Instances:
    """Draw N = `count` instances of an image of `size` (H, W), many of which overlap; one in 20 masks is empty."""
    height, width = size
    drawn, boxes = [], []
    for _ in range(count):
        top, left = (int(rng.integers(0, max(1, side // 2))) for side in size)
        bottom, right = (int(rng.integers(start + 1, side + 1)) for start, side in zip((top, left), size, strict=True))
        mask = np.zeros(size, dtype=bool)
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) > 0.1
        drawn.append(masks.encode(mask & (rng.random() > 0.05)))
        jitter = rng.normal(0, 0.5, 4)
        boxes.append((np.array([left, top, right, bottom]) + jitter).clip(0, [width, height, width, height]))
    scores = rng.integers(1, SCORE_STEPS + 1, count) / SCORE_STEPS
    return make_instances(image_id, size, rng.integers(0, classes, count), scores, np.array(boxes), drawn)


def draw_scores(rng: np.random.Generator, models: int, classes: int) -> list[ModelScore]:
    """Draw what evaluate measured of models; some classes have no objects and so no AP, some models are equal."""
    support = tuple(rng.integers(0, 4, classes).tolist())
    rows = [tuple(float("nan") if not n else float(rng.integers(0, 5)) * 20 for n in support) for _ in range(models)]
    return [ModelScore(f"model {n}", float(rng.integers(20, 24)), row, support) for n, row in enumerate(rows)]


def draw_semantic(rng: np.random.Generator, size: Size, classes: int) -> SemanticScores:
    """Draw probabilities [C, h, w] of all classes on the grid on which they are kept."""
    logits = 3 * rng.normal(size=(classes, *(-(-side // STRIDE) for side in size)))
    exponentials = np.exp(logits - logits.max(axis=0))
    return SemanticScores((exponentials / exponentials.sum(axis=0)).astype(np.float32), size)


def draw_map(rng: np.random.Generator, size: Size, labels: Sequence[int], *, image_id: int = 9) -> PanopticMap:
    """Draw a map of columns, void among them, one segment for each of these labels that finds a column."""
    ids = np.zeros(size, dtype=np.int32)
    edges = np.linspace(0, size[1], len(labels) + 2).astype(int)
    order = rng.permutation(len(labels)).tolist()
    for number, (left, right) in enumerate(pairwise(edges[:-1].tolist()), start=1):
        ids[:, left:right] = number
    segments = [Segment(n + 1, labels[place]) for n, place in enumerate(order) if (ids == n + 1).any()]
    return PanopticMap(image_id, ids, tuple(segments))


def draw_split(folder: Path, *, images: int = 3, size: Size = (64, 96), things: int = 3, stuff: int = 0) -> Split:
    """Draw a split of coloured rectangles and write its pictures, and its maps where it has stuff, below a folder.

    Every image has an object of each class of things, none of which hides another.
    """
    from PIL import Image

    rng = np.random.default_rng(0)
    categories = tuple(Category(n + 1, f"thing-{n}") for n in range(things))
    grounds = tuple(Category(things + n + 1, f"stuff-{n}") for n in range(stuff))
    infos, objects, maps = [], {}, {}
    for number in range(1, images + 1):
        ids = _rectangles(rng, size, things)
        file = folder / f"picture-{number}.png"
        colours = rng.integers(0, 256, (things + 1, 3))
        pixels = colours[ids] + rng.integers(-10, 11, (*size, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
        infos.append(ImageInfo(number, file, size[1], size[0]))
        objects[number] = tuple(_object(ids == n + 1, number * things + n, n) for n in range(things))
        if stuff:
            maps[number] = _write_map(ids, things, stuff, folder / f"map-{number}.png")
    return Split("drawn", categories, tuple(infos), objects, stuff=grounds, panoptic=maps)


def _rectangles(rng: np.random.Generator, size: Size, count: int) -> np.ndarray:
    """Return a map [H, W] of `count` rectangles side by side, numbered from 1 on."""
    ids = np.zeros(size, dtype=np.int32)
    edges = np.linspace(0, size[1], count + 1).astype(int)
    for number, (left, right) in enumerate(pairwise(edges.tolist()), start=1):
        top, bottom = int(rng.integers(2, size[0] // 4)), int(rng.integers(size[0] // 2, size[0] - 2))
        ids[top:bottom, left + 2 : right - 2] = number
    return ids


def _object(mask: np.ndarray, number: int, label: int) -> TrueObject:
    counts = masks.encode(mask)
    height, width = mask.shape
    x1, y1, x2, y2 = masks.boxes([counts], height, width)[0].tolist()
    return TrueObject(number, label, (x1, y1, x2, y2), RLE(size=[height, width], counts=counts), float(mask.sum()))


def _write_map(ids: np.ndarray, things: int, stuff: int, file: Path) -> PanopticFile:
    """Write the map of an image whose ground is cut into as many strips as there is stuff."""
    strips = np.linspace(0, stuff, ids.shape[0], endpoint=False).astype(np.int32)[:, None] + things + 1
    whole = np.where(ids > 0, ids, strips)
    file.write_bytes(encode_ids(whole))
    present = np.unique(whole).tolist()
    return PanopticFile(file, tuple(Segment(n, n - 1, float((whole == n).sum())) for n in present))
