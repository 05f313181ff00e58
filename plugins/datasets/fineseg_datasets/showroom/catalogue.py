"""The classes of the showroom and how each stands in a room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fineseg_datasets.showroom import cabinets, seats, tables
from fineseg_datasets.showroom.shapes import Piece

STUFF: tuple[str, ...] = ("wall", "floor", "ceiling", "rug", "window")


class Stand(Enum):
    """Where a piece belongs."""

    WALL = "wall"
    FREE = "free"
    CEILING = "ceiling"


@dataclass(frozen=True)
class Kind:
    """One class: its 3D-FUTURE name, its builder, where it stands and how often it is wished for."""

    name: str
    build: Callable[[np.random.Generator], Piece]
    stand: Stand
    weight: float = 1.0


KINDS: tuple[Kind, ...] = (
    Kind("Nightstand", cabinets.nightstand, Stand.WALL),
    Kind("Wardrobe", cabinets.wardrobe, Stand.WALL),
    Kind("Tea Table", tables.tea_table, Stand.FREE),
    Kind("Shelf", cabinets.shelf, Stand.WALL),
    Kind("TV Stand", cabinets.tv_stand, Stand.WALL),
    Kind("Double Bed", seats.double_bed, Stand.WALL, 1.2),
    Kind("Dining Chair", seats.dining_chair, Stand.FREE),
    Kind("Dining Table", tables.dining_table, Stand.FREE),
    Kind("Three-Seat / Multi-person sofa", seats.three_seat_sofa, Stand.WALL),
    Kind("armchair", seats.armchair, Stand.FREE),
    Kind("Footstool / Sofastool / Bed End Stool / Stool", seats.footstool, Stand.FREE, 1.4),
    Kind("Pendant Lamp", tables.pendant_lamp, Stand.CEILING, 0.5),
    Kind("Ceiling Lamp", tables.ceiling_lamp, Stand.CEILING, 1.6),
)

CLASSES: tuple[str, ...] = tuple(kind.name for kind in KINDS)
