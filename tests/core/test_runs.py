"""The splits of a run, and what its content keys depend on."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg import (
    Category,
    Dataset,
    FinesegError,
    ImageInfo,
    NoOptions,
    PanopticFile,
    Segment,
    Split,
    TrueObject,
)
from fineseg.catalog import Catalog, Entry
from fineseg.data.folds import Folds
from fineseg.profile import Profile, load_profile
from fineseg.runs import (
    Splits,
    environment,
    git_state,
    part_digest,
    part_key,
    prediction_key,
    read_splits,
    split_digest,
    training_key,
    wanted_splits,
)

CHAIR = Category(1, "chair")


def split_of(name: str, count: int) -> Split:
    """Return a split of images with one object each."""
    images = tuple(ImageInfo(i, Path(f"{name}/{i}.jpg"), 8, 6) for i in range(count))
    objects = {i: (TrueObject(i, 0, (0, 0, 2, 2), {"size": [6, 8], "counts": b"01"}, 4.0),) for i in range(count)}
    return Split(name, (CHAIR,), images, objects)


@pytest.fixture
def splits() -> dict[str, Split]:
    return {name: split_of(name, count) for name, count in (("train", 10), ("val", 4), ("test", 3))}


@pytest.fixture
def catalog(splits: dict[str, Split]) -> Catalog:
    """Return the toy catalog with a data set that has `splits`."""
    rest = [entry for entry in toy_catalog().entries if entry.part.name != "photos"]
    photos = Dataset("photos", "", NoOptions, read=lambda options, root, name: splits[name])
    return Catalog((*rest, Entry(photos, "toy", "toy-parts", "1.0")))


@pytest.fixture
def profile(tmp_path: Path, catalog: Catalog) -> Callable[..., Profile]:
    """Return a function that loads the toy profile with some settings."""
    file = tmp_path / "toy.toml"
    file.write_text(PROFILE)
    return lambda *settings: load_profile(file, catalog, settings=settings).profile


def ids(split: Split) -> list[int]:
    return [image.id for image in split.images]


def test_splits_of_a_profile(profile: Callable, catalog: Catalog, splits: dict[str, Split]) -> None:
    read = read_splits(profile(), catalog, Path())
    assert read == Splits(splits["train"], splits["val"], splits["val"])
    assert list(read.named()) == ["train", "val"]
    read = read_splits(profile("data.test=test"), catalog, Path())
    assert list(read.named()) == wanted_splits(profile("data.test=test")) == ["train", "val", "test"]


def test_images_are_held_out_at_random(profile: Callable, catalog: Catalog, splits: dict[str, Split]) -> None:
    def held(seed: int) -> Splits:
        return read_splits(profile(f"data.validation={{ random = 3, seed = {seed} }}"), catalog, Path())

    read = held(0)
    assert read == held(0)
    assert ids(read.validation) != ids(held(1).validation)
    assert len(read.validation.images) == 3
    assert sorted(ids(read.train) + ids(read.validation)) == ids(splits["train"])
    assert (read.train.name, read.validation.name) == ("train-rest", "train-held-out")
    assert set(read.validation.objects) == set(ids(read.validation))


def test_a_group_is_held_out_whole(profile: Callable, catalog: Catalog, splits: dict[str, Split]) -> None:
    groups = ["a", "", "b", "a", "b", "", "b", "a", "", "b"]
    images = tuple(replace(i, group=group) for i, group in zip(splits["train"].images, groups, strict=True))
    splits["train"] = replace(splits["train"], images=images)
    sizes = set()
    for seed in range(30):
        order = np.random.default_rng(seed).permutation(10)
        expected: set[int] = set()
        for number in order:
            if len(expected) < 3:
                expected |= {i for i in range(10) if i == number or (groups[i] and groups[i] == groups[number])}
        read = read_splits(profile(f"data.validation={{ random = 3, seed = {seed} }}"), catalog, Path())
        assert set(ids(read.validation)) == expected
        assert not {i.group for i in read.validation.images if i.group} & {i.group for i in read.train.images}
        sizes.add(len(expected))
    assert sizes == {3, 4, 5, 6}

    splits["train"] = replace(splits["train"], images=tuple(replace(i, group="one") for i in images))
    with pytest.raises(FinesegError) as caught:
        read_splits(profile("data.validation={ random = 3 }"), catalog, Path())
    assert str(caught.value) == (
        "data.validation.random: cannot hold out 3 of the 10 images of 'train' in whole groups; give a smaller number"
    )


def test_in_folds_all_images_are_trained_on_and_scored(
    profile: Callable, catalog: Catalog, splits: dict[str, Split]
) -> None:
    chosen = profile("data.validation={ folds = 2 }", "data.test=test", "train.final=all")
    read = read_splits(chosen, catalog, Path())
    assert read == Splits(splits["train"], splits["train"], splits["test"]) and read.everything() == splits["train"]
    folds = Folds(2, {i: i % 2 for i in range(10)})
    own = read.of_fold(folds, 1)
    assert (ids(own.train), ids(own.validation)) == ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9])
    assert (own.train.name, own.validation.name, own.test) == ("train-without-fold-1", "train-fold-1", splits["test"])
    assert read_splits(profile("data.validation={ folds = 2 }"), catalog, Path()).of_fold(folds, 0).test.name == (
        "train-fold-0"
    )


def test_a_digest_of_some_images_tells_which_and_of_what() -> None:
    digests = {part_digest(whole, chosen) for whole in ("x", "y") for chosen in ([1, 2], [2, 1], [1, 3], [])}
    assert len(digests) == 8 and part_digest("x", (1, 2)) in digests


def test_everything_is_all_labelled_images_under_new_numbers(splits: dict[str, Split]) -> None:
    whole = Splits(splits["train"], splits["val"], splits["test"]).everything()
    assert ids(whole) == list(range(1, 15)) and whole.name == "train+val"
    given = [*splits["train"].images, *splits["val"].images]
    assert [image.file for image in whole.images] == [image.file for image in given]
    objects = [*splits["train"].objects.values(), *splits["val"].objects.values()]
    assert [whole.objects_of(number) for number in ids(whole)] == objects


def test_a_training_on_all_images_chooses_nothing_on_them(profile: Callable, catalog: Catalog) -> None:
    chosen = profile("train.checkpoint=best", "train.validate_every=1", "train.final=all", "data.test=test")
    table = chosen.train_of("a", whole=True)
    assert (table.checkpoint, table.validate_every, chosen.train_of("a").checkpoint) == ("last", 0, "best")
    read = read_splits(chosen, catalog, Path())
    digests = {name: f"digest of {name}" for name in read.named()}

    def key(of: Profile, whole: bool) -> str:
        return training_key(of, catalog, "a", digests, read, whole=whole)

    assert key(chosen, True) != key(chosen, False)
    last = profile("data.test=test")
    again = profile("data.test=test", "train.final=all")
    assert keys_of(again, catalog) == keys_of(last, catalog)
    assert key(last, True) == key(chosen, True) and key(last, False) != key(last, True)


def test_faults_of_splits(profile: Callable, catalog: Catalog, splits: dict[str, Split]) -> None:
    def message(*settings: str) -> str:
        with pytest.raises(FinesegError) as caught:
            read_splits(profile(*settings), catalog, Path())
        return str(caught.value)

    assert message("data.validation={ random = 10 }") == (
        "data.validation.random: cannot hold out 10 of the 10 images of 'train'; give a smaller number"
    )
    splits["val"] = replace(splits["val"], labelled=False)
    assert message() == "data.validation: split 'val' has no annotations to score against"


def keys_of(profile: Profile, catalog: Catalog, model: str = "a") -> tuple[str, str]:
    read = read_splits(profile, catalog, Path())
    digests = {name: f"digest of {name}" for name in read.named()}
    training = training_key(profile, catalog, model, digests, read)
    return training, prediction_key(profile, catalog, model, training, "digest")


@pytest.mark.parametrize(
    ("setting", "trains_anew", "predicts_anew"),
    [
        ("train.lr=0.3", True, True),
        ("models.a.train.epochs=3", True, True),
        ("models.a.head.inner.width=9", True, True),
        ("models.a.head.inner.points=9", False, True),
        ("train.workers=2", False, False),
        ("train.cpus=2", False, False),
        ("train.keep=2", False, False),
        ("models.b.train.lr=0.3", False, False),
        ("models.a.backbone.weights=none", False, False),  # as the default says
        ("models.a.weights=none", False, False),
        ("models.a.weights=https://x/y.pth", True, True),
        ("models.b.weights=https://x/y.pth", False, False),
        ("predict.nms_iou=0.6", False, True),
        ("predict.cpus=2", False, False),
        ("models.a.predict.nms_iou=0.6", False, True),
        ('models.a.predict.tta=["turn"]', False, True),
        ("models.a.predict.nms_iou=0.5", False, False),  # as [predict] says
        ("models.b.predict.nms_iou=0.6", False, False),
        ('predict.tta=["turn"]', False, True),
        ("predict.merge_views=mean", False, False),  # no views to merge
        ("competition.title=x", False, False),
        ("combine.ensembler=mean", False, False),
        ("metric.max_detections=[1]", False, False),
    ],
)
def test_what_keys_depend_on(
    profile: Callable, catalog: Catalog, setting: str, trains_anew: bool, predicts_anew: bool
) -> None:
    before, after = keys_of(profile(), catalog), keys_of(profile(setting), catalog)
    assert (before[0] != after[0], before[1] != after[1]) == (trains_anew, predicts_anew)


def test_what_chooses_a_checkpoint_is_part_of_a_trainings_key(profile: Callable, catalog: Catalog) -> None:
    best = ("train.checkpoint=best", "train.validate_every=1")
    key = keys_of(profile(*best), catalog)[0]
    looks = ("predict.nms_iou=0.6", "models.a.predict.nms_iou=0.6")
    for setting in ("metric.max_detections=[1]", *looks, "models.a.head.inner.points=9"):
        assert keys_of(profile(*best, setting), catalog)[0] != key
    assert keys_of(profile(*best, 'predict.tta=["turn"]'), catalog)[0] == key  # validations look once


def test_views_are_part_of_a_predictions_key(profile: Callable, catalog: Catalog) -> None:
    """With all their options and the recipe's version, and with what merges them."""

    def key(*settings: str, catalog: Catalog = catalog) -> str:
        return keys_of(profile(*settings), catalog)[1]

    turned = 'predict.tta=["turn"]'
    assert key('predict.tta=[{ name = "turn", degrees = 90 }]') == key(turned)
    assert key(turned, "predict.merge_views=shared-proposals") == key(turned)
    raised = Catalog(tuple(replace(e, part=replace(e.part, recipe_version=2)) for e in catalog.entries))
    training = keys_of(profile(turned), catalog)[0]
    others = [
        prediction_key(profile(turned), raised, "a", training, "digest"),
        key('predict.tta=[{ name = "turn", degrees = 3 }]'),
        key('predict.tta=["turn", "turn"]'),
        key(turned, "predict.merge_views=mean"),
        key(),
    ]
    assert len({key(turned), *others}) == 6


