"""A furnished room, drawn: ``render_room(seed, size)`` depends on its arguments alone.

Letters: H rows, W columns, F faces, K things.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fineseg_datasets.showroom.catalogue import STUFF
from fineseg_datasets.showroom.layout import Hall, Placed, draw_furniture, draw_hall
from fineseg_datasets.showroom.rasterizer import Camera, Fragments, look_at, rasterize
from fineseg_datasets.showroom.shading import Lights, Surfaces, floor_shadow, shade
from fineseg_datasets.showroom.shapes import Box, FloatArray, box_quads, piece_quads, place_quads
from fineseg_datasets.showroom.textures import Paint, draw_paint, draw_view, lighten

VOID = 255
SMALLEST_SIDE = 16
_LEAST_SHARE = 0.0005
_LEAST_PIXELS = 12


@dataclass(frozen=True)
class Room:
    """One picture and its labels.

    ``image`` uint8 [H, W, 3] RGB; ``instances`` int32 [H, W], 0 = none, k = k-th thing; ``labels`` int64 [K], index
    into CLASSES; ``stuff`` uint8 [H, W], index into STUFF, 255 where a thing or an unlabelled sliver of one stands.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.int32]
    labels: NDArray[np.int64]
    stuff: NDArray[np.uint8]


@dataclass(frozen=True)
class _Scene:
    """All faces; ``owner`` [F] is an index into STUFF, or len(STUFF) + the index of the placed piece."""

    surfaces: Surfaces
    owner: NDArray[np.int64]
    paints: list[Paint]


def render_room(seed: int | np.random.SeedSequence, size: tuple[int, int]) -> Room:
    """Return the room of ``seed`` as a picture of ``size`` (height, width) in pixels.

    Raises ValueError if a side is shorter than 16 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"size {tuple(size)} is too small for a room: both sides need at least {SMALLEST_SIDE} pixels")
    # Words of the sequence rather than its children: spawning would change the caller's object.
    words = (seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)).generate_state(12)
    layout_rng, paint_rng, grain_rng = (np.random.default_rng(part) for part in words.reshape(3, 4))
    hall = draw_hall(layout_rng, size[1] / size[0])
    placed = draw_furniture(layout_rng, hall)
    scene = _build_scene(layout_rng, paint_rng, hall, placed)
    focal = 0.5 * size[1] / hall.spread
    camera = look_at(np.array(hall.eye), np.array(hall.target), focal, size)
    fragments = rasterize(camera, scene.surfaces.quads)
    image = _develop(grain_rng, _light_up(paint_rng, camera, fragments, scene, hall), fragments.face)
    return Room(image, *_label(fragments, scene, placed))


def _label(
    fragments: Fragments, scene: _Scene, placed: list[Placed]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Return instances [H, W], labels [K] and stuff [H, W]; slivers of a thing become void."""
    owner = np.where(fragments.face < 0, 0, scene.owner[fragments.face])
    least = max(_LEAST_PIXELS, _LEAST_SHARE * owner.size)
    counts = np.bincount(owner.ravel(), minlength=len(STUFF) + len(placed))[len(STUFF) :]
    kept = np.flatnonzero(counts >= least)
    number = np.zeros(len(STUFF) + len(placed), np.int32)
    number[len(STUFF) + kept] = np.arange(1, len(kept) + 1)
    labels = np.array([placed[index].kind for index in kept], np.int64)
    return number[owner], labels, np.where(owner < len(STUFF), owner, VOID).astype(np.uint8)


def _build_scene(rng: np.random.Generator, paint_rng: np.random.Generator, hall: Hall, placed: list[Placed]) -> _Scene:
    shell, owner, paint, paints = _shell(rng, paint_rng, hall)
    quads, owners, numbers = [shell], [owner], [paint]
    for index, item in enumerate(placed):
        faces, slots = piece_quads(item.piece)
        quads.append(place_quads(faces, item.turn, item.at))
        owners.append(np.full(len(faces), len(STUFF) + index))
        numbers.append(slots + len(paints))
        paints = [*paints, *_palette(paint_rng)]
    outline = np.arange(sum(map(len, quads))) < len(shell)
    surfaces = Surfaces(np.concatenate(quads), np.concatenate(numbers), outline)
    return _Scene(surfaces, np.concatenate(owners), paints)


def _palette(rng: np.random.Generator) -> list[Paint]:
    """Return the three paints of one piece of furniture: two in harmony now and then, always from the shared pool."""
    first, second, third = (draw_paint(rng) for _ in range(3))
    return [first, first if rng.random() < 0.3 else second, third]


def _quad(a: list[float], b: list[float], c: list[float], d: list[float]) -> FloatArray:
    return np.array([[a, b, c, d]], float)


