"""A pinhole camera and a depth buffer.

Camera axes: x to the right, y down, z forward; pixel centres at (column + 0.5, row + 0.5). Edges are tested as planes
through the eye (Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997), so faces that
reach behind the camera need no clipping. Letters: F faces, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fineseg_datasets.showroom.shapes import FloatArray

_NEAR = 0.05


@dataclass(frozen=True)
class Camera:
    """A camera at ``eye`` [3]; the rows of ``axes`` [3, 3] are right, down and forward; ``focal`` in pixels."""

    eye: FloatArray
    axes: FloatArray
    focal: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees: ``face`` int32 [H, W] (-1 = nothing) and ``depth`` float32 [H, W] along forward, metres."""

    face: NDArray[np.int32]
    depth: NDArray[np.float32]


def look_at(eye: FloatArray, target: FloatArray, focal: float, size: tuple[int, int]) -> Camera:
    """Return a level camera at ``eye`` that looks towards ``target``."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return Camera(eye, np.stack([right, np.cross(forward, right), forward]), focal, size)


def pixel_rays(camera: Camera) -> NDArray[np.float32]:
    """Return the world directions float32 [3, H, W] of the pixels, scaled to advance one metre along forward."""
    height, width = camera.size
    x = (np.arange(width) + 0.5 - width / 2) / camera.focal
    y = (np.arange(height) + 0.5 - height / 2) / camera.focal
    right, down, forward = camera.axes[:, :, None]
    across, along = (right * x + forward).astype(np.float32), (down * y).astype(np.float32)
    return np.asarray(across[:, None] + along[:, :, None], np.float32)


def _screen_planes(camera: Camera, local: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return affine functions [F, 5, 3] of (column, row, 1) and which faces [F] face the eye.

    The first function is the inverse depth, the other four are not negative inside the edges.
    """
    normal = np.cross(local[:, 2] - local[:, 0], local[:, 3] - local[:, 1])
    offset = np.einsum("fi,fi->f", normal, local[:, 0])
    facing = offset < -1e-9
    edges = np.cross(np.roll(local, -1, axis=1), local)
    inverse = normal / np.where(facing, offset, -1.0)[:, None]
    planes = np.concatenate([inverse[:, None], edges], axis=1)
    height, width = camera.size
    planes[:, :, :2] /= camera.focal
    planes[:, :, 2] += planes[:, :, 0] * (0.5 - width / 2) + planes[:, :, 1] * (0.5 - height / 2)
    return planes, facing


def _windows(camera: Camera, local: FloatArray) -> NDArray[np.int64]:
    """Return for each face the pixels it may cover [F, 4]: first column, end column, first row, end row."""
    height, width = camera.size
    depth = local[:, :, 2]
    behind = depth.min(axis=1) < _NEAR
    screen = local[:, :, :2] / np.maximum(depth, _NEAR)[:, :, None] * camera.focal + (width / 2, height / 2)
    low, high = screen.min(axis=1), screen.max(axis=1)
    low[behind], high[behind] = 0.0, (width, height)
    first = np.floor(np.clip(low - 0.5, 0, (width, height)))
    end = np.ceil(np.clip(high + 0.5, 0, (width, height)))
    return np.stack([first[:, 0], end[:, 0], first[:, 1], end[:, 1]], axis=1).astype(np.int64)


def rasterize(camera: Camera, quads: FloatArray) -> Fragments:
    """Return the nearest face of ``quads`` [F, 4, 3] at every pixel centre; faces seen from behind are not drawn."""
    height, width = camera.size
    local = (quads - camera.eye) @ camera.axes.T
    planes, facing = _screen_planes(camera, local)
    windows = _windows(camera, local)
    shown = facing & (windows[:, 0] < windows[:, 1]) & (windows[:, 2] < windows[:, 3])
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    nearest = np.zeros((height, width), np.float32)
    face = np.full((height, width), -1, np.int32)
    along_x, along_y, constant = (planes[:, :, [i]].astype(np.float32) for i in range(3))
    for index in np.flatnonzero(shown):
        x0, x1, y0, y1 = windows[index]
        across = along_x[index] * columns[x0:x1]
        down = along_y[index] * rows[y0:y1] + constant[index]
        value = down[:, :, None] + across[:, None]
        seen = (value[1:].min(axis=0) >= 0) & (value[0] > nearest[y0:y1, x0:x1])
        np.copyto(nearest[y0:y1, x0:x1], value[0], where=seen)
        np.copyto(face[y0:y1, x0:x1], np.int32(index), where=seen)
    return Fragments(face, np.asarray(1.0 / np.maximum(nearest, 1e-6), np.float32))
