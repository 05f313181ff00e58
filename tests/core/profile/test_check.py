"""What is said of a profile with faults: all of them, each as path, what is wrong, what would be right."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_toys import PROFILE, toy_catalog

from fineseg import Dataset, FinesegError, FuserInput, Head, NoOptions, PanopticFuser, Submission
from fineseg.catalog import Catalog, Entry, load_catalog
from fineseg.errors import ProfileError
from fineseg.profile import load_profile
from fineseg.profile.check import check_tables
from fineseg.profile.faults import suggest, written
from fineseg.profile.layers import leaves, merge

FILE = Path("toy.toml")
CATALOG = toy_catalog()
COMPETITIONS = sorted((Path(__file__).parents[3] / "competitions").glob("*.toml"))


def put(tables: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return tables with a value at a dotted key, whatever was there."""
    name, _, rest = key.partition(".")
    inner = tables.get(name)
    below = inner if isinstance(inner, Mapping) else {"name": inner} if isinstance(inner, str) else {}
    return {**tables, name: put(below, rest, value) if rest else value}


def drop(tables: Mapping[str, Any], key: str) -> dict[str, Any]:
    name, _, rest = key.partition(".")
    kept = {k: v for k, v in tables.items() if k != name}
    return {**kept, name: drop(tables[name], rest)} if rest else kept


def faults(tables: Mapping[str, Any]) -> list[str]:
    """Return what is said of tables, without the name of the file."""
    try:
        check_tables(tables, CATALOG, FILE)
    except ProfileError as error:
        assert all(fault.startswith("toy.toml: ") for fault in error.faults)
        assert str(error) == "\n".join(error.faults)
        return [fault.removeprefix("toy.toml: ") for fault in error.faults]
    return []


TOY = tomllib.loads(PROFILE)
PART = "the name of a part, or a table with its name and options"


