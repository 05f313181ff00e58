"""Boxes and lathes, and how they become quads.

World axes: x to the right, y up, z towards the viewer; lengths in metres. A quad is [4, 3], its corners
counter-clockwise seen from outside. Letters: B boxes, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Corner c of a box has bit 0 for the high x, bit 1 for the high y, bit 2 for the high z.
_BOX_QUADS = np.array([[5, 1, 3, 7], [0, 4, 6, 2], [4, 5, 7, 6], [1, 0, 2, 3], [6, 7, 3, 2], [0, 1, 5, 4]])
_BITS = (np.arange(8)[:, None] >> np.arange(3)) & 1


@dataclass(frozen=True)
class Box:
    """A box from ``low`` to ``high``; its top may be scaled by ``taper`` and moved by ``shift`` = (dx, dz)."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    paint: int = 0
    taper: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Lathe:
    """A profile of (radius, height) from bottom to top, turned about the vertical through ``centre`` = (x, z)."""

    centre: tuple[float, float]
    profile: tuple[tuple[float, float], ...]
    paint: int = 0
    sides: int = 12
    open: bool = False  # seen from inside as well, as a lamp shade is


Shape = Box | Lathe


@dataclass(frozen=True)
class Piece:
    """One piece of furniture standing at the origin, its front towards +z; ``size`` is (width, height, depth)."""

    size: tuple[float, float, float]
    shapes: tuple[Shape, ...]


def upright(radius: float, low: float, high: float, centre: tuple[float, float] = (0.0, 0.0), paint: int = 0) -> Lathe:
    """Return a closed standing cylinder."""
    return Lathe(centre, ((0.0, low), (radius, low), (radius, high), (0.0, high)), paint)


def legs(width: float, depth: float, height: float, thickness: float, paint: int, splay: float = 0.0) -> list[Shape]:
    """Return four square legs under the corners of a width x depth footprint, leaning inwards by ``splay``."""
    found: list[Shape] = []
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * (width - thickness) / 2, sz * (depth - thickness) / 2
            half = thickness / 2
            shift = (-sx * splay, -sz * splay)
            found.append(Box((x - half, 0, z - half), (x + half, height, z + half), paint, 1.0, shift))
    return found


def cushion(low: tuple[float, float, float], high: tuple[float, float, float], paint: int) -> list[Shape]:
    """Return a box whose upper third is bevelled, so that it looks soft."""
    middle = low[1] + 0.6 * (high[1] - low[1])
    return [Box(low, (high[0], middle, high[2]), paint), Box((low[0], middle, low[2]), high, paint, 0.9)]


def box_quads(boxes: list[Box]) -> FloatArray:
    """Return the faces [6B, 4, 3] of ``boxes``, six after six."""
    low = np.array([box.low for box in boxes], float)[:, None]
    high = np.array([box.high for box in boxes], float)[:, None]
    corners = np.where(_BITS[None], high, low)
    taper = np.array([box.taper for box in boxes])[:, None]
    shift = np.array([box.shift for box in boxes], float)[:, None]
    centre = (low + high)[:, :, ::2] / 2
    top = slice(None), [2, 3, 6, 7]
    for column, axis in enumerate((0, 2)):
        middle = centre[:, :, column]
        corners[(*top, axis)] = middle + (corners[(*top, axis)] - middle) * taper + shift[:, :, column]
    return corners[:, _BOX_QUADS].reshape(-1, 4, 3)


@lru_cache(maxsize=8)
def _circle(sides: int) -> FloatArray:
    angle = np.arange(sides + 1) * (2 * np.pi / sides)
    return np.stack([np.cos(angle), np.zeros(sides + 1), -np.sin(angle)], axis=1)


def lathe_quads(lathe: Lathe) -> FloatArray:
    """Return the faces [F, 4, 3] of a lathe; an open one has every face twice, once for each side."""
    profile = np.array(lathe.profile, float)
    ring = _circle(lathe.sides)[None] * profile[:, 0, None, None]
    ring = ring + np.array([lathe.centre[0], 0.0, lathe.centre[1]])
    ring[:, :, 1] = profile[:, 1, None]
    low, high = ring[:-1], ring[1:]
    quads = np.stack([low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1]], axis=2).reshape(-1, 4, 3)
    return np.concatenate([quads, quads[:, ::-1]]) if lathe.open else quads


def piece_quads(piece: Piece) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the faces [F, 4, 3] of a piece and the paint number [F] of each."""
    boxes = [shape for shape in piece.shapes if isinstance(shape, Box)]
    quads, paints = [], []
    if boxes:
        quads.append(box_quads(boxes))
        paints.append(np.repeat([box.paint for box in boxes], 6))
    for shape in piece.shapes:
        if isinstance(shape, Lathe):
            quads.append(lathe_quads(shape))
            paints.append(np.full(len(quads[-1]), shape.paint))
    return np.concatenate(quads), np.concatenate(paints).astype(np.int64)


def place_quads(quads: FloatArray, turn: float, at: tuple[float, float, float]) -> FloatArray:
    """Return ``quads`` turned about the vertical by ``turn`` radians (front to +x at a quarter turn) and moved."""
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    return np.asarray(quads @ rotation + np.array(at), np.float64)
