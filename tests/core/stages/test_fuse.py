"""Stored answers fused into maps: cross-fitted, keyed by what made them, scored, and refused where models have seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panoptic_cases import draw_scores
from profile_toys import PROFILE, toy_catalog

from fineseg import (
    Dataset,
    FinesegError,
    FuserInput,
    Head,
    Instances,
    NoOptions,
    Options,
    PanopticEnd,
    PanopticFuser,
    PanopticMap,
    Segment,
    Split,
    make_instances,
)
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.data import masks
from fineseg.data.panoptic import load_map
from fineseg.data.panoptic_json import read_panoptic
from fineseg.metrics.mask_ap import mask_ap
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result
from fineseg.panoptic_predictions import PanopticAnswer, panoptic_file, write_panoptic
from fineseg.predictions import write_instances
from fineseg.profile import load_profile
from fineseg.profile.combine_schema import DenseTable
from fineseg.run import metrics_table
from fineseg.runs import Splits
from fineseg.semantic_store import SemanticScores, label_map
from fineseg.stages.combine import combine_role, combine_roles
from fineseg.stages.context import Context
from fineseg.stages.dense import together
from fineseg.stages.evaluate import evaluate_models
from fineseg.stages.evaluate_panoptic import evaluate_maps
from fineseg.stages.fuse import measure
from fineseg.stages.held_out import record_training
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import train
from fineseg.stages.tune import search_record
from fineseg.store import Store
from fineseg_datasets.showroom import write_panoptic_split

IMAGES = 6
FUSED = PROFILE.replace('name = "toy"\n', 'name = "toy"\ntask = "panoptic"\n').replace("photos", "grounds")
FUSED = FUSED.replace('head = "boxes"', 'head = "pixels"') + '\n[combine]\nfuser = "toy-rule"\n'
GIVES = {"a": ("instances", "semantic"), "b": ("semantic",)}
CALLS: list[tuple[str, ...]] = []
BUILT: list[FuserInput] = []


class RuleOptions(Options):
    least: float = 0.5


def build_rule(options: RuleOptions, given: FuserInput) -> Any:
    """Every object of a better score, the best on top, then the stuff of the model that is given last."""
    BUILT.append(given)

    def rule(ends: Sequence[PanopticEnd]) -> PanopticMap:
        CALLS.append(tuple(end.model for end in ends))
        scores = [end.semantic for end in ends if end.semantic is not None][-1]
        labels = label_map(scores).astype(np.int64)
        ids = np.where(labels >= given.things, labels + 1000, 0).astype(np.int32)
        found: dict[int, int] = {int(i): int(i) - 1000 for i in np.unique(ids) if i}
        objects = [(end.instances, n) for end in ends if end.instances is not None for n in range(len(end.instances))]
        for number, (each, n) in enumerate(sorted(objects, key=lambda pair: pair[0].scores[pair[1]]), start=1):
            if each.scores[n] > options.least:
                ids[masks.decode(each.masks[n], each.height, each.width)] = number
                found[number] = int(each.labels[n])
        return PanopticMap(0, ids, tuple(Segment(i, found[int(i)]) for i in np.unique(ids) if i))

    return rule


def catalog(fuser: PanopticFuser | None = None) -> Catalog:
    boxes = next(entry.part for entry in toy_catalog().entries if entry.part.name == "boxes")
    assert isinstance(boxes, Head)
    toys = [entry for entry in toy_catalog().entries if entry.part.name != "boxes"]
    parts = [
        replace(boxes, gives=GIVES["a"]),
        Head("pixels", "", NoOptions, build=print, gives=GIVES["b"]),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
        fuser or PanopticFuser("toy-rule", "", RuleOptions, build=build_rule),
    ]
    return Catalog((*toys, *(Entry(part, "toy", "toy-parts", "1.0") for part in parts)))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("rooms")
    write_panoptic_split(folder, "val", IMAGES, (48, 64), seed=4)
    maps = folder / "annotations" / "panoptic_val"
    return read_panoptic(maps.with_suffix(".json"), maps, folder / "images", "val", labelled=True)


class Bench:
    """A run of two models that were never trained: one finds objects, the other scores pixels."""

    def __init__(self, folder: Path, rooms: Split, fuser: PanopticFuser | None = None, more: str = "") -> None:
        text = FUSED.replace('fuser = "toy-rule"\n', "") if more.startswith("fuser") else FUSED
        (folder / "toy.toml").write_text(text + more)
        parts = catalog(fuser)
        loaded = load_profile(folder / "toy.toml", parts)
        store = Store(folder / "store")
        self.context = Context(loaded.profile, loaded.tables, loaded.file, parts, store, Console(), None)  # type: ignore[arg-type]
        self.rooms, self.test = rooms, replace(rooms.select([i.id for i in rooms.images[:2]]), name="test")
        hashes = {str(image.file): f"hash {image.id}" for image in rooms.images}
        self.prepared = Prepared(folder, Splits(rooms, rooms, self.test), {"val": "abc", "test": "def"}, hashes=hashes)
        splits = {"validation": rooms, "test": self.test}
        self.predicted = {(m, role): self._store(m, role, split) for role, split in splits.items() for m in GIVES}

    def _store(self, model: str, role: str, split: Split) -> Predicted:
        rng = np.random.default_rng(1)
        folder = self.context.store.folder("predict", f"{model}-{role}")
        files = []
        for start in range(0, len(split.images), 4):
            answers = []
            for image in split.images[start : start + 4]:
                size, truth = (image.height, image.width), load_map(split.panoptic[image.id], image)
                scores = draw_scores(rng, truth, len(split.panoptic_categories), size)
                found = self._objects(split, image) if model == "a" else make_instances(image.id, size, [], [], [], [])
                answers.append(PanopticAnswer(found, None, SemanticScores(scores, size)))
            files.append(folder / f"{start // 4:05d}.parquet")
            write_instances(files[-1], write_panoptic(panoptic_file(files[-1]), answers, "full"))
        weights = self.context.store.folder("train", model) / "model.pth"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(model)
        record_training(weights, ["something else"])
        return Predicted(model, role, f"{model}-{role}", tuple(files), weights, gives=GIVES[model])

    @staticmethod
    def _objects(split: Split, image: Any) -> Instances:
        """Return the true objects, some under a wrong class, with scores that differ from image to image."""
        size, true = (image.height, image.width), split.objects_of(image.id)
        labels = [(each.label + (n + image.id) % 3 // 2) % len(split.categories) for n, each in enumerate(true)]
        coded = [masks.to_rle(each.segmentation, *size)["counts"] for each in true]
        scores = [0.4 + 0.5 * ((n + image.id) % 4) / 3 for n in range(len(true))]
        return make_instances(image.id, size, labels, scores, masks.boxes(coded, *size), coded)

    def fuse(self, role: str = "validation") -> Predicted:
        return combine_role(self.context, self.prepared, self.predicted, {}, role, {})


@pytest.fixture
def bench(tmp_path: Path, rooms: Split) -> Bench:
    BUILT.clear()
    CALLS.clear()
    return Bench(tmp_path, rooms)


def test_fused_maps_are_the_fusers_and_scored_as_any(bench: Bench, rooms: Split) -> None:
    found = bench.fuse()
    assert (found.model, found.gives) == ("combined", ("panoptic",))
    assert CALLS == [("a", "b")] * IMAGES
    maps = found.read_panoptic()
    assert set(maps) == {image.id for image in rooms.images}
    counts = PanopticCounts.none(len(rooms.panoptic_categories))
    rule = build_rule(RuleOptions(), FuserInput(len(rooms.categories), len(rooms.stuff)))
    for image in rooms.images:
        ends = []
        for model in ("a", "b"):
            answer = bench.predicted[model, "validation"]
            stored = {row.image_id: row for row in answer.read_stored()}[image.id]
            objects = answer.read()[image.id] if model == "a" else None
            ends.append(PanopticEnd(model, objects, stored.semantic()))
        wanted = rule(ends)
        assert np.array_equal(maps[image.id].ids, wanted.ids) and maps[image.id].image_id == image.id
        assert [(s.id, s.label) for s in maps[image.id].segments] == [(s.id, s.label) for s in wanted.segments]
        counts += count_image(load_map(rooms.panoptic[image.id], image), wanted, len(counts.tp))
    scores = evaluate_maps(bench.context, bench.prepared, {("combined", "validation"): found})["combined"]
    assert scores.pq == panoptic_result(counts, len(rooms.categories)).groups["All"].pq
    assert 10 < scores.pq < 100 and not scores.alone and scores.semantic is None

    made = len(BUILT), len(CALLS)
    assert bench.fuse() == found and (len(BUILT), len(CALLS)) == made  # from the store
    assert len(bench.fuse("test").read_panoptic()) == 2


def test_each_part_is_fused_by_what_was_measured_on_the_others(bench: Bench, rooms: Split) -> None:
    members = [bench.predicted[model, "validation"] for model in GIVES]
    measured = measure(bench.context, bench.prepared, members)
    assert set(measured.part_of) == {image.id for image in rooms.images}
    assert sorted(set(measured.part_of.values())) == [0, 1, 2, 3, 4] and len(measured.scores) == 6
    found = members[0].read()
    for part, (objects, pixels) in enumerate(measured.scores):
        inside = [i.id for i in rooms.images if part == 5 or measured.part_of[i.id] != part]
        own = mask_ap(rooms.select(inside), {n: found[n] for n in inside})
        np.testing.assert_allclose(objects.per_class, own.per_class, atol=1e-9)
        assert objects.model == "a" and objects.support == own.support
        assert pixels.model == "b" and np.isnan(pixels.ap) and np.isnan(pixels.per_class).all()
    assert len({score.ap for score, _ in measured.scores}) > 2

    told: dict[int, FuserInput] = {}
    bench.context = replace(
        bench.context, catalog=catalog(PanopticFuser("toy-rule", "", RuleOptions, build=watching(told)))
    )
    bench.fuse()
    whole = [tuple(np.nan_to_num(each.per_class).tolist() for each in scores) for scores in measured.scores]
    assert len(told) == IMAGES
    for image_id, given in told.items():
        said = tuple(np.nan_to_num(each.per_class).tolist() for each in given.scores)
        assert said == whole[measured.part_of[image_id]]
    told.clear()
    bench.fuse("test")
    assert len(told) == len(bench.test.images)
    assert all(tuple(np.nan_to_num(s.per_class).tolist() for s in given.scores) == whole[5] for given in told.values())


def watching(told: dict[int, FuserInput]) -> Any:
    """Return a fuser's build that notes by what each image was fused."""

    def build(options: Any, given: FuserInput) -> Any:
        rule = build_rule(options, given)

        def fuse(ends: Sequence[PanopticEnd]) -> PanopticMap:
            assert ends[0].instances is not None
            told[ends[0].instances.image_id] = given
            return rule(ends)  # type: ignore[no-any-return]

        return fuse

    return build


