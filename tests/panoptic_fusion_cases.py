"""Panopticapi's combination rule by plain loops over pixels, and small random inputs for it."""

from collections.abc import Sequence

import numpy as np

from fineseg import Instances, SemanticMasks, make_instances
from fineseg.data import masks


def combined_by_loops(
    found: Sequence[tuple[int, float, np.ndarray]],
    regions: Sequence[tuple[int, np.ndarray]],
    things: int,
    *,
    confidence: float,
    overlap: float,
    stuff_area: float,
) -> tuple[list[list[int]], list[int]]:
    """Return the number of each pixel's segment, 0 for void, and the labels of segments 1, 2, ...; masks are [H, W].

    Instances are (label, score, mask), best taken first; used pixels are kept apart from the map, as the script does.
    """
    height, width = (found[0][2] if found else regions[0][1]).shape
    ids = [[0] * width for _ in range(height)]
    used: set[tuple[int, int]] = set()
    labels: list[int] = []
    rest = [entry for entry in found if entry[1] >= confidence]
    while rest:
        best = max(rest, key=lambda entry: entry[1])  # the first of equals
        rest = [entry for entry in rest if entry is not best]
        pixels = [(y, x) for y in range(height) for x in range(width) if best[2][y, x]]
        if not pixels or sum(pixel in used for pixel in pixels) / len(pixels) > overlap:
            continue
        free = [pixel for pixel in pixels if pixel not in used]
        used.update(pixels)
        if free:
            labels.append(best[0])
            for y, x in free:
                ids[y][x] = len(labels)
    for label, mask in regions:
        free = [(y, x) for y in range(height) for x in range(width) if mask[y, x] and not ids[y][x]]
        if label < things or len(free) < stuff_area or not free:
            continue
        labels.append(label)
        for y, x in free:
            ids[y][x] = len(labels)
    return ids, labels


def draw_masks(rng: np.random.Generator, count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Draw rectangles, some with holes, some empty, some of all pixels."""
    drawn = []
    for _ in range(count):
        mask = np.zeros(size, bool)
        (top, bottom), (left, right) = (sorted(rng.integers(0, side + 1, 2)) for side in size)
        mask[top:bottom, left:right] = True
        mask &= rng.random(size) < rng.choice([1.0, 0.8])
        drawn.append(mask | (rng.random() < 0.05))
    return drawn


def as_instances(image_id: int, size: tuple[int, int], found: Sequence[tuple[int, float, np.ndarray]]) -> Instances:
    """Return (label, score, mask) as instances, with float64 scores as files have them."""
    coded = [masks.encode(mask) for _, _, mask in found]
    boxes = masks.boxes(coded, *size)
    made = make_instances(image_id, size, [label for label, _, _ in found], [s for _, s, _ in found], boxes, coded)
    return made.with_rows(made.labels, np.array([s for _, s, _ in found], np.float64), made.boxes, made.masks)


def as_masks(size: tuple[int, int], regions: Sequence[tuple[int, np.ndarray]], classes: int) -> SemanticMasks:
    """Return (label, mask) as semantics that are masks."""
    return SemanticMasks([(label, masks.encode(mask)) for label, mask in regions], classes, size)