def test_the_toy_is_sound() -> None:
    assert faults(TOY) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        # unknown keys, at several depths
        ("tran", {}, "tran: unknown key; did you mean train?"),
        ("train.epoch", 3, "train.epoch: unknown key; did you mean epochs?"),
        ("train.schedule.step", [3], "train.schedule.step: unknown key; did you mean steps?"),
        ("models.a.nek", "plain", "models.a.nek: unknown key; did you mean neck?"),
        ("models.a.train.lrr", 1, "models.a.train.lrr: unknown key; did you mean lr?"),
        (
            "models.a.train.schedule.xyz",
            1,
            "models.a.train.schedule.xyz: unknown key; known: name, steps, gamma, end, warmup, warmup_start",
        ),
        # values
        ("train.epochs", 0, "train.epochs: must be greater than 0, not 0"),
        ("train.epochs", "many", 'train.epochs: must be a whole number, not "many"'),
        ("train.epochs", 2.5, "train.epochs: must be a whole number, not 2.5"),
        ("train.lr", [0.1], "train.lr: must be a number, not [0.1]"),
        ("train.lr", float("nan"), "train.lr: must be a finite number, not NaN"),
        ("train.flip", 2, "train.flip: must be 1 or less, not 2"),
        ("train.precision", "fp8", "train.precision: must be 'fp32' or 'fp16', not \"fp8\""),
        ("train.short_side", [800], "train.short_side: value 2 of the array is missing"),
        ("train.short_side", [1, 2, 3], "train.short_side: must be an array of 2 or fewer, not [1, 2, 3]"),
        ("train.short_side", 800, "train.short_side: must be an array, not 800"),
        ("train.schedule.steps", [3, "x"], 'train.schedule.steps.1: must be a whole number, not "x"'),
        ("metric.max_detections", [], "metric.max_detections: must not be empty"),
        ("metric.area_ranges", {"s": [0]}, "metric.area_ranges.s: value 2 of the array is missing"),
        (
            "competition.name",
            "a/b",
            "competition.name: must be letters, digits, '.', '_' and '-', a letter or digit first, not \"a/b\"",
        ),
        ("competition.task", "semantic", "competition.task: must be 'instance' or 'panoptic', not \"semantic\""),
        # one line for a value that may be of several types
        ("data.validation", 3, "data.validation: must be a string or a table, not 3"),
        ("data.validation", {"random": -1}, "data.validation.random: must be greater than 0, not -1"),
        ("data.validation", {"random": 3, "sed": 1}, "data.validation.sed: unknown key; did you mean seed?"),
        ("data.validation", {}, "data.validation: must say one of random = IMAGES and folds = K"),
        (
            "data.validation",
            {"random": 3, "folds": 3},
            "data.validation: must say one of random = IMAGES and folds = K",
        ),
        (
            "data.validation",
            {"random": 3, "merge": "mean"},
            "data.validation: merge makes the answers of folds one; with random there is one answer",
        ),
        (
            "data.validation",
            {"folds": 1},
            "data.validation.folds: must be a whole number, 2 or more, or the path of a file, not 1",
        ),
        (
            "data.validation",
            {"folds": 2.5},
            "data.validation.folds: must be a whole number, 2 or more, or the path of a file, not 2.5",
        ),
        ("data.validation", {"folds": 3, "marge": "mean"}, "data.validation.marge: unknown key; did you mean merge?"),
        (
            "data.validation",
            {"folds": 3, "merge": "men"},
            "data.validation.merge: unknown ensembler 'men'; did you mean 'mean'?; choices: mean",
        ),
        (
            "data",
            {**TOY["data"], "test": "test", "validation": {"folds": 3}},
            "data.validation: with folds, model a gives several answers for the split 'test': add merge = ENSEMBLER "
            '(mean), or set train.final = "all"',
        ),
        ("train.loss_scale", "dynamc", "train.loss_scale: must be a number or 'dynamic', not \"dynamc\""),
        ("train.loss_scale", -1, "train.loss_scale: must be greater than 0, not -1"),
        # no table where one is expected
        ("train", 3, "train: must be a table, not 3"),
        ("models", [], "models: must be a table, not []"),
        ("models", {}, "models: must not be empty"),
        ("models.a", "x", 'models.a: must be a table, not "x"'),
        ("models.a.train", [1], "models.a.train: must be a table, not [1]"),
        ("data", True, "data: must be a table, not true"),
        # parts
        ("models.a.head", 5, f"models.a.head: must be {PART}, not 5"),
        ("models.a.head", {"inner": {}}, "models.a.head.name: missing; it must be set"),
        ("models.a.head.inner.widht", 1, "models.a.head.inner.widht: unknown key; did you mean width?"),
        ("models.a.backbone.depth", 0, "models.a.backbone.depth: must be greater than 0, not 0"),
        (
            "models.a.neck",
            "wide r",
            "models.a.neck: unknown neck 'wide r'; did you mean 'wider' or 'wide'?; choices: plain, wide, wider",
        ),
        (
            "models.a.neck",
            "boxes",
            "models.a.neck: unknown neck 'boxes', which is a name of kind head; choices: plain, wide, wider",
        ),
        (
            "combine.ensembler",
            "xyz",
            "combine.ensembler: unknown ensembler 'xyz'; choices: mean; install the plugin that provides it",
        ),
        ("predict.tta", "turn", 'predict.tta: must be an array, not "turn"'),
        ("predict.tta", [5], f"predict.tta.0: must be {PART}, not 5"),
        ("predict.tta", ["turn", "trn"], "predict.tta.1: unknown tta 'trn'; did you mean 'turn'?; choices: turn"),
        (
            "predict.tta",
            [{"name": "turn", "degree": 3}],
            "predict.tta.0.degree: unknown key; did you mean degrees?",
        ),
        ("predict.tta", [{"name": "turn", "degrees": -1}], "predict.tta.0.degrees: must be 0 or more, not -1"),
        ("predict.merge_views", 3, f"predict.merge_views: must be 'shared-proposals' or {PART}, not 3"),
        (
            "predict.merge_views",
            "men",
            "predict.merge_views: unknown ensembler 'men'; did you mean 'mean'?; choices: mean",
        ),
        ("predict.merge_views", {"name": "mean", "x": 1}, "predict.merge_views.x: unknown key; nothing is known there"),
        # what one key says of another
        ("competition.models", ["a", "c"], "competition.models: no table [models.c]; known: a, b"),
        (
            "train.final",
            "all",
            'train.final: "all" also trains on the validation images, so other images must be predicted: set data.test',
        ),
        ("train.workers", 3, "train: batch = 4 cannot be shared evenly by 3 workers"),
        ("models.b.train.workers", 3, "models.b.train: batch = 4 cannot be shared evenly by 3 workers"),
        ("models.b.train.short_side", [9, 8], "models.b.train: short_side must be [from, to] with from <= to"),
        ("train.long_side", 700, "train: short_side goes up to 800, beyond long_side = 700"),
        ("train.checkpoint", "best", 'train: checkpoint = "best" needs validations to choose by: set validate_every'),
        ("metric.max_detections", [10, 5], "metric: max_detections must rise, as [1, 5, 10] does"),
        ("metric.area_ranges", {"s": [5, 4]}, "metric: area range 's' must be [from, to] with 0 <= from < to"),
        (
            "data.validation",
            "train",
            "data: validation must not be 'train', which is trained on; try { random = IMAGES }",
        ),
    ],
)
def test_one_fault_is_one_line(key: str, value: Any, said: str) -> None:
    assert faults(put(TOY, key, value)) == [said]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("train.epochs", "train.epochs: missing; it must be set"),
        ("competition", "competition: missing; the profile needs a table [competition]"),
        ("models", "models: missing; the profile needs a table [models.NAME]"),
        ("models.a.neck", 'models.a.neck: missing; choose a part, neck = "NAME"'),
        ("data.dataset", 'data.dataset: missing; choose a part, dataset = "NAME"'),
    ],
)
def test_what_is_missing(key: str, said: str) -> None:
    assert faults(drop(TOY, key)) == [said]


