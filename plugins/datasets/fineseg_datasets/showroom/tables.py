"""Tables and lamps, each drawn anew from a generator; sizes in metres."""

from __future__ import annotations

import numpy as np

from fineseg_datasets.showroom.shapes import Box, Lathe, Piece, Shape, legs, upright


def dining_table(rng: np.random.Generator) -> Piece:
    """A high table: a thin top over four legs and an apron."""
    width, depth, height = rng.uniform(1.2, 1.7), rng.uniform(0.75, 0.9), rng.uniform(0.72, 0.78)
    half, front, top, leg = width / 2, depth / 2, rng.uniform(0.05, 0.07), rng.uniform(0.08, 0.11)
    shapes: list[Shape] = [Box((-half, height - top, -front), (half, height, front), 0)]
    shapes += legs(width - 0.1, depth - 0.1, height - top, leg, 1, rng.uniform(0.0, 0.04))
    low, high = (-half + 0.1, height - top - 0.07, -front + 0.08), (half - 0.1, height - top, front - 0.08)
    shapes.append(Box(low, high, 1))
    return Piece((width, height, depth), tuple(shapes))


def tea_table(rng: np.random.Generator) -> Piece:
    """A low table with a second board near the floor, oblong or round."""
    width, depth, height = rng.uniform(0.85, 1.2), rng.uniform(0.5, 0.65), rng.uniform(0.36, 0.44)
    half, front, top = width / 2, depth / 2, rng.uniform(0.03, 0.05)
    if rng.random() < 0.3:
        radius = rng.uniform(0.38, 0.48)
        side = radius * 1.35
        round_shapes: list[Shape] = [upright(radius, height - top, height, paint=0)]
        round_shapes += [upright(radius * 0.8, 0.12, 0.14, paint=0), *legs(side, side, height - top, 0.045, 1)]
        return Piece((2 * radius, height, 2 * radius), tuple(round_shapes))
    shapes: list[Shape] = [Box((-half, height - top, -front), (half, height, front), 0)]
    shapes += legs(width - 0.04, depth - 0.04, height - top, 0.05, 1)
    shapes.append(Box((-half + 0.04, 0.11, -front + 0.04), (half - 0.04, 0.135, front - 0.04), 0))
    return Piece((width, height, depth), tuple(shapes))


def pendant_lamp(rng: np.random.Generator) -> Piece:
    """A shade hanging on a cord: cone, dome or globe."""
    height, radius = rng.uniform(0.75, 1.1), rng.uniform(0.18, 0.3)
    style, tall = int(rng.integers(3)), radius * rng.uniform(0.9, 1.2)
    shapes: list[Shape] = [upright(0.012, tall, height - 0.03, paint=2), upright(0.06, height - 0.03, height, paint=2)]
    if style == 0:
        shapes.append(Lathe((0.0, 0.0), ((radius, 0.0), (radius * 0.3, tall)), 0, 14, True))
        shapes.append(upright(radius * 0.3, tall, tall + 0.04, paint=1))
    elif style == 1:
        angles = np.linspace(0, np.pi / 2, 5)
        dome = tuple((float(radius * np.cos(a)), float(tall * np.sin(a))) for a in angles)
        shapes.append(Lathe((0.0, 0.0), dome, 0, 14, True))
    else:
        angles = np.linspace(-np.pi / 2, np.pi / 2, 7)
        ball = tuple((float(radius * np.cos(a)), float(tall * (1 + np.sin(a)) / 2)) for a in angles)
        shapes.append(Lathe((0.0, 0.0), ball, 0, 14))
    shapes.append(upright(radius * 0.25, tall * 0.1, tall * 0.5, paint=1))
    return Piece((2 * radius, height, 2 * radius), tuple(shapes))


def ceiling_lamp(rng: np.random.Generator) -> Piece:
    """A flat bowl or drum close to the ceiling."""
    radius, height = rng.uniform(0.24, 0.38), rng.uniform(0.14, 0.2)
    neck = height * 0.25
    if rng.random() < 0.5:
        bowl = ((0.0, 0.0), (radius * 0.55, height * 0.12), (radius * 0.9, height * 0.45), (radius, height - neck))
        shapes: list[Shape] = [Lathe((0.0, 0.0), (*bowl, (0.0, height - neck)), 0, 16)]
    else:
        drum = ((0.0, 0.0), (radius, 0.0), (radius, height - neck), (0.0, height - neck))
        rim = ((radius * 1.03, height * 0.2), (radius * 1.03, height * 0.4))
        shapes = [Lathe((0.0, 0.0), drum, 0, 16), Lathe((0.0, 0.0), rim, 1, 16)]
    shapes.append(upright(radius * 0.5, height - neck, height, paint=1))
    return Piece((2 * radius, height, 2 * radius), tuple(shapes))
