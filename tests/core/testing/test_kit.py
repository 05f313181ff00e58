"""The conformance kit sees the faults that it looks for: one planted in a sound part at a time."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, Field

from fineseg import (
    TTA,
    Dataset,
    Ensembler,
    FinesegError,
    FuserInput,
    Instances,
    NoOptions,
    Options,
    PanopticEnd,
    PanopticFuser,
    PanopticMap,
    Segment,
    Split,
    Submission,
    View,
    make_instances,
)
from fineseg.catalog import Entry
from fineseg.coco_results import instances_of_results, write_coco_results
from fineseg.data.json_entries import load_json
from fineseg.data.masks import encode
from fineseg.parts import Part
from fineseg.store import write_text
from fineseg.testing import CONFORMANCE, draw_map, draw_split
from fineseg.testing.conformance import heavy_imports
from fineseg.testing.kit import Verdict, checks_of, run_check

ALONE = ("test_import_is_light",)
"""Needs an installed module; tested apart."""


def verdicts(part: Part, **settings: Any) -> dict[str, Verdict]:
    """Run all checks of a part that nobody installed."""
    base = CONFORMANCE[part.kind]
    entry = Entry(part, "toy", "fineseg-toy", "1.0")
    kit = type(base.__name__, (base,), {"part": part.name, "entry": entry, **settings})
    return {name.removeprefix("test_"): run_check(kit, name) for name in checks_of(kit) if name not in ALONE}


def failed(part: Part, **settings: Any) -> dict[str, str]:
    return {name: each.why for name, each in verdicts(part, **settings).items() if each.outcome == "failed"}


# ------------------------------------------------------------------- every part


class Sound(Options):
    keep: int = Field(100, gt=0, description="instances kept")


class Bare(Options):
    keep: int = 100


class Nested(Options):
    inner: Bare = Bare()


class Lax(BaseModel):
    keep: int = Field(100, description="instances kept")


def first_model(options: Any, scores: Any) -> Callable[[Sequence[Instances]], Instances]:
    return lambda members: members[0]


ENSEMBLER = Ensembler("first", "the first model's instances", Sound, build=first_model)


def test_a_sound_ensembler_passes() -> None:
    outcomes = {each.outcome for each in verdicts(ENSEMBLER).values()}
    assert outcomes == {"passed"}


@pytest.mark.parametrize(
    ("changed", "check", "said"),
    [
        ({"name": "First_One"}, "name_and_summary", "name 'First_One' must be words"),
        ({"summary": ""}, "name_and_summary", "summary must be 1 to 120 long"),
        ({"summary": "It is one."}, "name_and_summary", "without a full stop"),
        ({"recipe_version": 0}, "name_and_summary", "recipe_version counts from 1"),
        ({"options": Lax}, "options_round_trip", "options must be frozen"),
        ({"options": Lax}, "unknown_option_is_refused", "'no-such-option' was taken"),
        ({"options": Bare}, "options_are_described", "no description: keep"),
        ({"options": Nested}, "options_are_described", "no description: inner.keep"),
    ],
)
def test_faults_of_any_part(changed: dict[str, Any], check: str, said: str) -> None:
    assert said in failed(replace(ENSEMBLER, **changed))[check]


def test_heavy_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "light_toy.py").write_text("import json\n")
    (tmp_path / "heavy_toy.py").write_text("import light_toy, torch\n")
    (tmp_path / "broken_toy.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert heavy_imports("light_toy") == []
    assert heavy_imports("heavy_toy") == ["torch"]
    with pytest.raises(AssertionError, match="broken_toy cannot be imported: ModuleNotFoundError"):
        heavy_imports("broken_toy")


# ------------------------------------------------------------------- ensemblers


def changed(change: Callable[[Instances], Instances]) -> Ensembler:
    return replace(ENSEMBLER, build=lambda options, scores: lambda members: change(members[0]))


class Counter:
    calls = 0

    def __call__(self, found: Instances) -> Instances:
        self.calls += 1
        return found.with_scores(found.scores / (1 + self.calls))


def brighten(found: Instances) -> Instances:
    found.scores[:] = found.scores / 2
    return found


def invented(found: Instances) -> Instances:
    size = (found.height, found.width)
    return make_instances(9, size, [0], [0.5], [[0, 0, 1, 1]], [encode(np.zeros(size, dtype=bool))])


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (lambda found: found.with_scores(found.scores + 1), "random_predictions", "scores must lie in 0..1"),
        (lambda found: found.with_scores(found.scores * np.nan), "random_predictions", "scores must lie in 0..1"),
        (lambda found: replace(found, labels=found.labels + 9), "random_predictions", "labels must lie in 0..3"),
        (lambda found: replace(found, labels=found.labels[:-1]), "random_predictions", "shapes of labels"),
        (lambda found: replace(found, labels=found.labels.astype(float)), "random_predictions", "dtypes of labels"),
        (lambda found: replace(found, boxes=found.boxes / 0), "random_predictions", "boxes must be finite"),
        (lambda found: replace(found, image_id=1), "random_predictions", "image id, height and width"),
        (lambda found: replace(found, height=41), "one_pixel", "image id, height and width"),
        (lambda found: found.scores, "random_predictions", "returned ndarray, must be Instances"),
        (invented, "nothing_detected", "labels [0] are no member's"),
        (Counter(), "deterministic", "a second call merged the same members into something else"),
        (brighten, "deterministic", "the members that were given have been changed; work on copies"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_faulty_ensemblers(change: Any, check: str, said: str) -> None:
    assert said in failed(changed(change))[check]


def test_an_ensembler_that_counts_on_measured_classes_fails() -> None:
    def build(options: Any, scores: Any) -> Any:
        return lambda members: members[0].with_scores(members[0].scores * (scores[0].per_class[0] > 0))

    assert list(failed(replace(ENSEMBLER, build=build))) == ["nothing_measured"]


def test_an_ensembler_may_refuse_views() -> None:
    def build(options: Any, scores: Any) -> Any:
        if scores[0].model.startswith("view"):
            raise FinesegError("wants the number of objects")
        return lambda members: members[0]

    verdict = verdicts(replace(ENSEMBLER, build=build))["views_of_one_model"]
    assert (verdict.outcome, verdict.why) == ("skipped", "it refuses: wants the number of objects")


# ----------------------------------------------------------------------- TTA


def tta(*views: View) -> TTA:
    return TTA("toy", "views", NoOptions, build=lambda options: views)


@pytest.mark.parametrize(
    "views",
    [
        (View(), View(horizontal=True), View(vertical=True), View(0.5, True, True), View(2.0)),
        (View(adjust=lambda pixels: 255 - pixels),),
        (View(adjust=lambda pixels: np.zeros_like(pixels)),),
    ],
)
def test_sound_views(views: tuple[View, ...]) -> None:
    assert failed(tta(*views)) == {}


@pytest.mark.parametrize(
    ("views", "check", "said"),
    [
        ((), "views", "no view"),
        ((View(), View(scale=1.0)), "views", "two views are the same"),
        ((View(scale=0.05),), "undo_restores_masks", "with an IoU of"),
        ((View(adjust=lambda pixels: pixels[:, ::-1]),), "adjust_moves_nothing", "moved a shape"),
        ((View(adjust=lambda pixels: np.roll(pixels, 12, axis=1)),), "adjust_moves_nothing", "moved a shape"),
        ((View(adjust=lambda pixels: pixels[:-1]),), "adjust_keeps_shape", "made (59, 84, 3) of (60, 84, 3)"),
        ((View(adjust=lambda pixels: pixels / 255),), "adjust_keeps_shape", "must be uint8"),
    ],
)
def test_faulty_views(views: tuple[View, ...], check: str, said: str) -> None:
    assert said in failed(tta(*views))[check]


# ----------------------------------------------------------------------- fusers


def fuser(change: Callable[[PanopticMap], object] = lambda made: made) -> PanopticFuser:
    """Return a fuser that says everything is stuff 3, the first behind two things, and a change of that."""

    def build(options: Any, given: FuserInput) -> Any:
        def fuse(ends: Sequence[PanopticEnd]) -> Any:
            found = ends[0].instances
            assert found is not None
            ids = np.ones((found.height, found.width), dtype=np.int32)
            return change(PanopticMap(found.image_id, ids, (Segment(1, 3),)))

        return fuse

    return PanopticFuser("toy", "all is stuff", NoOptions, build=build)


def halved(made: PanopticMap) -> PanopticMap:
    ids = made.ids.copy()
    ids[: len(ids) // 2] = 2
    present = [number for number in (1, 2) if (ids == number).any()]
    return PanopticMap(made.image_id, ids, tuple(Segment(number, 3) for number in present))


def test_a_sound_fuser_passes() -> None:
    assert failed(fuser()) == {}


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (lambda made: replace(made, segments=()), "no_instances", "segment 1 is in the map but not listed"),
        (lambda made: replace(made, segments=(Segment(1, 5),)), "no_instances", "labels must lie in 0..4"),
        (lambda made: replace(made, ids=made.ids.astype(np.int64)), "no_instances", "must be int32"),
        (lambda made: replace(made, ids=made.ids[:-1]), "random_predictions", "the map's shape"),
        (halved, "random_predictions", "stuff has one segment a class"),
        (lambda made: made.ids, "one_pixel", "returned ndarray, must be PanopticMap"),
    ],
)
def test_faulty_fusers(change: Any, check: str, said: str) -> None:
    assert said in failed(fuser(change))[check]


# ------------------------------------------------------------- data sets, submissions


def dataset(change: Callable[[Split], Split] = lambda split: split, fault: type[Exception] = FinesegError) -> Dataset:
    """Return a data set that is drawn when it is generated, and read from memory."""
    drawn: dict[str, Split] = {}

    def generate(options: Any, folder: Path, split: str, progress: Any) -> None:
        drawn[str(folder)] = replace(draw_split(folder), name=split)

    def read(options: Any, root: Path, split: str) -> Split:
        found = drawn.get(str(root))
        if found is None or found.name != split:
            raise fault(f"{root}: no such split")
        return change(found)

    return Dataset("toy", "drawn", NoOptions, read, generate)


def without_objects(split: Split) -> Split:
    return replace(split, objects={})


def first_object(**fields: Any) -> Callable[[Split], Split]:
    return lambda split: replace(
        split, objects={**split.objects, 1: (replace(split.objects_of(1)[0], **fields), *split.objects_of(1)[1:])}
    )


def test_a_sound_data_set_passes() -> None:
    assert failed(dataset()) == {}


@pytest.mark.parametrize(
    ("part", "check", "said"),
    [
        (dataset(without_objects), "split_is_sound", "the sample must have objects"),
        (dataset(lambda split: replace(split, name="other")), "split_is_sound", "the split is named 'other'"),
        (dataset(first_object(label=9)), "split_is_sound", "objects are of no class"),
        (dataset(first_object(box=(5.0, 5.0, 2.0, 9.0))), "split_is_sound", "boxes are none or lie outside"),
        (dataset(first_object(segmentation={"size": [64, 96], "counts": b"04"})), "split_is_sound", "masks are broken"),
        (replace(dataset(), panoptic=True), "split_is_sound", "panoptic is said of data that have stuff"),
        (dataset(fault=KeyError), "missing_files", "KeyError was raised, must be FinesegError"),
    ],
)
def test_faulty_data_sets(part: Dataset, check: str, said: str) -> None:
    assert said in failed(part)[check]


def test_another_split_the_second_time_is_seen() -> None:
    reads: Iterator[int] = iter(range(100))
    part = dataset(lambda split: replace(split, images=split.images[:: 1 - 2 * (next(reads) % 2)]))
    assert "gave another split the second time" in failed(part)["read_twice"]


def test_a_data_set_that_draws_nothing_is_skipped_without_a_sample() -> None:
    found = verdicts(replace(dataset(), generate=None))
    assert {found[name].outcome for name in ("split_is_sound", "read_twice", "missing_files")} == {"skipped"}


def write(options: Any, split: Split, predictions: Mapping[int, Instances], path: Path) -> Path:
    if any(image.id not in predictions for image in split.images):
        raise FinesegError("an image has not been predicted")
    rows = list(write_coco_results((predictions[image.id] for image in split.images), split.categories))
    write_text(path, json.dumps(rows))
    return path


def read_back(options: Any, split: Split, path: Path) -> Mapping[int, Instances]:
    return instances_of_results(load_json(path), str(path), split)


def check_file(options: Any, split: Split, path: Path) -> list[str]:
    try:
        read_back(options, split, path)
    except FinesegError as error:
        return [str(error)]
    return []


SUBMISSION = Submission("toy", "a list", NoOptions, write, check_file, suffix=".json", read=read_back)


def test_a_sound_format_passes() -> None:
    assert failed(SUBMISSION) == {}


def write_all(options: Any, split: Split, predictions: Mapping[int, Instances], path: Path) -> Path:
    return write(options, split, {image.id: predictions.get(image.id, empty(image)) for image in split.images}, path)


def empty(image: Any) -> Instances:
    return make_instances(image.id, (image.height, image.width), [], [], [], [])


def write_stamped(options: Any, split: Split, predictions: Mapping[int, Instances], path: Path) -> Path:
    write(options, split, predictions, path)
    path.write_text(path.read_text() + " " * len(path.name))
    return path


def lowered(options: Any, split: Split, path: Path) -> Mapping[int, Instances]:
    return {key: found.with_scores(found.scores / 2) for key, found in read_back(options, split, path).items()}


@pytest.mark.parametrize(
    ("changed", "check", "said"),
    [
        ({"check": lambda *_: ["no"]}, "checker_passes_what_is_written", "the checker refuses what was written: no"),
        ({"check": lambda *_: []}, "damaged_file", "the checker finds nothing wrong with a damaged file"),
        ({"check": read_back}, "damaged_file", "FinesegError"),
        ({"write": write_all}, "image_without_prediction", "a file without one of the images was written"),
        ({"write": write_stamped}, "same_twice", "the same predictions gave another file"),
        ({"read": lowered}, "read_back", "with other labels, masks or scores"),
    ],
)
def test_faulty_formats(changed: dict[str, Any], check: str, said: str) -> None:
    assert said in failed(replace(SUBMISSION, **changed))[check]


def write_maps(options: Any, split: Split, predictions: Mapping[int, PanopticMap], path: Path) -> Path:
    if any(image.id not in predictions for image in split.images):
        raise FinesegError("an image has not been predicted")
    maps = [predictions[image.id] for image in split.images]
    rows = [(each.image_id, each.ids.tolist(), [[one.id, one.label] for one in each.segments]) for each in maps]
    write_text(path, json.dumps(rows))
    return path


def read_maps(options: Any, split: Split, path: Path) -> dict[int, PanopticMap]:
    """Read maps back, whose segments are numbered from the last on."""
    found = {}
    for image_id, ids, segments in load_json(path):
        new = {0: 0, **{old: len(segments) - place for place, (old, _) in enumerate(segments)}}
        renumbered = np.vectorize(new.get, otypes=[np.int32])(np.array(ids))
        found[image_id] = PanopticMap(image_id, renumbered, tuple(Segment(new[old], label) for old, label in segments))
    return found


def check_maps(options: Any, split: Split, path: Path) -> list[str]:
    try:
        read_maps(options, split, path)
    except FinesegError as error:
        return [str(error)]
    return []


MAPS = Submission("toy", "maps", NoOptions, write_maps, check_maps, suffix=".json", task="panoptic", read=read_maps)


def changed_maps(change: Callable[[PanopticMap], PanopticMap]) -> Any:
    return lambda *given: {key: change(each) for key, each in read_maps(*given).items()}


def rolled(made: PanopticMap) -> PanopticMap:
    return replace(made, ids=np.roll(made.ids, 1, axis=1))


def relabelled(made: PanopticMap) -> PanopticMap:
    one, two, *others = made.segments
    return replace(made, segments=(Segment(one.id, two.label), Segment(two.id, one.label), *others))


def test_a_sound_panoptic_format_passes() -> None:
    assert failed(MAPS) == {}


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda *_: {}, "image 1 is not read back"),
        (changed_maps(rolled), "image 1 is read back with other segments"),
        (changed_maps(relabelled), "image 1 is read back with other segments"),
        (changed_maps(lambda made: replace(made, segments=made.segments[1:])), "with other segments"),
        (changed_maps(lambda made: replace(made, ids=made.ids[:-1])), "with other segments"),
    ],
)
def test_faulty_panoptic_formats(read: Any, said: str) -> None:
    assert said in failed(replace(MAPS, read=read))["read_back"]


def test_drawn_maps_agree_with_their_segments() -> None:
    for seed in range(20):
        made = draw_map(np.random.default_rng(seed), (5, 1 + seed), [0, 3, 4])
        assert {0, *(each.id for each in made.segments)} == {0, *np.unique(made.ids).tolist()}
