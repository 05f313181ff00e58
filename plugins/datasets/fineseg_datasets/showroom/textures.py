"""Tileable patterns and the one pool of colours that walls, floors and all classes share.

A pattern is a map of mixing weights in [0, 1]; a paint mixes two colours by it. Letters: T patterns, L blur levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

TEXELS = 64
LEVELS = 6
PLAIN = 0
VIEW = 1
_FIRST_PATTERN = 2  # those before it are asked for by name

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Paint:
    """Two RGB colours in [0, 1], the pattern that mixes them, a tile's length in metres, and light of its own."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    pattern: int
    tile: float
    glow: float = 0.0


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> FloatImage:
    """Return tileable smooth noise in [0, 1] with ``cells`` (rows, columns) bumps."""
    grid = np.tile(rng.random(cells, dtype=np.float32), (3, 3))
    smooth: FloatImage = cv2.resize(grid, (3 * TEXELS, 3 * TEXELS), interpolation=cv2.INTER_CUBIC)
    return smooth[TEXELS : 2 * TEXELS, TEXELS : 2 * TEXELS].clip(0, 1)


def _woods(rng: np.random.Generator) -> list[FloatImage]:
    _, x = np.mgrid[0:TEXELS, 0:TEXELS] / TEXELS
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (6 * x + 0.8 * _noise(rng, (2, 4))))
    fine = 0.6 * _noise(rng, (2, 32)) + 0.4 * _noise(rng, (4, 16))
    return [np.clip(0.7 * grain * fine + 0.3 * fine, 0, 1), fine, fine.T, 0.5 * fine.T + 0.5 * _noise(rng, (8, 2))]


def _joints(rows: int, columns: int, width: int, rng: np.random.Generator) -> FloatImage:
    """Return a running bond: blocks of one shade each, parted by dark joints ``width`` texels wide."""
    y, x = np.mgrid[0:TEXELS, 0:TEXELS]
    tall, wide = TEXELS // rows, TEXELS // columns
    row = y // tall
    moved = (x + (row % 2) * (wide // 2)) % TEXELS
    shade = 0.1 + 0.35 * rng.random((rows, columns))
    joint = (y % tall < width) | (moved % wide < width)
    return np.where(joint, 1.0, shade[row, moved // wide])


def _weaves() -> list[FloatImage]:
    y, x = np.mgrid[0:TEXELS, 0:TEXELS]
    stripe = (x // 8) % 2
    check = 0.5 * ((x // 16) % 2) + 0.5 * ((y // 16) % 2)
    dots = ((x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 14).astype(float)
    zigzag = ((x + np.abs(y % 32 - 16)) // 8) % 2
    diamond = (np.abs(x % 32 - 16) + np.abs(y % 32 - 16) < 10).astype(float)
    weave = 0.5 * ((x // 4 + y // 4) % 2)
    return [stripe, stripe.T, check, dots, zigzag, diamond, weave]


def _view(rng: np.random.Generator) -> FloatImage:
    """Return what a window shows from its sill (row 0) up: trees, then a sky that pales towards the horizon."""
    height = np.arange(TEXELS)[:, None] / TEXELS
    trees = 0.25 + 0.3 * _noise(rng, (3, 6))[:1]
    leaves = 0.75 + 0.25 * _noise(rng, (12, 12))
    return np.where(height < trees, leaves, 0.35 * (1 - height))


@lru_cache(maxsize=1)
def patterns() -> NDArray[np.float32]:
    """Return the patterns [T, L, TEXELS, TEXELS]; level l is blurred over 2**l texels, so far walls do not shimmer."""
    rng = np.random.default_rng(2020)
    marble = 0.5 + 0.5 * np.sin(8 * _noise(rng, (3, 3)) + 14 * _noise(rng, (2, 2)))
    maps = [0.25 * _noise(rng, (16, 16)), _view(rng), 0.3 * _noise(rng, (32, 32)), _noise(rng, (6, 6)), marble]
    maps += _woods(rng) + _weaves()
    maps += [_joints(4, 2, 2, rng), _joints(8, 1, 2, rng), _joints(8, 4, 2, rng), _joints(2, 2, 1, rng)]
    pyramid = []
    for texture in maps:
        tiled = np.tile(np.asarray(texture, np.float32), (3, 3))
        blurred = [cv2.blur(tiled, (2**level, 2**level)) if level else tiled for level in range(LEVELS)]
        pyramid.append([level[TEXELS : 2 * TEXELS, TEXELS : 2 * TEXELS] for level in blurred])
    return np.array(pyramid, np.float32)


def draw_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return one RGB colour: a grey, a wood tone or any hue."""
    family = rng.random()
    if family < 0.25:
        hue, saturation, value = rng.random(), rng.uniform(0.0, 0.08), rng.uniform(0.12, 0.97)
    elif family < 0.55:
        hue, saturation, value = rng.uniform(0.04, 0.12), rng.uniform(0.25, 0.65), rng.uniform(0.25, 0.9)
    else:
        hue, saturation, value = rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.3, 0.9)
    wheel = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return np.asarray(value * (1 - saturation * (1 - np.clip(wheel, 0, 1))), np.float64)


def draw_paint(rng: np.random.Generator, tile: tuple[float, float] = (0.3, 0.8), contrast: float = 0.5) -> Paint:
    """Return a paint whose second colour is a shade of the first or, at times, a colour of its own."""
    first = draw_colour(rng)
    strength = contrast * rng.random()
    other = draw_colour(rng) if rng.random() < 0.4 else np.full(3, float(first.mean() < 0.35))
    plain = rng.random() < 0.35
    pattern = PLAIN if plain else int(rng.integers(_FIRST_PATTERN, len(patterns())))
    return Paint(first, first + strength * (other - first), pattern, float(rng.uniform(*tile)))


def lighten(paint: Paint, share: float) -> Paint:
    """Return ``paint`` mixed with ``share`` of white, as walls are."""
    first, second = (colour + share * (1 - colour) for colour in (paint.first, paint.second))
    return Paint(first, second, paint.pattern, paint.tile, paint.glow)


def draw_view(rng: np.random.Generator, height: float) -> Paint:
    """Return the glowing paint of a window pane whose view is ``height`` metres tall."""
    sky = np.array([0.62, 0.8, 1.0]) * rng.uniform(0.75, 1.0) + rng.uniform(0.0, 0.1)
    trees = np.array([0.25, 0.42, 0.2]) * rng.uniform(0.5, 1.3) + rng.uniform(0.0, 0.15)
    return Paint(sky, trees, VIEW, height, 0.35)


def sample_patterns(pattern: NDArray[np.int64], level: FloatImage, u: FloatImage, v: FloatImage) -> FloatImage:
    """Return the weights of ``pattern`` at tile coordinates (u, v), blurred to ``level``; all arrays of one shape."""
    rounded = np.clip(level + 0.5, 0, LEVELS - 1).astype(np.int64)
    column = np.floor(u * TEXELS).astype(np.int64) & (TEXELS - 1)
    row = np.floor(v * TEXELS).astype(np.int64) & (TEXELS - 1)
    texel = ((pattern * LEVELS + rounded) * TEXELS + row) * TEXELS + column
    return np.asarray(np.take(patterns(), texel), np.float32)
