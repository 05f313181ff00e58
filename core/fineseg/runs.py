"""What a run is made of: the splits it reads, the content keys its results stand under, the manifest it leaves."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from importlib import metadata
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.catalog import Catalog
from fineseg.data.folds import Folds
from fineseg.data.split import ImageInfo, Split
from fineseg.errors import FinesegError
from fineseg.parts import Head
from fineseg.profile.schema import NOT_IN_KEYS, HeldOutTable, ModelTable, PartChoice, Profile
from fineseg.store import content_key, file_hash


@dataclass(frozen=True)
class Splits:
    """The three roles that splits play in a run.

    With folds the whole training split is also the validation split; `of_fold` are the roles of one fold's training.
    """

    train: Split
    validation: Split
    test: Split

    def named(self) -> dict[str, Split]:
        """Return the splits by name, each once."""
        return {split.name: split for split in (self.train, self.validation, self.test)}

    def everything(self) -> Split:
        """Return all labelled images as one split to train on.

        Images are numbered anew where two files are put together: they may use one id for two images.
        """
        if self.validation.name == self.train.name:
            return self.train
        images: list[ImageInfo] = []
        objects, panoptic = {}, {}
        for split in (self.train, self.validation):
            for image in split.images:
                images.append(replace(image, id=len(images) + 1))
                objects[len(images)] = split.objects_of(image.id)
                if image.id in split.panoptic:
                    panoptic[len(images)] = split.panoptic[image.id]
        name = f"{self.train.name}+{self.validation.name}"
        return replace(self.train, name=name, images=tuple(images), objects=objects, panoptic=panoptic)

    def of_fold(self, folds: Folds, fold: int) -> "Splits":
        """Return the splits of the training that leaves one fold out: that fold is what it is scored on."""
        held = set(folds.images(fold))
        rest = [image.id for image in self.train.images if image.id not in held]
        left_out = self.train.select(held, f"{self.train.name}-fold-{fold}")
        test = left_out if self.test.name == self.train.name else self.test
        return Splits(self.train.select(rest, f"{self.train.name}-without-fold-{fold}"), left_out, test)


def wanted_splits(profile: Profile) -> list[str]:
    """Return the names of the data set's own splits that a profile reads."""
    data = profile.data
    names = [data.train]
    names += [data.validation] if isinstance(data.validation, str) else []
    names += [data.test] if data.test is not None else []
    return list(dict.fromkeys(names))


def read_splits(profile: Profile, catalog: Catalog, root: Path) -> Splits:
    """Read the splits that a profile names below the data's root.

    Raises `FinesegError` for a held-out part as large as the split; whether their classes agree is for the checks.
    """
    part, options = catalog.choose("dataset", profile.data.dataset.name, profile.data.dataset.options)
    read = {name: part.read(options, root, name) for name in wanted_splits(profile)}
    train, validation = _hold_out(read[profile.data.train], profile, read)
    test = read[profile.data.test] if profile.data.test is not None else validation
    if not validation.labelled:
        raise FinesegError(f"data.validation: split '{validation.name}' has no annotations to score against")
    return Splits(train, validation, test)


def _hold_out(train: Split, profile: Profile, read: Mapping[str, Split]) -> tuple[Split, Split]:
    chosen = profile.data.validation
    if not isinstance(chosen, HeldOutTable):
        return train, read[chosen]
    if chosen.random is None:
        return train, train
    held = _draw(train, chosen.random, chosen.seed)
    if len(held) >= len(train.images):
        whole = "" if chosen.random >= len(train.images) else " in whole groups"
        raise FinesegError(
            f"data.validation.random: cannot hold out {chosen.random} of the {len(train.images)} images of "
            f"'{train.name}'{whole}; give a smaller number"
        )
    rest = [image.id for image in train.images if image.id not in held]
    return train.select(rest, f"{train.name}-rest"), train.select(held, f"{train.name}-held-out")


def _draw(split: Split, count: int, seed: int) -> set[int]:
    """Return the ids of `count` images, or of more where the group of the last one drawn has more."""
    groups: dict[str, list[int]] = {}
    for image in split.images:
        groups.setdefault(image.group, []).append(image.id)
    drawn: set[int] = set()
    for index in np.random.default_rng(seed).permutation(len(split.images)):
        if len(drawn) >= count:
            break
        image = split.images[index]
        drawn.update(groups[image.group] if image.group else [image.id])
    return drawn


def part_key(catalog: Catalog, kind: str, choice: PartChoice) -> dict[str, Any]:
    """Return what of a part goes into a content key: name, all options with their defaults, recipe version.

    A weights file counts by its content.
    """
    part, options = catalog.choose(kind, choice.name, choice.options)
    values = options.model_dump(mode="json")
    if isinstance(weights := values.get("weights"), str):
        values["weights"] = _content(weights)
    return {"name": part.name, "options": values, "recipe": part.recipe_version}


def trained_head_key(catalog: Catalog, choice: PartChoice) -> dict[str, Any]:
    """Return `part_key` of a head without the options that its training does not read."""
    key = part_key(catalog, "head", choice)
    for name in _prediction_only(catalog, choice):
        *tables, last = name.split(".")
        del reduce(getitem, tables, key["options"])[last]
    return key