def _shell(
    rng: np.random.Generator, paint_rng: np.random.Generator, hall: Hall
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64], list[Paint]]:
    """Return quads, owners, paint numbers and paints of walls, floor, ceiling, skirting, rug and window."""
    x, h, d = hall.width / 2, hall.height, hall.depth
    front = d + 1.0
    parts: list[tuple[FloatArray, str, int]] = [
        (_quad([-x, 0, 0], [x, 0, 0], [x, h, 0], [-x, h, 0]), "wall", 0),
        (_quad([-x, 0, front], [-x, 0, 0], [-x, h, 0], [-x, h, front]), "wall", 0),
        (_quad([x, 0, 0], [x, 0, front], [x, h, front], [x, h, 0]), "wall", 0),
        (_quad([-x, 0, front], [x, 0, front], [x, 0, 0], [-x, 0, 0]), "floor", 1),
        (_quad([-x, h, 0], [x, h, 0], [x, h, front], [-x, h, front]), "ceiling", 2),
    ]
    skirting = [Box((-x, 0, 0), (x, 0.09, 0.015)), Box((-x, 0, 0), (-x + 0.015, 0.09, front))]
    skirting.append(Box((x - 0.015, 0, 0), (x, 0.09, front)))
    parts.append((box_quads(skirting), "wall", 3))
    if rng.random() < 0.7:
        parts += _rug(rng, hall)
    if rng.random() < 0.75:
        parts += _window(rng, hall)
    paints = [lighten(draw_paint(paint_rng, (0.5, 1.6), 0.35), paint_rng.uniform(0.2, 0.7))]
    paints += [lighten(draw_paint(paint_rng, (0.7, 1.6), 0.6), paint_rng.uniform(0.0, 0.4))]
    paints += [lighten(draw_paint(paint_rng, (1.0, 2.0), 0.2), paint_rng.uniform(0.6, 0.95))]
    paints += [*(draw_paint(paint_rng) for _ in range(3)), draw_view(paint_rng, paint_rng.uniform(1.3, 2.2))]
    owner = np.concatenate([np.full(len(quads), STUFF.index(name)) for quads, name, _ in parts])
    number = np.concatenate([np.full(len(quads), paint) for quads, _, paint in parts])
    return np.concatenate([quads for quads, _, _ in parts]), owner, number, paints


def _rug(rng: np.random.Generator, hall: Hall) -> list[tuple[FloatArray, str, int]]:
    half_x, half_z = rng.uniform(0.7, 1.4), rng.uniform(0.6, 1.1)
    x, z = rng.uniform(-0.2, 0.2) * hall.width, rng.uniform(0.25, 0.5) * hall.depth
    outer = Box((x - half_x, 0.0, z - half_z), (x + half_x, 0.012, z + half_z))
    inner = Box((x - half_x + 0.1, 0.0, z - half_z + 0.1), (x + half_x - 0.1, 0.018, z + half_z - 0.1))
    return [(box_quads([outer]), "rug", 4), (box_quads([inner]), "rug", 5)]


def _window(rng: np.random.Generator, hall: Hall) -> list[tuple[FloatArray, str, int]]:
    """Return panes in a frame with bars, on the back wall."""
    width, height, low = rng.uniform(0.9, 1.6), rng.uniform(0.9, 1.3), rng.uniform(0.85, 1.1)
    x = rng.uniform(-0.3, 0.3) * hall.width
    half, top = width / 2, low + height
    bars = [Box((x - half, y, 0), (x + half, y + 0.05, 0.05)) for y in (low, top - 0.05, low + height * 0.6)]
    columns = np.linspace(x - half, x + half - 0.05, int(rng.integers(3, 5)))
    bars += [Box((float(c), low, 0), (float(c) + 0.05, top, 0.05)) for c in columns]
    bars.append(Box((x - half - 0.05, low - 0.03, 0), (x + half + 0.05, low, 0.1)))
    pane = Box((x - half, low, 0), (x + half, top, 0.01))
    return [(box_quads(bars), "window", 3), (box_quads([pane]), "window", 6)]


def _light_up(
    rng: np.random.Generator, camera: Camera, fragments: Fragments, scene: _Scene, hall: Hall
) -> NDArray[np.float32]:
    at = (rng.uniform(-0.25, 0.25) * hall.width, hall.height * 0.8, rng.uniform(0.35, 0.8) * hall.depth)
    daylight = np.array([rng.uniform(-0.8, 0.8), 0.6, rng.uniform(0.2, 0.8)])
    tint = 1.0 + rng.uniform(-0.07, 0.07, 3)
    strengths = (rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.75), rng.uniform(0.1, 0.35))
    lights = Lights(np.array(at), daylight / np.linalg.norm(daylight), *strengths, tint)
    things = ~scene.surfaces.shell
    item = scene.owner[things]
    shadow = floor_shadow(scene.surfaces.quads[things], item, lights.position, (hall.width, hall.depth))
    extent = (hall.width, hall.height, hall.depth)
    return shade(camera, fragments, scene.surfaces, scene.paints, lights, shadow, extent)


def _develop(rng: np.random.Generator, light: NDArray[np.float32], face: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the picture uint8 [H, W, 3]: edges between faces smoothed, exposure and grain added."""
    edge = np.zeros(face.shape, bool)
    across, down = face[:, 1:] != face[:, :-1], face[1:] != face[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    soft = cv2.GaussianBlur(light, (3, 3), 0.6)
    # A camera's own exposure: without it dark walls would leave the furniture in the dark.
    exposure = float(rng.uniform(0.42, 0.54)) / max(float(light.mean()), 0.1)
    smooth = np.where(edge[:, :, None], soft, light) * min(max(exposure, 0.9), 1.7)
    grain = rng.standard_normal(face.shape, dtype=np.float32) * rng.uniform(0.003, 0.012)
    return (np.clip(smooth + grain[:, :, None], 0, 1) * 255 + 0.5).astype(np.uint8)