def test_all_faults_at_once() -> None:
    wrong = {
        "competition": {"name": "toy", "models": ["z"]},
        "train": {"epochs": 0},
        "models": {"a": {"neck": "plane", "backbone": {"depht": 1}, "train": {"lr": 0}}, "b": {"train": {"x": 1}}},
        "predict": {"nms_iou": 7},
    }
    assert sorted(line.split(": ")[0] for line in faults(merge(TOY, wrong))) == [
        "competition.models",
        "models.a.backbone.depht",
        "models.a.neck",
        "models.a.train.lr",
        "models.b.train.x",
        "predict.nms_iou",
        "train.epochs",
    ]


def test_a_fault_of_train_is_not_repeated_for_each_model() -> None:
    tables = put(put(TOY, "train.workers", 3), "models.a.train.seed", 1)
    assert faults(tables) == ["train: batch = 4 cannot be shared evenly by 3 workers"]


def test_a_models_own_settings_can_mend_train(load: Callable) -> None:
    profile = load("[models.a.train]\nworkers = 4\nschedule = { warmup = 5 }\n").profile
    assert profile.train_of("a").workers == 4
    assert profile.train_of("a").schedule.warmup == 5
    assert profile.train_of("b") == profile.train.model_copy(update={"lr": 0.2})