def test_what_made_a_map_is_in_its_key(bench: Bench, rooms: Split) -> None:
    keys = [bench.fuse().key, bench.fuse("test").key]
    changed = replace(bench.predicted["a", "validation"], key="another")
    bench.predicted["a", "validation"] = changed
    keys += [bench.fuse().key, bench.fuse("test").key]  # measured on other predictions
    rule = PanopticFuser("toy-rule", "", RuleOptions, build=build_rule, recipe_version=2)
    bench.context = replace(bench.context, catalog=catalog(rule))
    keys.append(bench.fuse().key)
    bench.predicted["a", "validation"] = replace(changed, model="another name")
    keys.append(bench.fuse().key)  # options and class tables go by names
    bench.predicted["a", "validation"] = changed
    combine = bench.context.profile.combine
    assert combine is not None
    only = bench.context.profile.model_copy(update={"combine": combine.model_copy(update={"models": ("a",)})})
    bench.context = replace(bench.context, profile=only)
    keys.append(bench.fuse().key)
    assert len(set(keys)) == len(keys)
    silent = PanopticFuser("toy-rule", "", RuleOptions, build=build_rule, reads_scores=False)
    bench.context = replace(bench.context, catalog=catalog(silent))
    before = bench.fuse("test").key
    assert before not in keys and BUILT[-1].scores == ()
    bench.predicted["a", "validation"] = replace(changed, key="a third")
    assert bench.fuse("test").key == before  # nothing was measured


