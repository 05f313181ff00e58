"""Labels of all pixels for training: what the maps say, moved as the image is, and padded with what is not known."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from panoptic_cases import categories, change, write_maps

from fineseg import FinesegError, PanopticMap, Segment, Split
from fineseg.data.panoptic_json import read_panoptic
from fineseg.mm.dataset import TrainingImages
from fineseg.mm.semantic import refuse_unlabelled
from fineseg.profile.schema import TrainTable
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic, read_panoptic_rooms

SIZE = (64, 80)


def table(**changes: object) -> TrainTable:
    return TrainTable.model_validate(
        {"epochs": 1, "lr": 1.0, "long_side": 80, "short_side": [64, 64], "flip": 0, **changes}
    )


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Two images: a chair (label 0), a crowd of beds (1), wall (2) and void; and one of wall and floor (3) alone."""
    folder: Path = tmp_path_factory.mktemp("semantic")
    first, second = np.full(SIZE, 9, np.int32), np.full(SIZE, 9, np.int32)
    first[10:40, 5:30], first[20:60, 50:79], first[:5] = 1, 2, 0
    second[30:] = 77
    maps = [
        PanopticMap(1, first, (Segment(1, 0), Segment(2, 1, crowd=True), Segment(9, 2))),
        PanopticMap(2, second, (Segment(9, 2), Segment(77, 3))),
    ]
    path = write_maps(folder, "train", maps, (62, 65, 190, 199))
    for each in maps:
        cv2.imwrite(str(folder / f"{each.image_id}.png"), np.full((*SIZE, 3), 100, np.uint8))
    rows = [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in (1, 2)]
    change(path, images=rows, categories=categories({62: True, 65: True, 190: False, 199: False}))
    return read_panoptic(path, path.with_suffix(""), folder, "train")


def labels_of(dataset: TrainingImages, index: int) -> np.ndarray:
    truth = dataset[index]["data_samples"].gt_sem_seg.sem_seg
    assert truth.shape[0] == 1 and truth.dtype == torch.uint8
    return np.asarray(truth[0].numpy())


def test_at_its_own_size_a_pixels_label_is_that_of_its_segment(split: Split) -> None:
    """The crowd is no instance, and labelled all the same."""
    dataset = TrainingImages(split, table(), semantic=True)
    found = labels_of(dataset, 0)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            chair, beds = 10 <= y < 40 and 5 <= x < 30, 20 <= y < 60 and 50 <= x < 79
            assert found[y, x] == (255 if y < 5 else 0 if chair else 1 if beds else 2)
    assert dataset[0]["data_samples"].gt_instances.labels.tolist() == [0]


def test_an_image_of_stuff_alone_counts_where_stuff_is_learnt(split: Split) -> None:
    assert [image.id for image in TrainingImages(split, table()).images] == [1]
    assert "gt_sem_seg" not in TrainingImages(split, table())[0]["data_samples"]
    dataset = TrainingImages(split, table(), semantic=True)
    assert len(dataset) == 2
    sample = dataset[1]["data_samples"]
    truth = sample.gt_instances
    assert (len(truth), truth.bboxes.shape, truth.masks.masks.shape) == (0, (0, 4), (0, *SIZE))
    np.testing.assert_array_equal(np.unique(labels_of(dataset, 1)[:30]), [2])
    np.testing.assert_array_equal(np.unique(labels_of(dataset, 1)[30:]), [3])


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_labels_move_with_the_image_and_its_masks(flip: float, tmp_path: Path) -> None:
    """Drawn rooms at sizes of all kinds: each instance's mask has its label, and no other thing has."""
    options = ShowroomOptions(train=6, size=96)
    generate_panoptic(options, tmp_path, "train", lambda *_: None)
    rooms = read_panoptic_rooms(options, tmp_path, "train")
    np.random.seed(0)
    dataset = TrainingImages(rooms, table(long_side=300, short_side=[40, 150], flip=flip), semantic=True)
    sizes = set()
    for index in [*range(len(dataset))] * 3:
        sample = dataset[index]
        labels = sample["data_samples"].gt_sem_seg.sem_seg[0].numpy()
        truth = sample["data_samples"].gt_instances
        assert labels.shape == tuple(sample["inputs"].shape[1:]) == truth.masks.masks.shape[1:]
        expected = np.zeros_like(labels, dtype=bool)
        for mask, label in zip(truth.masks.masks.astype(bool), truth.labels.tolist(), strict=True):
            assert set(np.unique(labels[mask])) <= {label}
            expected |= mask
        np.testing.assert_array_equal(labels < len(rooms.categories), expected)
        sizes.add(labels.shape)
    assert len(sizes) > 5


def test_splits_without_labels_of_pixels_are_refused(split: Split) -> None:
    refuse_unlabelled(split)
    for other, what in (
        (replace(split, stuff=(), panoptic={}), "split 'train': it has no stuff classes, and the model's head learns"),
        (
            replace(split, panoptic={1: split.panoptic[1]}),
            "split 'train': image 2 has no panoptic map, and the",
        ),
    ):
        with pytest.raises(FinesegError, match=re.escape(what)):
            refuse_unlabelled(other)
