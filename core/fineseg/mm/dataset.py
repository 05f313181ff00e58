"""A split as a torch dataset of mmdet samples: resize, flip, ground truth as boxes, masks and labels of all pixels."""

from typing import Any

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from fineseg.data import masks as rle_masks
from fineseg.data.split import ImageInfo, Split, TrueObject
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.semantic import read_labels, semantic_truth
from fineseg.profile.schema import TrainTable


class TrainingImages(Dataset[dict[str, Any]]):
    """Images that hold at least one object that is not a crowd, each with a random size and flip.

    With `semantic` samples also say which class each pixel is of, and every image counts, for there is stuff in it.
    Randomness comes from numpy's and Python's global state, which the trainer seeds at every epoch.
    """

    metainfo: dict[str, Any]

    def __init__(self, split: Split, train: TrainTable, *, semantic: bool = False) -> None:
        self.split = split
        self.train = train
        self.semantic = semantic
        self.images = [i for i in split.images if semantic or any(not o.crowd for o in split.objects_of(i.id))]
        self.metainfo = {"classes": tuple(category.name for category in split.categories)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index]
        pixels = read_image(image.file)
        low, high = self.train.short_side
        height, width = pixels.shape[:2]
        size = fit_size(height, width, self.train.long_side, int(np.random.randint(low, high + 1)))
        flip = bool(np.random.random() < self.train.flip)
        objects = [o for o in self.split.objects_of(image.id) if not o.crowd]
        sample = _sample(image, pixels, objects, size, flip)
        if self.semantic:
            sample["data_samples"].gt_sem_seg = semantic_truth(read_labels(self.split, image), size, flip=flip)
        return sample


def _sample(
    image: ImageInfo, pixels: np.ndarray, objects: list[TrueObject], size: tuple[int, int], flip: bool
) -> dict[str, Any]:
    """Pack one image [H, W, 3] and its objects, scaled to `size` and mirrored where `flip`, as mmdet wants them."""
    height, width = size
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    masks = np.zeros((len(objects), height, width), dtype=np.uint8)
    for number, each in enumerate(objects):
        masks[number] = _scaled_mask(each, image, size)
    scale = np.array([width / image.width, height / image.height] * 2)
    boxes = np.array([o.box for o in objects], dtype=np.float64).reshape(-1, 4) * scale
    boxes = boxes.clip(0, [width, height, width, height])
    if flip:
        scaled, masks = scaled[:, ::-1], masks[:, :, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    truth = InstanceData(
        bboxes=torch.from_numpy(boxes.astype(np.float32)),
        labels=torch.tensor([o.label for o in objects], dtype=torch.long),
        masks=BitmapMasks(np.ascontiguousarray(masks), height, width),
    )
    sample = DetDataSample(
        metainfo={
            "img_id": image.id,
            "img_path": str(image.file),
            "ori_shape": (image.height, image.width),
            "img_shape": (height, width),
            "scale_factor": (float(scale[0]), float(scale[1])),
        },
        gt_instances=truth,
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)),
    )
    channels_first = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))
    return {"inputs": channels_first, "data_samples": sample}


def _scaled_mask(true_object: TrueObject, image: ImageInfo, size: tuple[int, int]) -> np.ndarray:
    rle = rle_masks.to_rle(true_object.segmentation, image.height, image.width)
    mask = rle_masks.decode(rle["counts"], image.height, image.width).astype(np.uint8)
    return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST))
