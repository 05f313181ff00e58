"""Data set `showroom`: drawn, then read through the common reader."""

from pathlib import Path

import cv2
import pytest

from fineseg import FinesegError
from fineseg.data.checks import check_data
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom import CLASSES
from fineseg_datasets.showroom_dataset import SPLITS, generate, read

OPTIONS = ShowroomOptions(train=3, val=2, test=1, size=48)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("showroom")
    for split in SPLITS:
        generate(OPTIONS, folder, split, lambda done, total: None)
    return folder


def test_splits_have_the_sizes_asked_for(root: Path) -> None:
    splits = {name: read(OPTIONS, root, name) for name in SPLITS}
    assert [len(split.images) for split in splits.values()] == [3, 2, 1]
    for split in splits.values():
        assert tuple(c.name for c in split.categories) == CLASSES
        assert split.labelled and any(split.objects.values())
        assert all(cv2.imread(str(image.file)).shape == (48, 48, 3) for image in split.images)
    assert [f for f in check_data(splits) if f.severity == "error"] == []


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate(OPTIONS, tmp_path, "val", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_defaults() -> None:
    defaults = ShowroomOptions()
    assert (defaults.train, defaults.val, defaults.test, defaults.size) == (600, 100, 60, 192)


def test_split_that_is_none(tmp_path: Path) -> None:
    for act in (lambda: generate(OPTIONS, tmp_path, "dev", print), lambda: read(OPTIONS, tmp_path, "dev")):
        with pytest.raises(FinesegError) as caught:
            act()
        assert str(caught.value) == "showroom has no split 'dev'; its splits: train, val, test"


def test_reading_what_was_never_drawn(tmp_path: Path) -> None:
    with pytest.raises(FinesegError) as caught:
        read(OPTIONS, tmp_path, "train")
    assert str(caught.value) == f"{tmp_path / 'annotations' / 'train.json'}: no such file"
