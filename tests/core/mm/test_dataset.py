"""Training samples: masks, boxes and pixels move together."""

import numpy as np
import pytest
import torch

from fineseg.data.masks import decode, to_rle
from fineseg.data.split import Split
from fineseg.mm.dataset import TrainingImages
from fineseg.mm.images import fit_size, read_image
from fineseg.profile.schema import TrainTable


def table(**changes: object) -> TrainTable:
    return TrainTable.model_validate(
        {"epochs": 1, "lr": 1.0, "long_side": 96, "short_side": [80, 80], "flip": 0, **changes}
    )


def test_at_its_own_size_a_sample_is_the_annotation(rooms: Split) -> None:
    dataset = TrainingImages(rooms, table())
    for index, image in enumerate(dataset.images):
        sample = dataset[index]
        truth = sample["data_samples"].gt_instances
        assert np.array_equal(sample["inputs"].numpy().transpose(1, 2, 0), read_image(image.file))
        for number, true_object in enumerate(rooms.objects_of(image.id)):
            rle = to_rle(true_object.segmentation, image.height, image.width)
            assert np.array_equal(truth.masks.masks[number], decode(rle["counts"], image.height, image.width))
            assert truth.bboxes[number].tolist() == pytest.approx(true_object.box)
            assert truth.labels[number] == true_object.label


def test_a_flip_mirrors_everything(rooms: Split) -> None:
    plain, flipped = TrainingImages(rooms, table())[0], TrainingImages(rooms, table(flip=1.0))[0]
    a, b = plain["data_samples"].gt_instances, flipped["data_samples"].gt_instances
    assert torch.equal(flipped["inputs"], plain["inputs"].flip(2))
    assert np.array_equal(b.masks.masks, a.masks.masks[:, :, ::-1])
    width = plain["inputs"].shape[2]
    assert torch.equal(b.bboxes[:, 0], width - a.bboxes[:, 2])


def test_sizes_are_drawn_from_the_range_and_boxes_follow_the_masks(rooms: Split) -> None:
    np.random.seed(0)
    dataset = TrainingImages(rooms, table(long_side=200, short_side=[40, 160]))
    shorter = set()
    for _ in range(5):
        for index in range(len(dataset)):
            sample = dataset[index]
            height, width = sample["inputs"].shape[1:]
            shorter.add(min(height, width))
            truth = sample["data_samples"].gt_instances
            for mask, box in zip(truth.masks.masks, truth.bboxes.tolist(), strict=True):
                ys, xs = np.nonzero(mask)
                if len(xs):
                    assert box[0] - 1.5 <= xs.min() and xs.max() + 1 <= box[2] + 1.5
                    assert box[1] - 1.5 <= ys.min() and ys.max() + 1 <= box[3] + 1.5
    assert len(shorter) > 10 and min(shorter) >= 40 and max(shorter) <= 160


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((1200, 1200), (1400, 1200), (1200, 1200)),
        ((480, 640), (1333, 800), (800, 1067)),
        ((100, 1000), (500, 400), (50, 500)),
    ],
)
def test_fit_size(size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(*size, *limits) == expected
