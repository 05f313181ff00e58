"""What heads with a semantic branch learn from: the class of every pixel, scaled and mirrored as the image is."""

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData

from fineseg.data.panoptic import IGNORED, load_map, semantic_labels
from fineseg.data.split import ImageInfo, Split
from fineseg.errors import FinesegError


def refuse_unlabelled(split: Split) -> None:
    """Raise `FinesegError` for a split that does not say which class each pixel is of, or has too many classes."""
    lacking = [image.id for image in split.images if image.id not in split.panoptic]
    if not split.stuff or lacking:
        which = f"image {lacking[0]} has no panoptic map" if split.stuff else "it has no stuff classes"
        raise FinesegError(
            f"split '{split.name}': {which}, and the model's head learns the class of every pixel; use panoptic data, "
            "or the head without its semantic branch"
        )
    if len(split.panoptic_categories) > IGNORED:
        raise FinesegError(
            f"split '{split.name}': {len(split.panoptic_categories)} classes of things and stuff; a head that learns "
            f"the class of every pixel takes {IGNORED} at most"
        )


def read_labels(split: Split, image: ImageInfo) -> np.ndarray:
    """Return the label of each pixel of an image, uint8 [H, W]: things, then stuff, 255 where nothing is known."""
    return semantic_labels(load_map(split.panoptic[image.id], image))


def semantic_truth(labels: np.ndarray, size: tuple[int, int], *, flip: bool) -> PixelData:
    """Pack labels uint8 [H, W] as mmdet's semantic heads want them: `sem_seg` [1, height, width] of `size`.

    Pixels are picked, not blended, and the same ones as of the masks of instances.
    """
    scaled = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    scaled = scaled[:, ::-1] if flip else scaled
    return PixelData(sem_seg=torch.from_numpy(np.ascontiguousarray(scaled))[None])