def test_a_model_looks_at_images_in_its_own_way(load: Callable) -> None:
    loaded = load('[predict]\ntta = ["turn"]\nshort_side = 700\n[models.a.predict]\nlong_side = 900\ntta = []\n')
    assert loaded.profile.predict_of("b") == loaded.profile.predict
    own = loaded.profile.predict_of("a")
    assert (own.long_side, own.short_side, own.tta) == (900, 700, ())
    assert loaded.complete["models"]["b"]["predict"]["tta"] == [{"name": "turn", "degrees": 90}]
    for key, value, said in (
        ("shard", 5, "models.a.predict.shard: is the same for all models; set predict.shard"),
        ("cpus", 1, "models.a.predict.cpus: is the same for all models; set predict.cpus"),
        ("nms_iou", 2, "models.a.predict.nms_iou: must be 1 or less, not 2"),
        ("tta", ["trun"], "models.a.predict.tta.0: unknown tta 'trun'; did you mean 'turn'?; choices: turn"),
        ("merge_views", "men", "models.a.predict.merge_views: unknown ensembler 'men'; did you mean 'mean'?; "
         "choices: mean"),
        ("sizes", 3, "models.a.predict.sizes: unknown key; known: long_side, short_side, score_threshold, nms_iou, "
         "max_per_image, mask_threshold, shard, cpus, tta, merge_views, semantic"),
    ):  # fmt: skip
        assert faults(put(TOY, f"models.a.predict.{key}", value)) == [said]


def test_views_share_proposals_only_of_a_head_that_can() -> None:
    tables = put(put(TOY, "models.b.head", "queries"), "predict.tta", ["turn"])
    said = (
        "models.b.head: the views of predict.tta cannot share proposals of the head 'queries'; pool its instances, "
        "models.b.predict.merge_views = ENSEMBLER (mean), or leave out views of this model"
    )
    assert faults(tables) == faults(put(tables, "predict.merge_views", "shared-proposals")) == [said]
    assert faults(put(tables, "models.b.head", {"name": "queries"})) == [said]
    assert faults(put(tables, "competition.models", ["b"])) == [said]
    for sound in (("competition.models", ["a"]), ("predict.merge_views", "mean"), ("predict.tta", [])):
        assert faults(put(tables, *sound)) == []
    for key, value in (("merge_views", "mean"), ("tta", [])):
        assert faults(put(tables, f"models.b.predict.{key}", value)) == []
    own = put(put(TOY, "models.b.head", "queries"), "models.b.predict.tta", ["turn"])
    assert faults(own) == [said]


def test_a_format_takes_what_the_task_makes() -> None:
    maps = Submission("maps", "", NoOptions, write=print, check=print, task="panoptic")
    catalog = Catalog((*CATALOG.entries, Entry(maps, "toy", "toy-parts", "1.0")))
    check_tables(put(TOY, "submission.format", "zip"), catalog, FILE)
    with pytest.raises(ProfileError) as caught:
        check_tables(put(TOY, "submission.format.name", "maps"), catalog, FILE)
    said = 'submission.format: \'maps\' is of the task "panoptic"; competition.task is "instance"'
    assert list(caught.value.faults) == [f"toy.toml: {said}"]


DENSE_AB = {"weights": {"a": 0.4, "b": 1.2}}


def steps_of(*models: str) -> list[tuple[str, Any]]:
    return [(f"models.{model}.head", "steps") for model in models]


@pytest.mark.parametrize(
    ("name", "what"),
    [("dense", "what models say together, [combine] dense"), ("combined", "what [combine] makes of all models")],
)
def test_names_of_what_several_models_say_are_taken(name: str, what: str) -> None:
    tables = put(TOY, f"models.{name}", {"backbone": "small", "neck": "plain", "head": "boxes"})
    assert faults(tables) == [f"models.{name}: the name is that of {what}; call the model otherwise"]


