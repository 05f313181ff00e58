"""Cutting a split into folds: groups whole, sizes even, every class in every fold where that can be.

Letters: N images, I groups, C classes, K folds. An image that belongs to no group is a group of its own.
"""

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data.json_entries import document_of, kind_of, load_json, shown, shown_ids
from fineseg.data.split import Split
from fineseg.errors import FinesegError


@dataclass(frozen=True)
class Folds:
    """Which of `count` folds, counted from 0, each image of a split is in, by image id."""

    count: int
    of: Mapping[int, int]

    def images(self, fold: int) -> list[int]:
        """Return the ids of the images of one fold."""
        return [image for image, own in self.of.items() if own == fold]


def assign_folds(classes: Sequence[Collection[int]], groups: Sequence[Hashable], folds: int, seed: int) -> list[int]:
    """Return the fold of each image [N], from the classes that occur in it and the group that it belongs to.

    The rarest class is dealt out first, as in iterative stratification (Sechidis et al., ECML 2011), to the fold that
    lacks it most. Folds differ in size by at most as many images as the largest group has: by one where there are no
    groups. A class of at least K groups is in every fold where images have one class each; where they have several,
    exchanges of two groups mend what dealing has missed, and `absent_classes` tells what cannot be mended.

    Raises `FinesegError` for more folds than groups.
    """
    presence, sizes, group_of = _tables(classes, groups)
    if folds > len(sizes):
        what = "images" if len(sizes) == len(classes) else f"groups of the {len(classes)} images"
        raise FinesegError(f"{folds} folds cannot be cut from {len(sizes)} {what}; give a smaller number")
    dealt = _mend(presence, sizes, _deal(presence, sizes, folds, np.random.default_rng(seed)), folds)
    return [int(dealt[group]) for group in group_of]


def absent_classes(
    classes: Sequence[Collection[int]], groups: Sequence[Hashable], assigned: Sequence[int], folds: int
) -> list[tuple[int, int]]:
    """Return (class, fold) of every class that a fold lacks, though it has at least as many groups as there are folds.

    `assigned` are the folds of the images [N], which divide no group.
    """
    presence, sizes, group_of = _tables(classes, groups)
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    fold_of[group_of] = assigned
    return [(int(label), int(fold)) for label, fold in np.argwhere(_absent(presence, fold_of, folds))]