def test_a_recipe_that_is_raised_and_weights_that_change(profile: Callable, catalog: Catalog, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    choice = profile(f"models.a.backbone.weights={weights}").models["a"].backbone
    first = part_key(catalog, "backbone", choice)
    assert first["options"]["depth"] == 3
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes(b"1")
    assert part_key(catalog, "backbone", choice.model_copy(update={"weights": str(moved)})) == first
    weights.write_bytes(b"2")
    assert part_key(catalog, "backbone", choice) != first
    raised = Catalog(tuple(replace(e, part=replace(e.part, recipe_version=2)) for e in catalog.entries))
    assert part_key(raised, "backbone", choice)["recipe"] == 2


def test_a_checkpoint_that_a_model_starts_from_counts_by_its_content(
    profile: Callable, catalog: Catalog, tmp_path: Path
) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"{name}.pth").write_bytes(content)
    plain, *keys = (
        keys_of(profile(*setting), catalog)[0]
        for setting in ([], *([f"models.a.weights={tmp_path / name}.pth"] for name in "abc"))
    )
    assert keys[0] == keys[1] and len({plain, *keys}) == 3


def test_a_splits_digest(splits: dict[str, Split]) -> None:
    split = splits["val"]
    hashes = {str(image.file): "h" for image in split.images}

    def digest(**changes: Any) -> str:
        return split_digest(replace(split, **changes), hashes)

    assert digest(name="other") == digest()
    assert digest(categories=(Category(1, "sofa"),)) != digest()
    assert digest(images=split.images[1:]) != digest()
    assert digest(objects={}) != digest()
    assert split_digest(split, hashes | {"val/0.jpg": "other"}) != digest()


