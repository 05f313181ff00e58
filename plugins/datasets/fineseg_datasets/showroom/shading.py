"""Light on the faces: patterns, Lambert terms, darkened corners and shadows on the floor.

Letters: F faces, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fineseg_datasets.showroom.rasterizer import Camera, Fragments, pixel_rays
from fineseg_datasets.showroom.shapes import FloatArray
from fineseg_datasets.showroom.textures import TEXELS, Paint, sample_patterns

_SHADOW_TEXELS = 24  # per metre of floor

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Lights:
    """A lamp at ``position`` [3], daylight from the direction ``daylight`` [3], and their strengths."""

    position: FloatArray
    daylight: FloatArray
    ambient: float
    lamp: float
    sun: float
    tint: FloatArray


@dataclass(frozen=True)
class Surfaces:
    """The faces of a scene: ``quads`` [F, 4, 3], the paint number [F] of each, whether it is of the room itself [F]."""

    quads: FloatArray
    paint: NDArray[np.int64]
    shell: NDArray[np.bool_]


def floor_shadow(quads: FloatArray, item: NDArray[np.int64], lamp: FloatArray, size: tuple[float, float]) -> FloatImage:
    """Return how dark a floor of ``size`` (width, depth) is, [rows, columns] in [0, 1], below and behind each item.

    ``item`` [F] says which faces hang together; each casts the shadow of its hull, and a blurred one beneath it.
    """
    width, depth = size
    shape = (int(depth * _SHADOW_TEXELS) + 1, int(width * _SHADOW_TEXELS) + 1)
    cast, contact = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for index in np.unique(item):
        points = quads[item == index].reshape(-1, 3)
        if points[:, 1].min() < 0.5:
            ground = points[points[:, 1] < points[:, 1].min() + 0.5]
            cv2.fillConvexPoly(contact, _hull(ground[:, [0, 2]], width), 1.0)
        height = np.minimum(points[:, 1], 0.7 * lamp[1])
        stretch = (lamp[1] / (lamp[1] - height))[:, None]
        spread = lamp[[0, 2]] + (points[:, [0, 2]] - lamp[[0, 2]]) * stretch
        cv2.fillConvexPoly(cast, _hull(spread, width), 1.0)
    soft = cv2.GaussianBlur(contact, (0, 0), 0.09 * _SHADOW_TEXELS)
    return np.asarray(0.45 * soft + 0.3 * cv2.GaussianBlur(cast, (0, 0), 0.06 * _SHADOW_TEXELS), np.float32)


def _hull(points: FloatArray, width: float) -> NDArray[np.int32]:
    texels = (points + np.array([width / 2, 0.0])) * _SHADOW_TEXELS
    return np.asarray(cv2.convexHull(np.clip(np.rint(texels), -9999, 9999).astype(np.int32)), np.int32)


@dataclass(frozen=True)
class _FaceTable:
    """Per face constants, gathered per pixel afterwards; rows rather than columns because that gathers faster."""

    axes: FloatImage  # [8, F]: u axis and offset, v axis and offset, in tiles
    light: FloatImage  # [2, F]: constant light; height of the lamp above the face
    facing: FloatImage  # [F]: height of the eye above the face
    colours: FloatImage  # [6, F]: first RGB, then the way to the second
    pattern: NDArray[np.int64]
    tile: FloatImage


def _face_table(camera: Camera, surfaces: Surfaces, paints: list[Paint], lights: Lights) -> _FaceTable:
    corners = surfaces.quads
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    along = corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    up = np.cross(normal, along)
    tile = np.array([paint.tile for paint in paints])[surfaces.paint]
    origin = corners[:, 0]
    axes = [along, -(along * origin).sum(1, keepdims=True), up, -(up * origin).sum(1, keepdims=True)]
    level = (normal * origin).sum(1)
    constant = lights.ambient * (0.9 + 0.1 * normal[:, 1]) + lights.sun * np.maximum(normal @ lights.daylight, 0)
    constant += np.array([paint.glow for paint in paints])[surfaces.paint]
    above = np.maximum(normal @ lights.position - level, 0)
    colours = np.array([np.concatenate([paint.first, paint.second - paint.first]) for paint in paints]).T
    return _FaceTable(
        np.ascontiguousarray((np.concatenate(axes, axis=1) / tile[:, None]).T, np.float32),
        np.stack([constant, above]).astype(np.float32),
        np.maximum(normal @ camera.eye - level, 1e-3).astype(np.float32),
        np.ascontiguousarray(colours[:, surfaces.paint], np.float32),
        np.array([paint.pattern for paint in paints], np.int64)[surfaces.paint],
        tile.astype(np.float32),
    )


def shade(
    camera: Camera,
    fragments: Fragments,
    surfaces: Surfaces,
    paints: list[Paint],
    lights: Lights,
    shadow: FloatImage,
    extent: tuple[float, float, float],
) -> FloatImage:
    """Return linear RGB [H, W, 3] of what each pixel sees; ``extent`` is the room's (width, height, depth)."""
    table = _face_table(camera, surfaces, paints, lights)
    face = np.maximum(fragments.face, 0)
    rays = pixel_rays(camera)
    x, y, z = (ray * fragments.depth + start for ray, start in zip(rays, camera.eye.tolist(), strict=True))
    axes = [np.take(row, face) for row in table.axes]
    u = axes[0] * x + axes[1] * y + axes[2] * z + axes[3]
    v = axes[4] * x + axes[5] * y + axes[6] * z + axes[7]
    ray_length = np.sqrt(rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2])
    # A face seen aslant shows more texels per pixel; the root is a compromise between blur and shimmer.
    slant = np.sqrt(fragments.depth * ray_length / np.take(table.facing, face))
    texels = fragments.depth * slant * (TEXELS / camera.focal) / np.take(table.tile, face)
    weight = sample_patterns(np.take(table.pattern, face), np.log2(np.maximum(texels, 1e-6)), u, v)
    constant, above = (np.take(row, face) for row in table.light)
    lamp_x, lamp_y, lamp_z = lights.position.tolist()
    away = np.square(x - lamp_x) + np.square(y - lamp_y) + np.square(z - lamp_z)
    lamp = lights.lamp * above / (np.sqrt(away) * (1.0 + 0.12 * away) + 0.05)
    bright = (constant + lamp) * _occlusion(x, y, z, np.take(surfaces.shell, face), shadow, extent)
    first, change = table.colours[:3], table.colours[3:]
    channels = [
        (np.take(first[index], face) + weight * np.take(change[index], face)) * (bright * tint)
        for index, tint in enumerate(lights.tint.tolist())
    ]
    return np.stack(channels, axis=2)


def _occlusion(
    x: FloatImage,
    y: FloatImage,
    z: FloatImage,
    shell: NDArray[np.bool_],
    shadow: FloatImage,
    extent: tuple[float, float, float],
) -> FloatImage:
    """Return the light [H, W] that is left: less in the corners of the shell, near the floor and in shadows."""
    width, height, _ = extent
    low = 0.22 / (1 + np.square(y / 0.12))
    gaps = (width / 2 - np.abs(x), z, height - y)
    corner = sum(0.2 / (1 + np.square(gap / 0.15)) for gap in gaps)
    # A face of the shell touches one of the planes itself: that constant part is given back.
    left = 1 - low - np.where(shell, corner - 0.2, 0)
    # A linear look-up keeps near shadows from showing their texels.
    column, row = (x + width / 2) * _SHADOW_TEXELS, z * _SHADOW_TEXELS
    fallen = cv2.remap(shadow, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(left * np.where(shell & (y < 0.03), 1 - fallen, 1), np.float32)