def _prediction_only(catalog: Catalog, choice: PartChoice) -> tuple[str, ...]:
    part, _ = catalog.choose("head", choice.name, choice.options)
    return part.prediction_only if isinstance(part, Head) else ()


def model_key(catalog: Catalog, model: ModelTable, *, trained: bool) -> dict[str, Any]:
    """Return what of a model's parts goes into a content key; of its heads what matters to its weights if `trained`.

    Ends count by their order; what they are called says nothing of what they learn.
    """
    head_key = trained_head_key if trained else partial(part_key, kind="head")
    heads = [head_key(catalog, choice=choice) for choice in model.heads.values()]
    return {
        "backbone": part_key(catalog, "backbone", model.backbone),
        "neck": part_key(catalog, "neck", model.neck),
        **({"ends": heads} if model.ends else {"head": heads[0]}),
    }


def _content(weights: str) -> str:
    return file_hash(Path(weights)) if Path(weights).is_file() else weights


def split_digest(split: Split, file_hashes: Mapping[str, str]) -> str:
    """Return a hash of a split's classes, images and panoptic maps (by content) and annotations."""
    digest = hashlib.sha256()
    digest.update(json.dumps([[c.id, c.name] for c in split.categories]).encode())
    if split.stuff:
        digest.update(json.dumps([[c.id, c.name] for c in split.stuff]).encode())
    for image in split.images:
        objects = [[o.label, o.box, o.segmentation, o.area, o.crowd] for o in split.objects_of(image.id)]
        row = [image.id, file_hashes[str(image.file)], image.width, image.height, objects]
        if image.id in split.panoptic:
            panoptic = split.panoptic[image.id]
            row += [file_hashes[str(panoptic.file)], [[s.id, s.label, s.area, s.crowd] for s in panoptic.segments]]
        digest.update(json.dumps(row, default=_text).encode())
    return digest.hexdigest()


def part_digest(whole: str, image_ids: Iterable[int]) -> str:
    """Return the digest of some images of a split whose digest is `whole`."""
    return hashlib.sha256(json.dumps([whole, *image_ids]).encode()).hexdigest()


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def training_key(
    profile: Profile, catalog: Catalog, model: str, digests: Mapping[str, str], splits: Splits, *, whole: bool = False
) -> str:
    """Return the content key of one model's training, on the training split or on the `whole` labelled data."""
    table = profile.models[model]
    train = profile.train_of(model, whole=whole).model_dump(mode="json", exclude=set(NOT_IN_KEYS))
    key: dict[str, Any] = {
        "parts": model_key(catalog, table, trained=True),
        "train": train,
        "data": [digests[splits.train.name], digests[splits.validation.name]],
    }
    if table.ends:
        key["parts"]["phases"] = table.phases
    if table.balancer is not None:
        key["parts"]["balancer"] = part_key(catalog, "task-balancer", table.balancer)
    if table.losses:
        key["parts"]["losses"] = {slot: part_key(catalog, "loss", each) for slot, each in table.losses.items()}
    if table.weights is not None:
        key["weights"] = _content(table.weights)
    if whole:
        key["whole"] = True
    if train["validate_every"] or train["checkpoint"] == "best":
        key["validation"] = [profile.metric.model_dump(mode="json"), predict_key(profile, model)]
        key["validation"] += [part_key(catalog, "head", choice) for choice in table.heads.values()]
        key["validation"] += ["all outputs"] if profile.competition.task == "panoptic" else []
    return content_key(key)


def predict_key(profile: Profile, model: str) -> dict[str, Any]:
    """Return what of `[predict]` changes what a model says of the plain view, which is all that a validation takes."""
    return profile.predict_of(model).model_dump(mode="json", exclude={"cpus", "tta", "merge_views", "semantic"})


def prediction_key(profile: Profile, catalog: Catalog, model: str, training: str, digest: str) -> str:
    """Return the content key of the predictions of one split by one model, or by one end, MODEL/END, of it."""
    key: dict[str, Any] = {"training": training, "predict": predict_key(profile, model), "split": digest}
    owner, end = profile.model_of(model), profile.end_of(model)
    heads = profile.models[owner].heads
    head = heads[end]
    if end:
        key["end"] = list(heads).index(end)
    if _prediction_only(catalog, head):
        key["head"] = part_key(catalog, "head", head)
    predict = profile.predict_of(model)
    if profile.competition.task == "panoptic":
        key["panoptic"] = predict.semantic
    if predict.tta:
        merge = predict.merge_views
        key["tta"] = [part_key(catalog, "tta", choice) for choice in predict.tta]
        key["merge_views"] = part_key(catalog, "ensembler", merge) if isinstance(merge, PartChoice) else merge
    return content_key(key)


def environment(catalog: Catalog) -> dict[str, Any]:
    """Return what a manifest records of the machine and the software; none of it is part of a content key."""
    names = ["torch", "onedl-mmcv", "onedl-mmdetection", "onedl-mmengine", "ray", "numpy", "pycocotools"]
    plugins = {f"{entry.distribution}": entry.version for entry in catalog.entries}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "versions": {name: _version(name) for name in ["fineseg", *names]},
        "plugins": plugins,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag of the repository that a profile lies in, or None where there is none."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