def test_a_model_without_maps_is_scored_by_the_fuser_alone(bench: Bench, rooms: Split) -> None:
    results = evaluate_models(bench.context, bench.prepared, bench.predicted)
    assert list(results) == ["a"] and results["a"]["segm"].summary["AP"] > 5
    maps = evaluate_maps(bench.context, bench.prepared, bench.predicted)
    assert maps["a"].alone and maps["a"].pq > 5 and maps["a"].semantic is not None
    assert maps["b"].quality is None and maps["b"].semantic is not None and np.isnan(maps["b"].pq)
    assert maps["b"].figures() == {"mIoU": pytest.approx(maps["b"].semantic.miou)}
    assert set(CALLS) == {("a",)}
    combined = evaluate_maps(bench.context, bench.prepared, {("combined", "validation"): bench.fuse()})
    table = metrics_table(results, {}, maps | combined)
    assert table["fused alone"] == ["a"]
    assert list(table["models"]["a"])[:3] == ["panoptic", "semantic", "segm"]
    assert list(table["models"]["b"]) == ["semantic"] and list(table["combined"]) == ["panoptic"]


def test_nothing_is_measured_on_images_that_a_model_has_seen(bench: Bench) -> None:
    weights = bench.predicted["a", "validation"].weights
    assert weights is not None
    record_training(weights, ["hash 3"])
    with pytest.raises(FinesegError, match=r"model a: was trained on 1 of the 6 images"):
        bench.fuse()
    weights.with_name("trained_on.json").unlink()
    with pytest.raises(FinesegError, match=r'say so: \[combine\] held_out = \["a"\]'):
        bench.fuse("test")
    combine = bench.context.profile.combine
    assert combine is not None
    trusting = bench.context.profile.model_copy(update={"combine": combine.model_copy(update={"held_out": ("a",)})})
    bench.context = replace(bench.context, profile=trusting)
    assert len(bench.fuse("test").read_panoptic()) == 2