def test_a_fuser_is_built_to_say_what_is_wrong_with_its_options() -> None:
    told: list[FuserInput] = []

    def build(options: Any, given: FuserInput) -> Any:
        told.append(given)
        if len(given.scores) > 1:
            raise FinesegError("fuser rule: takes one model")

    parts = (
        Head("joined", "", NoOptions, build=print, gives=("instances", "semantic", "panoptic")),
        Head("pixels", "", NoOptions, build=print, gives=("semantic",)),
        PanopticFuser("rule", "", NoOptions, build=build),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
    )
    catalog = Catalog((*CATALOG.entries, *(Entry(part, "toy", "toy-parts", "1.0") for part in parts)))
    tables = put(put(TOY, "competition.task", "panoptic"), "data.dataset", "grounds")
    tables = put(put(put(tables, "models.a.head", "joined"), "models.b.head", "pixels"), "combine.fuser", "rule")
    with pytest.raises(ProfileError) as caught:
        check_tables(tables, catalog, FILE)
    assert list(caught.value.faults) == ["toy.toml: combine.fuser: fuser rule: takes one model"]
    assert [score.model for score in told[-1].scores] == ["a", "b"]
    assert {name: list(gives) for name, gives in told[-1].gives.items()} == {
        "a": ["instances", "semantic"],
        "b": ["semantic"],
    }
    check_tables(put(tables, "combine.models", ["a"]), catalog, FILE)
    assert [score.model for score in told[-1].scores] == ["a"]