def _tables(classes: Sequence[Collection[int]], groups: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return which group has which class [I, C], how many images each has [I], and the group of each image [N]."""
    numbers: dict[Hashable, int] = {}
    group_of = [numbers.setdefault(group, len(numbers)) for group in groups]
    presence = np.zeros((len(numbers), 1 + max((max(own) for own in classes if own), default=-1)), dtype=bool)
    for group, own in zip(group_of, classes, strict=True):
        presence[group, list(own)] = True
    return presence, np.bincount(group_of, minlength=len(numbers)), group_of


def _deal(presence: np.ndarray, sizes: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each group [I], dealt class by class, at each turn the one with the fewest groups left."""
    fold_of = np.full(len(sizes), -1)
    have, load = np.zeros((presence.shape[1], folds), dtype=np.int64), np.zeros(folds, dtype=np.int64)
    left = presence.sum(axis=0)
    while (fold_of < 0).any():
        label = int(np.argmin(np.where(left > 0, left, len(sizes) + 1))) if left.any() else None
        waiting = (fold_of < 0) if label is None else (fold_of < 0) & presence[:, label]
        members = rng.permutation(np.flatnonzero(waiting))
        for group in members[np.argsort(-sizes[members], kind="stable")]:  # large ones first: small ones even out
            own = presence[group]
            has = have[label] if label is not None else np.zeros(folds)
            news = (have[own] == 0).sum(axis=0)
            order = np.lexsort((rng.random(folds), load, -news, has, ~_open_folds(load, sizes[group], sizes)))
            fold_of[group] = order[0]
            have[own, order[0]] += 1
            load[order[0]] += sizes[group]
            left = left - own
    return fold_of


def _open_folds(load: np.ndarray, size: int, sizes: np.ndarray) -> np.ndarray:
    """Return which folds [K] can take a group and leave no two further apart than the largest group is large.

    The smallest one always can.
    """
    after = load[None, :] + size * np.eye(len(load), dtype=np.int64)
    return np.asarray(after.max(axis=1) - after.min(axis=1) <= sizes.max())


def _absent(presence: np.ndarray, fold_of: np.ndarray, folds: int) -> np.ndarray:
    """Return which class [C, K] is absent from which fold though it has enough groups for all."""
    have = np.stack([presence[fold_of == fold].sum(axis=0) for fold in range(folds)], axis=1)
    return np.asarray((have == 0) & (presence.sum(axis=0) >= folds)[:, None])


def _mend(presence: np.ndarray, sizes: np.ndarray, fold_of: np.ndarray, folds: int) -> np.ndarray:
    """Exchange groups while that puts more classes into more folds."""
    fold_of = fold_of.copy()
    while True:
        pair = _exchange(presence, sizes, fold_of, folds)
        if pair is None:
            return fold_of
        fold_of[list(pair)] = fold_of[list(pair[::-1])]


def _exchange(presence: np.ndarray, sizes: np.ndarray, fold_of: np.ndarray, folds: int) -> tuple[int, int] | None:
    """Return two groups whose exchange leaves fewer classes absent and the sizes as even, or None."""
    absent = _absent(presence, fold_of, folds)
    eligible = presence.sum(axis=0) >= folds
    load = np.bincount(fold_of, weights=sizes, minlength=folds)
    for label, fold in np.argwhere(absent):
        others = np.flatnonzero(fold_of == fold)
        here = presence[others].sum(axis=0)
        for group in np.flatnonzero(presence[:, label]):
            from_fold = fold_of[group]
            there = presence[fold_of == from_fold].sum(axis=0)
            change = presence[group].astype(np.int64) - presence[others]  # what `fold` gains and `from_fold` loses
            after = ((here + change == 0) & eligible).sum(axis=1) + ((there - change == 0) & eligible).sum(axis=1)
            loads = np.repeat(load[None], len(others), axis=0)
            loads[:, fold] += sizes[group] - sizes[others]
            loads[:, from_fold] -= sizes[group] - sizes[others]
            even = loads.max(axis=1) - loads.min(axis=1) <= sizes.max()
            better = even & (after < absent[:, fold].sum() + absent[:, from_fold].sum())
            if better.any():
                return int(group), int(others[np.flatnonzero(better)[0]])
    return None


# ------------------------------------------------------------------------ the file


def read_folds(path: Path, split: Split) -> Folds:
    """Read a fold file: an object whose `images` say of every image id of the split, once, which fold it is in.

    Folds are counted from 0, and none of them is empty. Raises `FinesegError`.
    """
    top = document_of(load_json(path), str(path), "images, a table of image ids and their folds")
    rows = top.get("images")
    if not isinstance(rows, dict):
        raise top.fault(f"images must be a table of image ids and their folds, not {kind_of(rows)}")
    known = {str(image.id): image.id for image in split.images}
    for name, fold in rows.items():
        if name not in known:
            raise top.fault(f"images: {shown(name)} is no image of split '{split.name}'")
        if type(fold) is not int or fold < 0:
            raise top.fault(f"images: the fold of image {name} is {shown(fold)}; it must be a whole number from 0 on")
    if absent := sorted(number for name, number in known.items() if name not in rows):
        raise top.fault(f"images lacks {shown_ids(absent)} of split '{split.name}'; each image is in one fold")
    _refuse_twice(path)
    count = 1 + max(rows.values(), default=0)
    if count < 2:
        raise top.fault("images: all are in one fold; it takes 2 or more")
    if empty := sorted(set(range(min(count, len(rows) + 1))) - set(rows.values())):
        raise top.fault(f"images: fold {empty[0]} has no image, fold {count - 1} has; leave no number out")
    if top.has("folds") and top.get("folds") != count:
        raise top.fault(f"folds is {shown(top.get('folds'))}, yet images are in {count} folds")
    return Folds(count, {image.id: rows[str(image.id)] for image in split.images})


def _refuse_twice(path: Path) -> None:
    """Refuse a table that says something twice: of two folds of one image a reader would silently take the last."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise FinesegError(f"{path}: {shown(twice)} stands there twice; each image is in one fold")
        return table

    json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)


def divided_group(split: Split, groups: Sequence[Hashable], folds: Folds) -> tuple[int, int] | None:
    """Return the ids of two images of one group, of those of the split's images [N], in two folds; None: no such."""
    first: dict[Hashable, int] = {}
    for image, group in zip(split.images, groups, strict=True):
        other = first.setdefault(group, image.id)
        if folds.of[image.id] != folds.of[other]:
            return other, image.id
    return None
