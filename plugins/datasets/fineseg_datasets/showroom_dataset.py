"""Data sets `showroom` and `showroom-panoptic`: the same rooms, drawn before they are read, in two annotations."""

from collections.abc import Callable
from pathlib import Path

from fineseg import FinesegError, Split
from fineseg.data.coco import read_coco
from fineseg.data.panoptic_json import read_panoptic
from fineseg_datasets.options import ShowroomOptions

SPLITS = ("train", "val", "test")


def generate(options: ShowroomOptions, folder: Path, split: str, progress: Callable[[int, int], None]) -> None:
    """Draw a split below `folder`; `progress` is told (rooms done, rooms in all)."""
    from fineseg_datasets.showroom import write_split

    count: int = getattr(options, _known(split))
    write_split(folder, split, count, size=(options.size, options.size), seed=options.seed, on_progress=progress)


def read(options: ShowroomOptions, root: Path, split: str) -> Split:
    """Read a split that was drawn below `root`; the test split has its annotations too."""
    annotations = root / "annotations" / f"{_known(split)}.json"
    return read_coco(annotations, root / "images", split, labelled=True)


def generate_panoptic(options: ShowroomOptions, folder: Path, split: str, progress: Callable[[int, int], None]) -> None:
    """Draw a split below `folder` in COCO's panoptic format; the pictures are those of `generate`."""
    from fineseg_datasets.showroom import write_panoptic_split

    count: int = getattr(options, _known(split))
    size = (options.size, options.size)
    write_panoptic_split(folder, split, count, size=size, seed=options.seed, on_progress=progress)


def read_panoptic_rooms(options: ShowroomOptions, root: Path, split: str) -> Split:
    """Read a split that `generate_panoptic` drew below `root`; the test split has its annotations too."""
    maps = root / "annotations" / f"panoptic_{_known(split)}"
    return read_panoptic(maps.with_suffix(".json"), maps, root / "images", split, labelled=True)


def _known(split: str) -> str:
    if split not in SPLITS:
        raise FinesegError(f"showroom has no split '{split}'; its splits: {', '.join(SPLITS)}")
    return split
