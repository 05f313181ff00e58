"""The panoptic head of E-UPS in plain loops over pixels: what the tensor functions are compared with.

Letters: T thing and S stuff classes (things first), C = T + S, N objects, m side of a mask, H and W sides of the map.
"""

import math
from collections import Counter
from typing import Any

import numpy as np

VOID = "void"


def bilinear(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize [h, w] to [height, width]: a pixel's centre is a centre of the other grid, edges are held."""
    h, w = plane.shape
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            dy, dx = y - y0, x - x0
            top = plane[y0, x0] * (1 - dx) + plane[y0, x1] * dx
            bottom = plane[y1, x0] * (1 - dx) + plane[y1, x1] * dx
            out[i, j] = top * (1 - dy) + bottom * dy
    return out


def score_plane(semantic: np.ndarray, box: np.ndarray, label: int) -> np.ndarray:
    """The class's scores from the truncated first corner to the rounded last one; 0 elsewhere."""
    _, height, width = semantic.shape
    left, top, right, bottom = box.tolist()
    plane = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            if math.trunc(top) <= i <= round(bottom) and math.trunc(left) <= j <= round(right):
                plane[i, j] = semantic[label, i, j]
    return plane


def mask_plane(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask's logits over the truncated corners, both of them included; 0 elsewhere."""
    left, top, right, bottom = (math.trunc(x) for x in box.tolist())
    patch = bilinear(mask, max(bottom - top + 1, 1), max(right - left + 1, 1))
    plane = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            if 0 <= i - top < patch.shape[0] and 0 <= j - left < patch.shape[1]:
                plane[i, j] = patch[i - top, j - left]
    return plane


def channels(semantic: np.ndarray, things: int, masks: Any, boxes: Any, labels: Any) -> np.ndarray:
    """Stuff, objects and the unknown: [S + N + 1, H, W]."""
    height, width = semantic.shape[1:]
    scores = [score_plane(semantic, box, label) for box, label in zip(boxes, labels, strict=True)]
    pasted = [mask_plane(mask, box, height, width) for mask, box in zip(masks, boxes, strict=True)]
    out = [*semantic[things:], *(a + b for a, b in zip(scores, pasted, strict=True))]
    unknown = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            covered = max((plane[i, j] for plane in scores), default=0.0)
            unknown[i, j] = max(semantic[t, i, j] for t in range(things)) - covered
    return np.stack([*out, unknown])


def target(truth: np.ndarray, things: int, stuff: int, masks: np.ndarray) -> np.ndarray:
    """Which channel each pixel should be, -1 where none counts."""
    out = np.empty(truth.shape, dtype=np.int64)
    for i, j in np.ndindex(*truth.shape):
        label = truth[i, j]
        inside = [number for number, mask in enumerate(masks) if mask[i, j]]
        if inside:
            out[i, j] = stuff + inside[-1]
        elif label == 255:
            out[i, j] = -1
        else:
            out[i, j] = label - things if label >= things else stuff + len(masks)
    return out


def cross_entropy(logits: np.ndarray, wanted: np.ndarray, ignored: int) -> list[float]:
    """The cross entropy of each pixel of logits [X, H, W] that counts."""
    out = []
    for i, j in np.ndindex(*wanted.shape):
        if wanted[i, j] != ignored:
            column = logits[:, i, j]
            out.append(math.log(sum(math.exp(x) for x in column)) - column[wanted[i, j]])
    return out


# ------------------------------------------------------------------ prediction


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area_a + area_b - width * height)


def chosen(boxes: np.ndarray, scores: np.ndarray, score: float, limit: float, most: int) -> list[tuple[int, int]]:
    """Proposal and class of the objects, best first, of boxes [R, T, 4] and scores [R, T + 1]."""
    pairs = [(r, t) for r in range(len(scores)) for t in range(scores.shape[1] - 1) if scores[r, t] > score]
    kept: list[tuple[int, int]] = []
    for pair in sorted(pairs, key=lambda p: -scores[p]):
        if all(iou(boxes[pair], boxes[other]) <= limit for other in kept):
            kept.append(pair)
    return kept[:most]


def staying(masks: Any, boxes: Any, labels: Any, height: int, width: int, overlap: float) -> list[int]:
    """Objects whose masks are neither empty nor hidden by better ones of their class."""
    kept: list[tuple[int, np.ndarray]] = []
    for number in range(len(boxes)):
        binary = mask_plane(masks[number], boxes[number], height, width) > 0
        taken = np.zeros((height, width), dtype=bool)
        for other, pixels in kept:
            if labels[other] == labels[number]:
                taken |= pixels
        if binary.sum() and (binary & taken).sum() / binary.sum() <= overlap:
            kept.append((number, binary))
    return [number for number, _ in kept]


def nearest(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    out = np.empty((height, width), dtype=plane.dtype)
    for i, j in np.ndindex(height, width):
        out[i, j] = plane[i * plane.shape[0] // height, j * plane.shape[1] // width]
    return out


def panoptic(semantic: np.ndarray, things: int, masks: Any, boxes: Any, labels: Any, frame: Any, rules: Any) -> Any:
    """The segment of each pixel of the original image, [H, W] of "void", ("stuff", class) or ("object", n, class).

    n counts the objects that stay.
    """
    stuff = len(semantic) - things
    keep = staying(masks, boxes, labels, *frame.size, rules.overlap)
    masks, boxes, labels = ([each[k] for k in keep] for each in (masks, boxes, labels))
    large = np.stack([bilinear(plane, *frame.padded) for plane in semantic])[:, : frame.size[0], : frame.size[1]]
    index = nearest(channels(large, things, masks, boxes, labels).argmax(axis=0), *frame.original)
    best = nearest(large.argmax(axis=0), *frame.original)
    out = np.empty(frame.original, dtype=object)
    for i, j in np.ndindex(*frame.original):
        which = index[i, j]
        if which < stuff:
            out[i, j] = ("stuff", things + which)
        elif which < stuff + len(labels):
            out[i, j] = ("object", which - stuff, labels[which - stuff])
        else:
            out[i, j] = VOID
    for number, label in enumerate(labels):
        pixels = [at for at in np.ndindex(*frame.original) if out[at] == ("object", number, label)]
        votes = Counter(best[at] for at in pixels)
        if votes:
            winner = min(votes, key=lambda c: (-votes[c], c))
            if winner >= things and votes[winner] >= 0.5 * len(pixels):
                for at in pixels:
                    out[at] = ("stuff", winner)
    areas = Counter(out[at] for at in np.ndindex(*frame.original))
    for at in np.ndindex(*frame.original):
        if out[at][0] == "stuff" and areas[out[at]] < rules.stuff_area:
            out[at] = VOID
    return out
