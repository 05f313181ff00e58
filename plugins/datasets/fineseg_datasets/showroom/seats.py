"""Things to sit and lie on, each drawn anew from a generator; sizes in metres."""

from __future__ import annotations

import numpy as np

from fineseg_datasets.showroom.shapes import Box, Lathe, Piece, Shape, cushion, legs


def dining_chair(rng: np.random.Generator) -> Piece:
    """A seat on four legs with an open back of slats or rungs."""
    width, depth, seat = rng.uniform(0.42, 0.52), rng.uniform(0.42, 0.52), rng.uniform(0.43, 0.48)
    height, post, lean = rng.uniform(0.9, 1.08), rng.uniform(0.06, 0.08), rng.uniform(0.02, 0.1)
    half, back = width / 2, -depth / 2
    shapes: list[Shape] = legs(width, depth, seat - 0.04, post, 1)
    shapes.append(Box((-half, seat - 0.05, back), (half, seat, depth / 2), 0))
    for x in (-half, half - post):
        shapes.append(Box((x, seat, back), (x + post, height, back + post), 1, 1.0, (0.0, -lean)))
    shapes.append(Box((-half, height - 0.14, back - lean), (half, height, back - lean + post), 1))
    thin = back - 0.6 * lean
    if rng.random() < 0.5:
        count = int(rng.integers(2, 4))
        for x in np.linspace(-half, half, count + 2)[1:-1]:
            low, high = (x - 0.035, seat, back), (x + 0.035, height - 0.08, back + 0.03)
            shapes.append(Box(low, high, 1, 1.0, (0.0, -lean)))
    else:
        for y in np.linspace(seat, height - 0.08, int(rng.integers(3, 5)))[1:-1]:
            shapes.append(Box((-half, y - 0.045, thin), (half, y + 0.045, thin + 0.03), 1))
    return Piece((width, height, depth), tuple(shapes))


def footstool(rng: np.random.Generator) -> Piece:
    """A low padded block on short feet, square or round, without a back."""
    width, depth, height = rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.46)
    foot = rng.uniform(0.08, 0.14)
    if rng.random() < 0.4:
        radius = depth / 2
        pad = ((0.0, foot), (radius * 0.95, foot), (radius, height - 0.07), (radius * 0.85, height), (0.0, height))
        shapes: list[Shape] = [Lathe((0.0, 0.0), pad, 0), *legs(radius * 1.3, radius * 1.3, foot, 0.04, 1)]
        return Piece((depth, height, depth), tuple(shapes))
    shapes = legs(width - 0.06, depth - 0.06, foot, 0.045, 1)
    shapes += cushion((-width / 2, foot, -depth / 2), (width / 2, height, depth / 2), 0)
    return Piece((width, height, depth), tuple(shapes))


def _upholstered(rng: np.random.Generator, seats: int, seat_width: float) -> Piece:
    arm, depth = rng.uniform(0.12, 0.2), rng.uniform(0.78, 0.92)
    width = seats * seat_width + 2 * arm
    seat, arm_top, height = rng.uniform(0.4, 0.45), rng.uniform(0.56, 0.64), rng.uniform(0.76, 0.92)
    foot, front, back = rng.uniform(0.06, 0.14), depth / 2, -depth / 2
    half = width / 2
    shapes: list[Shape] = legs(width - 0.06, depth - 0.06, foot, 0.05, 2)
    shapes.append(Box((-half + arm, foot, back), (half - arm, seat - 0.14, front), 0))
    shapes.append(Box((-half, foot, back), (half, height, back + 0.2), 0, 0.97))
    for x in (-half, half - arm):
        shapes += cushion((x, foot, back + 0.02), (x + arm, arm_top, front), 0)
    for index in range(seats):
        x0 = -half + arm + index * seat_width + 0.01
        x1 = x0 + seat_width - 0.02
        shapes += cushion((x0, seat - 0.14, back + 0.2), (x1, seat, front + 0.02), 1)
        low, high = (x0 + 0.02, seat, back + 0.2), (x1 - 0.02, height - 0.03, back + 0.36)
        shapes.append(Box(low, high, 1, 0.93, (0.0, -0.05)))
    return Piece((width, height, depth), tuple(shapes))


def three_seat_sofa(rng: np.random.Generator) -> Piece:
    """A back, two arms and three cushions."""
    return _upholstered(rng, 3, rng.uniform(0.54, 0.64))


def armchair(rng: np.random.Generator) -> Piece:
    """A back, two arms and one cushion."""
    return _upholstered(rng, 1, rng.uniform(0.5, 0.6))


def double_bed(rng: np.random.Generator) -> Piece:
    """A head board, a mattress with a blanket, and two pillows."""
    width, depth, height = rng.uniform(1.45, 1.85), rng.uniform(2.0, 2.15), rng.uniform(0.85, 1.2)
    base, top = rng.uniform(0.26, 0.34), rng.uniform(0.48, 0.56)
    half, back, front = width / 2, -depth / 2, depth / 2
    shapes: list[Shape] = [Box((-half - 0.04, 0.0, back), (half + 0.04, height, back + 0.09), 0)]
    shapes += [Box((-half, 0.1, back), (half, base, front), 0), *legs(width - 0.1, depth - 0.1, 0.1, 0.08, 0)]
    shapes += cushion((-half + 0.04, base, back + 0.09), (half - 0.04, top, front - 0.04), 1)
    turn_down = back + rng.uniform(0.7, 0.95)
    edge = half - 0.02
    shapes.append(Box((-edge, base - 0.06, turn_down), (edge, top + 0.03, front - 0.02), 2, 0.96))
    for x in (-half * 0.5, half * 0.5):
        low, high = (x - half * 0.38, top, back + 0.12), (x + half * 0.38, top + 0.15, back + 0.52)
        shapes.append(Box(low, high, 1, 0.8, (0.0, -0.04)))
    return Piece((width + 0.08, height, depth), tuple(shapes))
