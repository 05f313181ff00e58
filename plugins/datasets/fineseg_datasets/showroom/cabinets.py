"""Things to store in, each drawn anew from a generator; sizes in metres."""

from __future__ import annotations

import numpy as np

from fineseg_datasets.showroom.shapes import Box, Piece, Shape, legs


def _handle(x: float, y: float, z: float, width: float, height: float) -> Box:
    return Box((x - width / 2, y - height / 2, z), (x + width / 2, y + height / 2, z + 0.03), 2)


def nightstand(rng: np.random.Generator) -> Piece:
    """A small cube of one to three drawers on short legs."""
    width, depth, height = rng.uniform(0.42, 0.56), rng.uniform(0.36, 0.44), rng.uniform(0.48, 0.62)
    foot, drawers = rng.uniform(0.06, 0.16), int(rng.integers(2, 4))
    half, front = width / 2, depth / 2
    shapes: list[Shape] = legs(width - 0.02, depth - 0.02, foot, 0.04, 2)
    shapes.append(Box((-half, foot, -front), (half, height - 0.025, front), 0))
    shapes.append(Box((-half - 0.015, height - 0.025, -front), (half + 0.015, height, front + 0.03), 0))
    step = (height - 0.04 - foot) / drawers
    for index in range(drawers):
        y = foot + index * step
        shapes.append(Box((-half + 0.025, y + 0.02, front), (half - 0.025, y + step - 0.01, front + 0.02), 1))
        shapes.append(_handle(0.0, y + step / 2, front + 0.02, 0.12, 0.025))
    return Piece((width, height, depth), tuple(shapes))


def wardrobe(rng: np.random.Generator) -> Piece:
    """A tall closed cabinet with two or three doors and upright handles."""
    doors = int(rng.integers(2, 4))
    width, depth, height = doors * rng.uniform(0.42, 0.52), rng.uniform(0.52, 0.62), rng.uniform(1.9, 2.25)
    half, front, plinth = width / 2, depth / 2, rng.uniform(0.06, 0.12)
    shapes: list[Shape] = [Box((-half, 0.0, -front), (half, height - 0.05, front), 0)]
    shapes.append(Box((-half - 0.03, height - 0.05, -front), (half + 0.03, height, front + 0.05), 0))
    step, split = width / doors, rng.random() < 0.5
    low = plinth + (0.45 if split else 0.0)
    for index in range(doors):
        x = -half + index * step
        shapes.append(Box((x + 0.015, low, front), (x + step - 0.015, height - 0.08, front + 0.025), 1))
        side = x + step - 0.07 if index % 2 == 0 else x + 0.07
        shapes.append(_handle(side, height * 0.5, front + 0.025, 0.03, 0.3))
        if split:
            shapes.append(Box((x + 0.015, plinth, front), (x + step - 0.015, low - 0.025, front + 0.025), 1))
            shapes.append(_handle(x + step / 2, (plinth + low) / 2, front + 0.025, 0.16, 0.03))
    return Piece((width, height, depth), tuple(shapes))


def shelf(rng: np.random.Generator) -> Piece:
    """A tall rack of boards between uprights, open front and back, with a few books."""
    width, depth, height = rng.uniform(0.7, 1.1), rng.uniform(0.26, 0.36), rng.uniform(1.5, 2.0)
    half, front, board = width / 2, depth / 2, rng.uniform(0.045, 0.065)
    levels, columns = int(rng.integers(4, 6)), int(rng.integers(1, 3))
    shapes: list[Shape] = []
    for x in np.linspace(-half, half - board, columns + 1):
        shapes.append(Box((x, 0.0, -front), (x + board, height, front), 0))
    bays = np.linspace(0.06, height - board, levels + 1)
    for y in bays:
        shapes.append(Box((-half, y, -front), (half, y + board, front), 0))
    for y in bays[:-1]:
        if rng.random() < 0.5:
            shapes += _books(rng, half, y + board, (bays[1] - bays[0]) * 0.75, front)
    return Piece((width, height, depth), tuple(shapes))


def _books(rng: np.random.Generator, half: float, low: float, room: float, front: float) -> list[Shape]:
    x = rng.uniform(-half + 0.05, 0.0)
    found: list[Shape] = []
    for index in range(int(rng.integers(2, 4))):
        wide, tall = rng.uniform(0.05, 0.1), room * rng.uniform(0.7, 1.0)
        found.append(Box((x, low, -front + 0.03), (x + wide, low + tall, front - 0.06), 1 + index % 2))
        x += wide
    return found


def tv_stand(rng: np.random.Generator) -> Piece:
    """A long low bench: doors at both ends, an open bay between them, on short legs."""
    width, depth, height = rng.uniform(1.4, 1.9), rng.uniform(0.38, 0.46), rng.uniform(0.4, 0.52)
    half, front, foot, board = width / 2, depth / 2, rng.uniform(0.08, 0.16), 0.03
    bay = half * rng.uniform(0.3, 0.45)
    shapes: list[Shape] = legs(width - 0.1, depth - 0.04, foot, 0.045, 2)
    shapes.append(Box((-half, foot, -front), (half, foot + board, front), 0))
    shapes.append(Box((-half, height - board, -front), (half, height, front), 0))
    middle = (foot + height) / 2
    shapes.append(Box((-bay, middle, -front), (bay, middle + 0.02, front), 0))
    for sign in (-1, 1):
        x0, x1 = sorted((sign * bay, sign * half))
        shapes.append(Box((x0, foot + board, -front), (x1, height - board, front - 0.01), 0))
        shapes.append(Box((x0 + 0.02, foot + board, front - 0.01), (x1 - 0.02, height - board, front + 0.012), 1))
        shapes.append(_handle(sign * (bay + 0.08), middle, front + 0.012, 0.03, 0.12))
    return Piece((width, height, depth), tuple(shapes))
