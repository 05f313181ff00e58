"""Reading and scaling images: the same two functions for training, validation and prediction."""

from pathlib import Path

import cv2
import numpy as np

from fineseg.errors import FinesegError


def read_image(path: Path) -> np.ndarray:
    """Read an image as uint8 BGR [H, W, 3]."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        reason = "cannot be decoded as an image" if path.exists() else "no such image"
        raise FinesegError(f"{path}: {reason}")
    return np.asarray(image)


def fit_size(height: int, width: int, long_side: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) scaled, aspect kept, to fit both limits [pixels]."""
    scale = min(long_side / max(height, width), short_side / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
