"""What a run does with `[combine] search` and `calibration`, on stored predictions of drawn models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning_cases import ap_of, squares

from fineseg import FinesegError, Instances, Split
from fineseg.catalog import load_catalog
from fineseg.console import Console
from fineseg.errors import ProfileError
from fineseg.metrics.mask_ap import APResult, mask_ap
from fineseg.predictions import read_instances, write_instances
from fineseg.profile import load_profile
from fineseg.runs import Splits
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages import tune as tune_stage
from fineseg.stages.combine import combine_role
from fineseg.stages.context import Context
from fineseg.stages.held_out import record_training
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.tune import search_record
from fineseg.store import Store

PROFILE = """
[competition]
name = "squares"

[data]
dataset = "coco-instance"
test = "test"

[train]
epochs = 1
lr = 0.01
batch = 2

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"

[models.b]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"

[combine]
ensembler = "mask-nms"
"""
SEARCH = "search = { trials = 20, folds = 4, space = { nms_iou = { choice = [0.3, 0.5, 0.9] } } }\n"
Answers = dict[tuple[str, str], Predicted]


class Bench:
    """A split to learn on, one to be combined, and two models: the second is worse and too sure of itself."""

    def __init__(self, folder: Path, copies: bool = False) -> None:
        self.folder = folder
        self.overlaps, self.found = squares(0, images=60, slips=(0.05, 0.4))
        self.test, test = squares(9, images=60, slips=(0.05, 0.4))
        splits = [self._split(each, name) for each, name in ((self.overlaps, "val"), (self.test, "test"))]
        digests = {name: f"digest of {name}" for name in ("train", "val", "test")}
        self.prepared = Prepared(
            folder, Splits(splits[0], *splits), digests, {f"{n}.png": f"hash {n}" for n in range(60)}
        )
        self.predicted: Answers = {}
        self.results: dict[str, dict[str, APResult]] = {}
        for n, model in enumerate("ab"):
            weights = folder / model / "weights.pth"
            weights.parent.mkdir()
            weights.write_text(model)
            record_training(weights, ["another image"])
            for role, rows in (("validation", self.found[n]), ("test", test[n])):
                sure = rows if n == 0 else [each.with_scores(each.scores**0.2) for each in rows]
                sure = self._rows(sure, copies, role)
                file = folder / f"{model}-{role}.parquet"
                write_instances(file, sure)
                self.predicted[model, role] = Predicted(model, role, f"key of {model} {role}", (file,), weights)
            found = self.predicted[model, "validation"].read()
            self.results[model] = {"segm": mask_ap(splits[0], found)}

    def _rows(self, rows: Sequence[Instances], copies: bool, role: str) -> Sequence[Instances]:
        if copies and (role, "validation") == ("validation", role) and self.predicted:
            return list(self.predicted["a", "validation"].read().values())
        return rows

    @staticmethod
    def _split(overlaps: Any, name: str) -> Split:
        found: Split = overlaps.split
        return Split(name, found.categories, found.images, found.objects)

    def combine(self, combine: str, **changes: Any) -> tuple[Context, dict[str, Predicted]]:
        """Combine both splits as a run does."""
        profile = self.folder / "squares.toml"
        profile.write_text(PROFILE + combine)
        catalog = load_catalog(warn=pytest.fail)
        loaded = load_profile(profile, catalog)
        console = Console()
        console.keep(self.folder / "log.txt")
        context = Context(
            loaded.profile, loaded.tables, profile, catalog, Store(self.folder / "store"), console, Scheduler(console)
        )
        predicted = {**self.predicted, **changes}
        roles = ("validation", "test")
        return context, {r: combine_role(context, self.prepared, predicted, self.results, r) for r in roles}

    def ap(self, found: Predicted) -> float:
        overlaps = self.overlaps if found.role == "validation" else self.test
        rows = found.read()
        return ap_of(overlaps, [rows[image.id] for image in overlaps.images])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_search_that_helps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = bench.combine("")
    context, found = bench.combine(SEARCH)
    record = search_record(context, found["validation"])["search"]
    assert record["used"]
    assert record["unsearched"] == pytest.approx(bench.ap(plain["validation"]))
    assert record["nested"] == pytest.approx(bench.ap(found["validation"]))
    assert record["nested"] > record["unsearched"] + 2
    assert record["setting"]["weights"]["a"] == 1 > record["setting"]["weights"]["b"]
    assert len(record["folds"]) == 4
    assert bench.ap(found["test"]) > bench.ap(plain["test"]) + 2  # of other images, by what was searched on all
    said = (bench.folder / "log.txt").read_text()
    assert said.count("search: AP ") == 1
    assert "): used\n" in said

    def never(*_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(tune_stage, "nested_search", never)
    monkeypatch.setattr("fineseg.stages.combine.merge_split", never)
    again, same = bench.combine(SEARCH)
    assert {role: each.files for role, each in same.items()} == {role: each.files for role, each in found.items()}
    assert search_record(again, same["validation"]) == {"search": record}
    with pytest.raises(AssertionError, match="searched again"):
        bench.combine(SEARCH.replace("trials = 20", "trials = 21"))


def test_a_search_that_finds_nothing_changes_nothing(tmp_path: Path) -> None:
    """Two models that are one: what is combined is, file for file, what is combined without a search."""
    bench = Bench(tmp_path, copies=True)
    _, plain = bench.combine("")
    context, found = bench.combine(SEARCH)
    record = search_record(context, found["validation"])["search"]
    assert not record["used"]
    assert "not used" in (tmp_path / "log.txt").read_text()
    for role in ("validation", "test"):
        before, after = plain[role].read(), found[role].read()
        assert before.keys() == after.keys()
        for image_id, each in before.items():
            assert each.masks.tolist() == after[image_id].masks.tolist()
            assert each.scores.tolist() == after[image_id].scores.tolist()
    assert search_record(context, plain["validation"]) == {}


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_alone(bench: Bench, method: str) -> None:
    _, plain = bench.combine("")
    context, found = bench.combine(f'calibration = "{method}"\n')
    for role in ("validation", "test"):
        assert bench.ap(found[role]) > bench.ap(plain[role]) + 2
    assert search_record(context, found["validation"]) == {}
    both, searched = bench.combine(f'calibration = "{method}"\n' + SEARCH.replace("folds = 4", "folds = 5"))
    record = search_record(both, searched["validation"])["search"]
    assert record["unsearched"] == pytest.approx(bench.ap(found["validation"]))


def test_too_few_detections_to_calibrate(bench: Bench) -> None:
    few = bench.folder / "few.parquet"
    rows = bench.predicted["b", "validation"].read()
    write_instances(few, [each.select(np.arange(0 if n > 2 else len(each))) for n, each in enumerate(rows.values())])
    answer = Predicted("b", "validation", "key of few", (few,), bench.predicted["b", "validation"].weights)
    changed = {("b", "validation"): answer}
    bench.predicted |= changed
    _, plain = bench.combine("")
    _, found = bench.combine('calibration = "isotonic"\n')
    assert "calibration: model b has too few" in (bench.folder / "log.txt").read_text()
    before, after = plain["test"].read(), found["test"].read()
    assert all(before[n].scores.tolist() == after[n].scores.tolist() for n in before)


def test_no_tuning_on_images_that_were_trained_on(bench: Bench) -> None:
    weights = bench.predicted["b", "test"].weights
    assert weights is not None
    record_training(weights, ["hash 3"])
    for combine in (SEARCH, 'calibration = "temperature"\n'):
        with pytest.raises(FinesegError, match=r"model b: was trained on 1 of the 60 images that it is to be tuned on"):
            bench.combine(combine)
    weights.with_name("trained_on.json").unlink()
    with pytest.raises(FinesegError, match=r'held_out = \["b"\]'):
        bench.combine(SEARCH)
    context, found = bench.combine(f'held_out = ["b"]\n{SEARCH}')
    assert search_record(context, found["validation"])["search"]["used"]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("weights = false", "combine.search: there is nothing to search: set weights = true, thresholds or space"),
        ("metric = 'APx'", 'combine.search.metric: no figure "APx"; did you mean AP'),
        (
            "space = { nms = { choice = [1] } }",
            "combine.search.space.nms: the ensembler 'mask-nms' has no such option; did you mean nms_iou?",
        ),
        ("space = { nms_iou = { uniform = [0.5, 2] } }", "combine.search.space.nms_iou: must be 1 or less, not 2"),
        (
            "space = { max_per_image = { uniform = [5, 50] } }",
            "combine.search.space.max_per_image: must be a whole number, not 22.18847",
        ),
        ("space = { nms_iou = { uniform = [0.5, 0.4] } }", "uniform must be [from, to] with from < to"),
    ],
)
def test_faults_of_a_search(tmp_path: Path, search: str, said: str) -> None:
    (tmp_path / "p.toml").write_text(f"{PROFILE}search = {{ {search} }}\n")
    with pytest.raises(ProfileError) as caught:
        load_profile(tmp_path / "p.toml", load_catalog(warn=pytest.fail))
    assert len(caught.value.faults) == 1
    assert said in caught.value.faults[0]


def test_stored_files_are_read_as_written(bench: Bench) -> None:
    """The entry of a search holds what a report reads of any combination."""
    _, found = bench.combine(SEARCH)
    assert list(read_instances(found["validation"].files)) == [image.id for image in bench.overlaps.images]