def test_parts_go_with_a_panoptic_task() -> None:
    task = 'competition.task is "panoptic"'
    tables = put(TOY, "competition.task", "panoptic")
    for key, value in (("combine.ensembler", "mean"), ("submission.format", "zip"), ("predict.tta", ["turn"])):
        tables = put(tables, key, value)
    tables = put(tables, "data.validation", {"folds": 2, "merge": "mean"})
    assert faults(tables) == [
        f"submission.format: 'zip' is of the task \"instance\"; {task}",
        f"data.dataset: 'photos' has no stuff, and {task}; install a plugin with a dataset that does",
        f"data.validation.merge: ensemblers merge instances, and {task}; leave it out",
        f"combine.ensembler: ensemblers merge instances, and {task}; choose a fuser, or dense = {{ ... }}",
    ]
    fitting = (
        Head("joined", "", NoOptions, build=print, gives=("instances", "semantic", "panoptic")),
        Head("pixels", "", NoOptions, build=print, gives=("semantic",)),
        Head("steps", "", NoOptions, build=print, gives=("instances", "semantic", "panoptic"), dense=True),
        PanopticFuser("rule", "", NoOptions, build=print),
        Dataset("grounds", "", NoOptions, read=print, panoptic=True),
        Submission("maps", "", NoOptions, write=print, check=print, task="panoptic"),
    )
    catalog = Catalog((*CATALOG.entries, *(Entry(part, "toy", "toy-parts", "1.0") for part in fitting)))
    tables = put(
        put(TOY, "competition", {"name": "toy", "task": "panoptic", "models": ["a"]}), "data.dataset", "grounds"
    )
    tables = put(tables, "submission.format", "maps")

    def said(*changes: tuple[str, Any]) -> list[str]:
        changed = tables
        for key, value in changes:
            changed = put(changed, key, value)
        try:
            check_tables(changed, catalog, FILE)
        except ProfileError as error:
            return [fault.removeprefix(f"{FILE}: ") for fault in error.faults]
        return []

    none = f"models: none makes panoptic maps, and {task}; choose joined or steps, or [combine] fuser = FUSER (rule)"
    assert said() == said(("models.a.head", "pixels")) == [none]  # b, not chosen, may be any
    assert said(("models.a.head", "joined")) == []
    both, fuser = ("competition.models", ["a", "b"]), ("combine.fuser", "rule")
    pixels = ("models.b.head", "pixels")
    assert said(both, pixels, fuser) == []  # objects from the one, classes of pixels from the other
    assert said(both, fuser) == [
        f"models: none scores the class of every pixel, and {task}; choose joined or pixels or steps"
    ]
    assert said(both, pixels, fuser, ("combine.models", ["b"])) == [
        f"combine.models: none finds instances, and {task}; choose boxes or joined or queries or steps"
    ]
    own = ("models.a.predict.semantic", "none"), ("models.b.predict.semantic", "none")
    assert (
        said(both, *steps_of("a", "b"), fuser, ("combine.dense", DENSE_AB), *own) == []
    )  # an ensemble's is the common
    assert said(both, *steps_of("a", "b"), fuser, ("combine.dense", DENSE_AB), ("predict.semantic", "none")) == [
        'predict.semantic: a fuser reads the scores of all classes, which "none" does not keep'
    ]
    assert said(both, pixels, fuser, ("predict.semantic", "none")) == [
        'predict.semantic: a fuser reads the scores of all classes, which "none" does not keep'
    ]
    assert said(both, pixels, fuser, ("combine.models", ["c"]))[0].startswith("combine.models: no chosen model c; ")
    assert said(both, pixels, fuser, ("combine.held_out", ["c"])) == ["combine.held_out: no model c; known: a, b"]
    for search, fault in (
        ({"metric": "AP"}, 'combine.search.metric: no figure "AP"; known: PQ, PQth, PQst'),
        (
            {"space": {"least": {"choice": [1]}}},
            "combine.search.space.least: the panoptic-fuser 'rule' has no such option",
        ),
        ({"thresholds": "per-class"}, 'combine: search of a fuser takes thresholds = "overall" or "none"'),
    ):
        assert said(both, pixels, fuser, ("combine.search", search))[0].startswith(fault)
    dense = ("combine.dense", {"weights": {"a": 0.4, "b": 1.2}})
    steps = [("models.a.head", "steps"), ("models.b.head", "steps")]
    assert said(both, *steps, dense) == []
    assert said(both, *steps[:1], pixels, dense) == [
        "models.b.head: 'pixels' does not go step by step with others, as combine.dense needs"
    ]
    assert said(("competition.models", ["b"]), steps[1], ("combine.dense", {"weights": {"a": 1.0}})) == [
        "combine.dense.weights: names no model that competition.models chooses"
    ]
    assert said(*steps[:1], ("predict.tta", ["turn"])) == []
    assert said(("models.a.head", "joined"), ("predict.tta", ["turn"])) == [
        "models.a.head: 'joined' makes its maps of one view; leave out predict.tta, or say models.a.predict.tta = []"
    ]
    assert said(*steps[:1], ("predict.tta", ["turn"]), ("predict.merge_views", "mean"))[0].startswith(
        "models.a.head: the views of 'steps' become one map by shared proposals"
    )
    assert said(both, pixels, fuser, ("train.validate_every", 1)) == []
    assert said(both, *steps, fuser, dense) == []
    assert said(both, *steps, fuser, dense, ("combine.models", ["dense", "b"])) == []
    assert said(*steps, fuser, dense) == []  # the one that is chosen stands for itself
    assert said(*steps, fuser, dense, ("combine.models", ["dense"])) == [
        "combine.models: dense is of two chosen models or more; name the one that is left itself, or choose more"
    ]
    assert said(both, *steps, fuser, ("combine.dense", {"weights": {"a": 1.0}})) == [
        "combine: dense.weights must name the models, two or more, that are one to the fuser"
    ]
    ways = "combine: must say one of ensembler, fuser, dense, not ensembler and dense"
    assert said(both, *steps, ("combine.ensembler", "mean"), dense)[0] == ways
    instance = put(put(TOY, "models.a.head", "pixels"), "combine.fuser", "rule")
    with pytest.raises(ProfileError) as caught:
        check_tables(instance, catalog, FILE)
    assert [fault.removeprefix(f"{FILE}: ") for fault in caught.value.faults] == [
        "models.a.head: 'pixels' finds no instances, and competition.task is \"instance\"",
        'combine.fuser: makes panoptic maps, and competition.task is "instance"; choose an ensembler',
    ]