def test_a_dense_ensemble_is_one_of_the_models(bench: Bench) -> None:
    combine = bench.context.profile.combine
    assert combine is not None
    table = combine.model_copy(update={"dense": DenseTable(weights={"a": 1.0, "c": 2.0})})
    profile = bench.context.profile.model_copy(update={"combine": table})
    bench.context = replace(bench.context, profile=profile)
    answers = {}
    for role in ("validation", "test"):
        own = bench.predicted["a", role]
        members = tuple(replace(own, model=name) for name in ("a", "c"))
        bench.predicted["c", role] = replace(own, model="c", key=f"c-{role}")
        answers[role] = replace(own, model="dense", key=f"dense-{role}", weights=None, members=members)
    found = combine_roles(bench.context, bench.prepared, bench.predicted, {}, {}, answers)
    assert set(CALLS) == {("dense", "b")} and found["test"].key != found["validation"].key
    scored = together(bench.context, answers, found)
    assert list(scored) == [("dense", "validation"), ("combined", "validation")]
    weights = bench.predicted["a", "validation"].weights
    assert weights is not None
    weights.with_name("trained_on.json").unlink()
    bench.context = replace(bench.context, store=Store(bench.context.store.root.parent / "other"))
    for trusted, member in ((("b", "dense"), "a"), (("a",), "c")):
        trusting = profile.model_copy(update={"combine": table.model_copy(update={"held_out": trusted})})
        said = rf'model {member} of dense: .*say so: \[combine\] held_out = \["{member}"\]'
        with pytest.raises(FinesegError, match=said):
            combine_roles(replace(bench.context, profile=trusting), bench.prepared, bench.predicted, {}, {}, answers)
    trusting = profile.model_copy(update={"combine": table.model_copy(update={"held_out": ("a", "c")})})
    combine_roles(replace(bench.context, profile=trusting), bench.prepared, bench.predicted, {}, {}, answers)
    record_training(weights, ["hash 3"])
    bench.context = replace(bench.context, store=Store(bench.context.store.root.parent / "third"))
    with pytest.raises(FinesegError, match=r"model a of dense: was trained on 1 of the 6 images"):
        combine_roles(bench.context, bench.prepared, bench.predicted, {}, {}, answers)


