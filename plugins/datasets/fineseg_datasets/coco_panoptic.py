"""Data set `coco-panoptic`: anyone's COCO panoptic files, JSON and PNGs."""

from pathlib import Path

from fineseg import FinesegError, Split
from fineseg.data.panoptic_json import read_panoptic
from fineseg_datasets.coco_instance import fill, find
from fineseg_datasets.options import CocoPanopticOptions


def read(options: CocoPanopticOptions, root: Path, split: str) -> Split:
    """Read one split: its things as instances, its maps by path; raises `FinesegError`."""
    annotations = root / fill(options.annotations, split, "annotations")
    if not annotations.exists() and isinstance(options.annotations, str):
        raise FinesegError(f"{annotations}: no such file; splits at hand: {', '.join(find(root, options.annotations))}")
    maps, images = (root / fill(getattr(options, name), split, name) for name in ("maps", "images"))
    classes = None if options.classes is None else root / options.classes
    return read_panoptic(annotations, maps, images, split, classes=classes)
