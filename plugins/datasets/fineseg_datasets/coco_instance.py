"""Data set `coco-instance`: anyone's COCO instances files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fineseg import FinesegError, Split
from fineseg.data.coco import read_coco
from fineseg_datasets.options import SPLIT, CocoInstanceOptions


def read(options: CocoInstanceOptions, root: Path, split: str) -> Split:
    """Read one split; raises `FinesegError`."""
    annotations = root / fill(options.annotations, split, "annotations")
    if not annotations.exists() and isinstance(options.annotations, str):
        raise FinesegError(f"{annotations}: no such file; splits at hand: {', '.join(find(root, options.annotations))}")
    found = read_coco(annotations, root / fill(options.images, split, "images"), split, group=options.group)
    return found if options.classes is None else keep_classes(found, options.classes, str(annotations))


def fill(pattern: str | Mapping[str, str], split: str, option: str) -> str:
    """Return a split's path from a pattern or a table; `option` names it in messages."""
    if isinstance(pattern, str):
        return pattern.replace(SPLIT, split)
    if split not in pattern:
        raise FinesegError(f"{option} says nothing of split '{split}'; it has {', '.join(pattern) or 'nothing'}")
    return pattern[split]


def find(root: Path, pattern: str) -> list[str]:
    """Return the names of the splits whose file, of the pattern, is there; `none` if there are none."""
    if Path(pattern).is_absolute():
        return ["none"]
    name = re.compile(re.escape(pattern).replace(re.escape(SPLIT), "([^/]+)", 1).replace(re.escape(SPLIT), r"\1"))
    try:
        files = [file.relative_to(root).as_posix() for file in root.glob(pattern.replace(SPLIT, "*"))]
    except (ValueError, IndexError):  # a pattern that means nothing, such as `**a` or `.`
        return ["none"]
    return sorted(match[1] for match in map(name.fullmatch, files) if match and match.groups()) or ["none"]


def keep_classes(split: Split, names: tuple[str, ...], source: str) -> Split:
    """Return the split with only the classes of these names, numbered anew in order of their ids; all images stay."""
    known = {category.name for category in split.categories}
    for name in names:
        if name not in known:
            raise FinesegError(f"{source}: has no class '{name}'; its classes: {', '.join(sorted(known))}")
    kept = [label for label, category in enumerate(split.categories) if category.name in names]
    labels = {old: new for new, old in enumerate(kept)}
    objects = {
        image_id: tuple(replace(o, label=labels[o.label]) for o in objects if o.label in labels)
        for image_id, objects in split.objects.items()
    }
    return replace(split, categories=tuple(split.categories[label] for label in kept), objects=objects)