def with_maps(split: Split) -> Split:
    maps = {
        i.id: PanopticFile(i.file.with_suffix(".png"), (Segment(5, 0, 9.0), Segment(7, 1, 4.0))) for i in split.images
    }
    return replace(split, stuff=(Category(199, "wall"),), panoptic=maps)


def test_a_panoptic_splits_digest(splits: dict[str, Split]) -> None:
    split = with_maps(splits["val"])
    hashes = {str(file): "h" for image in split.images for file in (image.file, image.file.with_suffix(".png"))}
    first = split.images[0].id

    def with_segments(*segments: Segment) -> str:
        maps = {**split.panoptic, first: PanopticFile(split.panoptic[first].file, segments)}
        return split_digest(replace(split, panoptic=maps), hashes)

    digests = [
        split_digest(split, hashes),
        split_digest(splits["val"], hashes),
        split_digest(replace(split, stuff=(Category(199, "floor"),)), hashes),
        split_digest(split, hashes | {str(split.panoptic[first].file): "other"}),
        with_segments(Segment(5, 0, 9.0)),
        with_segments(Segment(5, 1, 9.0), Segment(7, 1, 4.0)),
        with_segments(Segment(6, 0, 9.0), Segment(7, 1, 4.0)),
        with_segments(Segment(5, 0, 8.0), Segment(7, 1, 4.0)),
        with_segments(Segment(5, 0, 9.0, crowd=True), Segment(7, 1, 4.0)),
    ]
    assert len(set(digests)) == len(digests)
    assert with_segments(*split.panoptic[first].segments) == digests[0]


def test_stuff_and_maps_go_where_their_images_go(profile: Callable, catalog: Catalog, splits: dict[str, Split]) -> None:
    splits.update({name: with_maps(split) for name, split in splits.items()})
    whole = Splits(splits["train"], splits["val"], splits["test"]).everything()
    assert whole.stuff == splits["train"].stuff and list(whole.panoptic) == ids(whole)
    for image in whole.images:
        assert whole.panoptic[image.id].file == image.file.with_suffix(".png")
    read = read_splits(profile("data.validation={ random = 3, seed = 0 }"), catalog, Path())
    for split in (read.train, read.validation):
        assert (list(split.panoptic), split.stuff) == (ids(split), splits["train"].stuff)


def test_the_manifest_names_software_and_commit(catalog: Catalog, tmp_path: Path) -> None:
    found = environment(catalog)
    assert found["plugins"] == {"toy-parts": "1.0"}
    assert found["versions"]["numpy"]
    assert git_state(tmp_path) is None
    for arguments in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-mx"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert (len(state["commit"]), state["dirty"]) == (40, False)
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {**state, "dirty": True}
