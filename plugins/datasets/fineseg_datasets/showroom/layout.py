"""Where the walls, the camera and the furniture of a room stand.

World: the floor is y = 0, the back wall z = 0, the front wall z = depth, the side walls x = +-width / 2; metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fineseg_datasets.showroom.catalogue import CLASSES, KINDS, Stand
from fineseg_datasets.showroom.shapes import Piece

_QUARTER = np.pi / 2
_TRIES = 12


@dataclass(frozen=True)
class Hall:
    """The empty room and the view into it; ``spread`` is the tangent of half the angle seen from side to side."""

    width: float
    depth: float
    height: float
    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    spread: float


@dataclass(frozen=True)
class Placed:
    """A piece of class ``kind`` turned by ``turn`` radians, its origin at ``at``."""

    kind: int
    piece: Piece
    at: tuple[float, float, float]
    turn: float

    @property
    def half(self) -> tuple[float, float]:
        """Half the extent of the upright bounding box along x and z."""
        width, _, depth = self.piece.size
        cos, sin = abs(np.cos(self.turn)), abs(np.sin(self.turn))
        return (width * cos + depth * sin) / 2, (width * sin + depth * cos) / 2


Spot = tuple[float, float, float]  # x, z, turn


def draw_hall(rng: np.random.Generator, aspect: float) -> Hall:
    """Return a room and a camera near its front wall that looks at the back; ``aspect`` is picture width / height."""
    width, depth, height = rng.uniform(3.7, 5.5), rng.uniform(4.0, 5.7), rng.uniform(2.5, 2.9)
    eye = (rng.uniform(-0.28, 0.28) * width, rng.uniform(1.25, 1.75), depth - rng.uniform(0.1, 0.5))
    target = (rng.uniform(-0.18, 0.18) * width, rng.uniform(0.85, 1.25), depth * rng.uniform(0.0, 0.2))
    # A picture of another shape covers the same solid angle, more or less.
    spread = np.tan(np.deg2rad(rng.uniform(56, 74)) / 2) * np.sqrt(aspect)
    return Hall(width, depth, height, eye, target, float(spread))


def draw_furniture(rng: np.random.Generator, hall: Hall) -> list[Placed]:
    """Return furniture that fits into ``hall`` without overlaps, most of it in view."""
    wanted = int(rng.choice([3, 4, 5, 6, 7, 8, 9], p=[0.05, 0.12, 0.21, 0.25, 0.19, 0.12, 0.06]))
    placed: list[Placed] = []
    for kind in _wishes(rng, wanted):
        piece = KINDS[kind].build(rng)
        for x, z, turn in _spots(rng, hall, kind, piece, placed):
            y = hall.height - piece.size[1] if KINDS[kind].stand is Stand.CEILING else 0.0
            candidate = Placed(kind, piece, (x, y, z), turn)
            if _fits(hall, candidate, placed):
                placed.append(candidate)
                break
    return placed


# What goes together in a room: the anchor first, then what may come with it.
_THEMES: tuple[tuple[str, ...], ...] = (
    ("Double Bed", "Nightstand", "Nightstand", "Wardrobe", "Footstool / Sofastool / Bed End Stool / Stool"),
    ("Three-Seat / Multi-person sofa", "Tea Table", "armchair", "Pendant Lamp", "TV Stand"),
    ("Dining Table", "Dining Chair", "Pendant Lamp", "Dining Chair", "Shelf"),
    ("TV Stand", "Tea Table", "armchair", "Ceiling Lamp", "Shelf"),
    ("Dining Chair", "Dining Chair", "Dining Table", "Pendant Lamp", "Wardrobe"),
    (),
)


def _wishes(rng: np.random.Generator, count: int) -> list[int]:
    """Return ``count`` classes: the larger part of a theme, then any, at most three of a kind."""
    theme = _THEMES[int(rng.integers(len(_THEMES)))]
    wishes = [CLASSES.index(name) for position, name in enumerate(theme) if position == 0 or rng.random() < 0.6]
    weights = np.array([kind.weight for kind in KINDS])
    while len(wishes) < count:
        kind = int(rng.choice(len(KINDS), p=weights / weights.sum()))
        if wishes.count(kind) < 3:
            wishes.append(kind)
    return wishes[:count]


def _fits(hall: Hall, candidate: Placed, placed: list[Placed]) -> bool:
    (x, y, z), (half_x, half_z) = candidate.at, candidate.half
    inside = abs(x) + half_x <= hall.width / 2 + 1e-6 and z - half_z >= -1e-6
    free_view = z + half_z <= hall.eye[2] - 1.0
    if not (inside and free_view and _in_view(hall, x, z)):
        return False
    top = y + candidate.piece.size[1]
    for other in placed:
        gap_x = abs(x - other.at[0]) - half_x - other.half[0]
        gap_z = abs(z - other.at[2]) - half_z - other.half[1]
        apart = y >= other.at[1] + other.piece.size[1] or top <= other.at[1]
        if gap_x < 0.03 and gap_z < 0.03 and not apart:
            return False
    return True


def _in_view(hall: Hall, x: float, z: float) -> bool:
    """Tell whether the upright line through (x, z) passes well within the picture."""
    ahead_x, ahead_z = hall.target[0] - hall.eye[0], hall.target[2] - hall.eye[2]
    norm = float(np.hypot(ahead_x, ahead_z))
    dx, dz = x - hall.eye[0], z - hall.eye[2]
    forward = (dx * ahead_x + dz * ahead_z) / norm
    aside = (dz * ahead_x - dx * ahead_z) / norm
    return forward > 1.2 and abs(aside) < 0.92 * hall.spread * forward


def _spots(rng: np.random.Generator, hall: Hall, kind: int, piece: Piece, placed: list[Placed]) -> Iterator[Spot]:
    """Yield places to try: beside what it belongs to, then anywhere that suits its stand."""
    for other in placed:
        yield from _companion_spots(rng, kind, piece, other)
    for _ in range(_TRIES):
        if KINDS[kind].stand is Stand.WALL:
            yield _wall_spot(rng, hall, piece)
        elif KINDS[kind].stand is Stand.CEILING:
            yield rng.uniform(-0.4, 0.4) * hall.width, rng.uniform(0.15, 0.65) * hall.depth, 0.0
        else:
            x, z = rng.uniform(-0.5, 0.5) * hall.width, rng.uniform(0.05, 0.75) * hall.depth
            # Fronts hardly ever look away from the camera: from behind, an armchair is a box.
            yield x, z, float(rng.choice([0.0, 0.0, 1.0, -1.0]) * _QUARTER + rng.normal(0.0, 0.25))


def _wall_spot(rng: np.random.Generator, hall: Hall, piece: Piece) -> Spot:
    away = piece.size[2] / 2 + 0.02
    side = rng.random()
    if side < 0.5:
        return rng.uniform(-0.5, 0.5) * (hall.width - piece.size[0]), away, 0.0
    z = rng.uniform(0.0, 0.75) * hall.depth
    if side < 0.75:
        return -hall.width / 2 + away, z, _QUARTER
    return hall.width / 2 - away, z, -_QUARTER


def _companion_spots(rng: np.random.Generator, kind: int, piece: Piece, other: Placed) -> Iterator[Spot]:
    pair = (CLASSES[kind], CLASSES[other.kind])
    width, _, depth = other.piece.size
    local: list[Spot] = []
    if pair == ("Nightstand", "Double Bed"):
        away = (width + piece.size[0]) / 2 + 0.05
        local = [(sign * away, (piece.size[2] - depth) / 2, 0.0) for sign in (-1, 1)]
    elif pair == ("Tea Table", "Three-Seat / Multi-person sofa"):
        local = [(rng.uniform(-0.2, 0.2), depth / 2 + piece.size[2] / 2 + rng.uniform(0.25, 0.45), 0.0)]
    elif pair == ("Footstool / Sofastool / Bed End Stool / Stool", "Double Bed"):
        local = [(rng.uniform(-0.3, 0.3), (depth + piece.size[2]) / 2 + 0.06, 0.0)]
    elif pair == ("Dining Chair", "Dining Table"):
        reach = depth / 2 + piece.size[2] / 2 + rng.uniform(0.05, 0.25)
        far = width / 2 + piece.size[2] / 2 + 0.1
        local = [(x, -reach, 0.0) for x in (-width / 4, width / 4)]
        local += [(-far, 0.0, _QUARTER), (far, 0.0, -_QUARTER), (width / 4, reach, 2 * _QUARTER)]
    elif pair[0] == "Pendant Lamp" and pair[1] in ("Dining Table", "Tea Table"):
        local = [(rng.uniform(-0.2, 0.2), 0.0, 0.0)]
    cos, sin = float(np.cos(other.turn)), float(np.sin(other.turn))
    for index in rng.permutation(len(local)):
        x, z, turn = local[index]
        yield other.at[0] + x * cos + z * sin, other.at[2] - x * sin + z * cos, other.turn + turn
