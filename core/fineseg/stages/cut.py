"""cut: which image of the training split is in which fold, drawn or as a file says, kept as a file of the store."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from fineseg.data.folds import Folds, absent_classes, assign_folds, divided_group, read_folds
from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.profile.schema import HeldOutTable
from fineseg.runs import Splits, part_digest
from fineseg.stages.context import Context
from fineseg.store import content_key, write_json

FILE = "folds.json"
SHOWN = 5
"""Classes that a warning names."""


def cut_folds(
    context: Context, split: Split, digests: Mapping[str, str], hashes: Mapping[str, str]
) -> tuple[Folds, Path]:
    """Return the folds of a split and the file that tells of them; one group, and one picture, is in one fold.

    Raises `FinesegError` for fewer groups than folds, and for a given file that does not fit the split.
    """
    table = context.profile.data.validation
    if not isinstance(table, HeldOutTable) or table.folds is None:
        raise ValueError("the profile has no folds")
    groups = _groups(split, hashes)
    record: dict[str, Any] = {
        "split": split.name,
        "digest": digests[split.name],
        "folds": table.folds,
        "seed": table.seed,
        "groups": {str(image.id): image.group for image in split.images if image.group},
    }
    if isinstance(table.folds, str):
        folds = _given(Path(table.folds), split, groups)
        record |= {"folds": folds.count, "seed": None, "images": _plain(folds)}
    file = context.store.folder("folds", content_key(record)) / FILE
    if isinstance(table.folds, int):
        if file.exists():
            return read_folds(file, split), file
        with context.console.task(f"cutting {split.name} into folds"):
            folds = _draw(split, groups, table.folds, table.seed)
        record["images"] = _plain(folds)
    _warn(context, split, groups, folds)
    if not file.exists():
        write_json(file, record)
    return folds, file


def _plain(folds: Folds) -> dict[str, int]:
    return {str(image): fold for image, fold in folds.of.items()}


def _given(file: Path, split: Split, groups: list[Hashable]) -> Folds:
    """Read somebody's own folds."""
    folds = read_folds(file, split)
    if (divided := divided_group(split, groups, folds)) is not None:
        first, second = divided
        raise FinesegError(
            f"{file}: images {first} and {second} belong together (one group or one picture), yet are in folds "
            f"{folds.of[first]} and {folds.of[second]}; put them into one"
        )
    return folds


def _draw(split: Split, groups: list[Hashable], count: int, seed: int) -> Folds:
    try:
        assigned = assign_folds(_classes(split), groups, count, seed)
    except FinesegError as error:
        raise FinesegError(f"data.validation.folds: split '{split.name}': {error}") from None
    return Folds(count, {image.id: fold for image, fold in zip(split.images, assigned, strict=True)})


def _groups(split: Split, hashes: Mapping[str, str]) -> list[Hashable]:
    """Return what the images belong to [N]: their group, joined with all groups that hold one of their pictures."""
    own: list[Hashable] = [("group", i.group) if i.group else ("image", i.id) for i in split.images]
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group, image in zip(own, split.images, strict=True):
        parent[root(("picture", hashes[str(image.file)]))] = root(group)
    return [root(group) for group in own]


def _classes(split: Split) -> list[set[int]]:
    return [{found.label for found in split.objects_of(image.id) if not found.crowd} for image in split.images]


def _warn(context: Context, split: Split, groups: list[Hashable], folds: Folds) -> None:
    absent = absent_classes(_classes(split), groups, [folds.of[image.id] for image in split.images], folds.count)
    if absent:
        named = ", ".join(f"'{split.categories[label].name}' in fold {fold}" for label, fold in absent[:SHOWN])
        more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        context.console.say(f"warning: folds of '{split.name}' without a class that others have: {named}{more}")


def fold_digests(part: Splits, whole: Splits, digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of one fold's splits: they follow from that of the split that is cut."""
    cut = {split.name: split for split in (part.train, part.validation)}
    own = {name: part_digest(digests[whole.train.name], [i.id for i in split.images]) for name, split in cut.items()}
    return {**digests, **own}