def test_a_layer_can_switch_views_off(load: Callable) -> None:
    base = f'{PROFILE}\n[predict]\ntta = [{{ name = "turn", degrees = 5 }}, "turn"]\nmerge_views = "mean"\n'
    loaded = load(base=base)
    assert [choice.options for choice in loaded.profile.predict.tta] == [{"degrees": 5}, {}]
    assert loaded.complete["predict"]["tta"] == [{"name": "turn", "degrees": 5}, {"name": "turn", "degrees": 90}]
    assert loaded.complete["predict"]["merge_views"] == {"name": "mean"}
    assert load("[demo.predict]\ntta = []\n", base=base, demo=True).profile.predict.tta == ()


def test_names_with_dots(load: Callable) -> None:
    with pytest.raises(ProfileError) as caught:
        load('[models."a.b"]\nbackbone = "smal"\nneck = "plain"\nhead = "boxes"\n')
    assert "models.a.b.backbone: unknown backbone 'smal'; did you mean 'small'?" in str(caught.value)


def test_written() -> None:
    assert [written(v) for v in (True, "a", None, [1, {"b": 2.5}])] == ["true", '"a"', "null", '[1, {"b": 2.5}]']
    assert len(written("x" * 1000)) == 60


def test_suggest() -> None:
    assert suggest("epoch", ["epochs", "lr"]) == "did you mean epochs?"
    assert suggest("zzz", ["epochs", "lr"]) == "known: epochs, lr"
    assert suggest("zzz", []) == "nothing is known there"


# ------------------------------------------------------- any value anywhere

SCALARS = (
    st.none().map(lambda _: False)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.booleans()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.sampled_from(["name", "~nobody-of-this-name/x", "small", "train", 10**400])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "random", "a", "lr", "depth", "1"]) | st.text(max_size=3), inner, max_size=3
        )
    ),
    max_leaves=5,
)
DEFAULTS = check_tables(TOY, CATALOG, FILE).model_dump()
KNOWN = sorted(
    {*leaves(TOY), *leaves(DEFAULTS)}
    | {".".join(path.split(".")[:depth]) for path in [*leaves(TOY), *leaves(DEFAULTS)] for depth in (1, 2, 3)}
    | {"combine.ensembler", "combine", "submission.format", "submission", "models.a.train.lr", "extends", "demo.x"}
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KNOWN), VALUES, min_size=1, max_size=3))
def test_no_value_brings_the_check_down(changes: dict[str, Any]) -> None:
    tables: dict[str, Any] = TOY
    for key, value in changes.items():
        tables = put(tables, key, value)
    for line in faults(tables):
        path, _, text = line.partition(": ")
        assert path and text
        assert not any(word in line.lower() for word in ("pydantic", "dictionary", "instance of", "validator"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(KNOWN), value=SCALARS)
def test_no_setting_brings_the_loading_down(tmp_path: Path, catalog: Catalog, key: str, value: Any) -> None:
    (tmp_path / "toy.toml").write_text(PROFILE)
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    try:
        loaded = load_profile(tmp_path / "toy.toml", catalog, settings=[f"{key}={text}"])
    except FinesegError:
        return
    assert loaded.explain(key)


# -------------------------------------------------------- the shipped profiles


@pytest.fixture(scope="module")
def installed() -> Catalog:
    return load_catalog(warn=lambda line: pytest.fail(line))


def test_there_are_competitions() -> None:
    assert "3dfuture.toml" in [file.name for file in COMPETITIONS]


@pytest.mark.parametrize("demo", [False, True], ids=["full", "demo"])
@pytest.mark.parametrize("file", COMPETITIONS, ids=lambda file: file.stem)
def test_shipped_profiles_are_sound(file: Path, demo: bool, installed: Catalog) -> None:
    loaded = load_profile(file, installed, demo=demo)
    assert loaded.profile.chosen
    for key in leaves(loaded.complete):
        assert loaded.explain(key), key