def test_a_model_that_keeps_no_scores_is_not_fused_alone(tmp_path: Path, rooms: Split) -> None:
    kept = '[models.a.predict]\nsemantic = "none"\n'
    bench = Bench(tmp_path, rooms, more=kept)
    CALLS.clear()
    maps = evaluate_maps(bench.context, bench.prepared, {("a", "validation"): bench.predicted["a", "validation"]})
    assert maps["a"].quality is None and not CALLS


def test_given_weights_beside_folds_are_refused_before_training(bench: Bench, tmp_path: Path) -> None:
    own = replace(bench.prepared, fold=0)
    folds = replace(bench.prepared, folds=(own,))
    context = replace(bench.context, weights={"a": tmp_path / "a.pth"})
    with pytest.raises(FinesegError, match=r"--weights a=...: a fuser takes models that are all .* and b would be"):
        train(context, folds)


SEARCH = "search = { weights = false, trials = 9, folds = 3, space = { least = { choice = [0.3, 0.5, 0.95] } } }\n"


def test_a_search_is_scored_by_settings_that_have_not_seen(tmp_path: Path, rooms: Split) -> None:
    bench = Bench(tmp_path, rooms, more=SEARCH)
    found = bench.fuse()
    record = search_record(bench.context, found)["search"]
    assert record["metric"] == "PQ" and len(record["folds"]) == 3
    scores = evaluate_maps(bench.context, bench.prepared, {("combined", "validation"): found})["combined"]
    assert scores.pq == pytest.approx(record["nested" if record["used"] else "unsearched"])
    assert record["searched"] >= record["unsearched"]
    best = record["setting"]["options"].get("least", 0.5)

    by_level = {}
    for level in (0.3, 0.5, 0.95):
        text = f'fuser = {{ name = "toy-rule", least = {level} }}\n'
        (tmp_path / str(level)).mkdir()
        other = Bench(tmp_path / str(level), rooms, more=text)
        answer = {("combined", "validation"): other.fuse()}
        by_level[level] = evaluate_maps(other.context, other.prepared, answer)["combined"].pq
    assert best == max(by_level, key=by_level.__getitem__)
    assert record["unsearched"] == pytest.approx(by_level[0.5]) and record["searched"] == pytest.approx(by_level[best])

    calls = len(CALLS)
    test = bench.fuse("test")  # by what was found on the whole split, without another search
    assert len(CALLS) == calls + 2 and len(test.read_panoptic()) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (PanopticMap(0, np.zeros((4, 4), np.int32), ()), r"a map of shape \(4, 4\); must be \(48, 64\)"),
        (PanopticMap(0, np.ones((48, 64), np.int32), ()), "segment 1 is in the map but not listed"),
        (PanopticMap(0, np.ones((48, 64), np.int32), (Segment(1, 99),)), "a segment of label 99"),
    ],
)
def test_a_fusers_fault_is_its_own(tmp_path: Path, rooms: Split, wrong: PanopticMap, said: str) -> None:
    bench = Bench(tmp_path, rooms, PanopticFuser("toy-rule", "", NoOptions, build=lambda *_: lambda _: wrong))
    with pytest.raises(FinesegError, match=f"panoptic-fuser 'toy-rule', image 1: {said}"):
        bench.fuse()
    assert not list((bench.context.store.root / "combine").glob("*/00000*"))
