"""`[tables.T]` in a profile: what each row resolves to, which layers win, and what is said of one with faults."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fineseg.catalog import Catalog, load_catalog
from fineseg.errors import FinesegError, ProfileError
from fineseg.profile import Loaded, load_profile
from fineseg.profile.check import complete
from fineseg.profile.combine_schema import COMBINED
from fineseg.profile.layers import MISSING, at, leaves
from fineseg.profile.tables import Row, check_ablations, rows_of, start_of, table_named
from fineseg.runs import wanted_splits

Load = Callable[..., Loaded]
COMPETITION = Path(__file__).parents[3] / "competitions" / "3dfuture.toml"
TABLE = """
[tables.steps]
title = "Step by step"

[tables.steps.set]
"train.epochs" = 4

[tables.steps.rows.start]
published = { AP = 50.0 }
[tables.steps.rows.wide]
set = { "models.a.neck" = { name = "wide", channels = 8 } }
[tables.steps.rows.wider]
set = { "models.a.neck.channels" = 9, "models.a.backbone.depth" = 5 }
[tables.steps.rows.flip]
on = "wide"
set = { "train.flip" = 0.0 }
[tables.steps.rows.other]
scores = "b"
"""


@pytest.fixture
def load(load: Load, catalog: Catalog) -> Load:
    """Return `load` with the check of all rows after it, as `fineseg check` does."""

    def load_and_check(*given: Any, **options: Any) -> Loaded:
        loaded = load(*given, **options)
        check_ablations(loaded.tables, loaded.profile, catalog, loaded.file)
        return loaded

    return load_and_check


def rows(loaded: Loaded, catalog: Catalog, name: str = "steps") -> dict[str, Row]:
    found = rows_of(loaded.tables, loaded.profile, name, catalog, loaded.file)
    return {row.name: row for row in found}


def flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: at(tables, key) for key in leaves(tables)}


def differences(row: Row, tables: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    """Yield the dotted keys in which a row's profile, with all defaults, differs from other complete tables."""
    own, other = flat(complete(row.profile, catalog)), flat(tables)
    yield from (key for key in own.keys() | other.keys() if own.get(key, MISSING) != other.get(key, MISSING))


def test_changes_add_up_along_the_rows(load: Load, catalog: Catalog) -> None:
    loaded = load(TABLE)
    found = rows(loaded, catalog)
    assert list(found) == ["start", "wide", "wider", "flip", "other"]
    assert [(row.on, row.base, row.scores) for row in found.values()] == [
        (None, None, "a"),
        ("start", "start", "a"),
        ("wide", "wide", "a"),
        ("wide", "wide", "a"),
        ("flip", "flip", "b"),
    ]
    assert all(row.profile.train.epochs == 4 for row in found.values()) and loaded.profile.train.epochs == 2
    necks = {name: at(row.tables, "models.a.neck") for name, row in found.items()}
    assert necks == {
        "start": "plain",
        "wide": {"name": "wide", "channels": 8},
        "wider": {"name": "wide", "channels": 9},
        "flip": {"name": "wide", "channels": 8},
        "other": {"name": "wide", "channels": 8},
    }
    assert [row.profile.train.flip for row in found.values()] == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert [at(row.tables, "models.a.backbone.depth") for row in found.values()] == [3, 3, 5, 3, 3]
    assert not any({"tables", "sweep"} & row.tables.keys() for row in found.values())
    start, tables = start_of(loaded.tables, loaded.profile, "steps", catalog, loaded.file)
    assert start == found["start"].profile and tables == found["start"].tables


def test_what_rows_are_called(load: Load, catalog: Catalog) -> None:
    more = '[tables.steps.rows.titled]\ntitle = "Turned"\nset = { "models.b.backbone.depth" = 9 }\nscores = "b"\n'
    found = rows(load(TABLE + more), catalog)
    assert [row.words for row in found.values()] == [
        "model a",
        "neck {'name': 'wide', 'channels': 8}",
        "channels 9, depth 5",
        "flip 0",
        "model b",
        "Turned",
    ]


def test_a_combination_needs_all_chosen_models(load: Load, catalog: Catalog) -> None:
    more = '[tables.t.rows.one]\nscores = "combined"\n[tables.t.rows.fewer]\nset = { "competition.models" = ["b"] }\n'
    combine = '[combine]\nensembler = "mean"\n'
    found = rows(load(combine + more + 'scores = "combined"\n'), catalog, "t")
    assert [row.models for row in found.values()] == [("a", "b"), ("b",)]
    assert all(row.scores == COMBINED for row in found.values())
    with pytest.raises(ProfileError, match=r"tables.t: row 'one': scores: the profile has no \[combine\]"):
        load(more)


def test_a_demo_replaces_what_a_row_sets_and_keeps_the_rest(load: Load, catalog: Catalog) -> None:
    demo = (
        '[demo.tables.steps.set]\n"train.batch" = 2\n'
        '[demo.tables.steps.rows.wide]\nset = { "models.a.neck" = "wider" }\n'
        '[demo.tables.steps.rows.start]\nset = { "train.seed" = 3 }\n'
    )
    found = rows(load(TABLE + demo, demo=True), catalog)
    assert list(found) == ["start", "wide", "wider", "flip", "other"]
    assert (found["start"].profile.train.batch, found["start"].profile.train.epochs) == (2, 2)
    assert found["start"].table.published == {"AP": 50.0} and found["start"].profile.train.seed == 3
    assert at(found["wide"].tables, "models.a.neck") == "wider"
    assert at(found["wider"].tables, "models.a.neck") == {"name": "wider", "channels": 9}


def test_a_row_that_is_left_out_changes_nothing(load: Load, catalog: Catalog) -> None:
    table = TABLE.replace('"models.a.neck.channels" = 9, ', "")
    found = rows(load(table, settings=['tables.steps.rows.wide.left_out="needs a GPU"']), catalog)
    assert [(row.on, row.base) for row in found.values()][:3] == [(None, None), ("start", "start"), ("wide", "start")]
    assert at(found["flip"].tables, "models.a.neck") == "plain"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[R]\nset = { "models.a.head.iner" = 1 }', "models.a.head.iner: unknown key; did you mean inner?"),
        ('[R]\nset = { "train.lrr" = 0.1 }', "train.lrr: unknown key; did you mean lr?"),
        ('[R]\nset = { "models.a.neck" = "widr" }', "models.a.neck: unknown neck 'widr'; did you mean"),
        ('[R]\nset = { "train.flip" = 2 }', "train.flip: must be 1 or less, not 2"),
        ('[R]\nset = { "data.root" = "x" }', 'set."data.root": rows are scored on the same images'),
        ("[R]\n", "changes nothing of row 'other'; give it a set, or another model to score"),
        ('[R]\nscores = "b"\n', "changes nothing of row 'other'"),
        ('[R]\nset = { "train.lr" = 0.1 }\nscores = "b"', 'set."train.lr": changes nothing for model b, which has a'),
        ('[R]\nset = { "train.workers" = 2 }', 'set."train.workers": changes nothing for model b'),
        ('[R]\nset = { "predict.shard" = 2 }', 'set."predict.shard": changes nothing for model b'),
        ('[R]\nset = { "models.a.neck" = "plain" }\nscores = "b"', 'set."models.a.neck": changes nothing for model b'),
        (
            '[R]\nset = { "models.b.neck.channels" = 8, "train.flip" = 0.3 }\nscores = "b"',
            'set."models.b.neck.channels": changes nothing for model b',
        ),
        ('[R]\non = "wyde"', 'on: no row "wyde" above; did you mean wide or wider?'),
        ('[R]\non = "late"\nset = { "train.flip" = 1.0 }', 'on: no row "late" above'),
        ('[R]\nscores = "c"', "scores: no table [models.c]; known: a, b, combined"),
        ('[R]\nset = { "train.flip" = 1.0 }\npublished = { mAP = 1.0 }', 'published: no figure "mAP"; did you mean AP'),
    ],
)
def test_faults_of_a_row(load: Load, more: str, said: str) -> None:
    settings = more.replace("[R]", "[tables.steps.rows.late]")
    default = '[tables.steps]\nmodel = "b"\n'
    table = TABLE.replace("[tables.steps]\n", default).replace('scores = "b"', 'set = { "train.seed" = 1 }')
    with pytest.raises(ProfileError) as raised:
        load(table.replace("models.a", "models.b") + settings)
    start = "tables.steps: row 'late': "
    faults = [fault.split("toy.toml: ")[1] for fault in raised.value.faults]
    assert len(faults) == 1 and faults[0].startswith(start + said), faults


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[tables.t]\nrows = {}", "tables.t.rows: must not be empty"),
        ('[tables.t]\ntitel = "x"\nrows.a = {}', "tables.t.titel: unknown key; did you mean title?"),
        ("[tables.t.rows.a]\nset = { train.lr = 0.1 }", "tables.t.rows.a.set: a key is written whole and in quotes"),
        ('[tables.t]\nmodel = "c"\nrows.a = {}', "tables.t: model: no table [models.c]; known: a, b, combined"),
        ('[tables.t]\nset = { "train.lrr" = 1 }\nrows.a = {}', "tables.t: set: train.lrr: unknown key"),
        ('[tables."a/b"]\nrows.a = {}', "tables.a/b: the name must be letters"),
        ('[tables.t]\nrows."a,b" = {}', "tables.t: row 'a,b': the name must be letters"),
    ],
)
def test_faults_of_a_table(load: Load, more: str, said: str) -> None:
    with pytest.raises(ProfileError) as raised:
        load(f"\n{more}\n")
    assert raised.value.faults[0].split("toy.toml: ")[1].startswith(said), raised.value.faults


def test_all_faults_of_all_rows_at_once_and_each_once(load: Load) -> None:
    more = '[tables.x.rows.one]\nset = { "train.lrr" = 1 }\n[tables.x.rows.two]\nset = { "train.flop" = 1 }\n'
    bad = TABLE.replace('"train.flip" = 0.0', '"train.flip" = 7')
    with pytest.raises(ProfileError) as raised:
        load(bad + more)
    said = [
        fault.split("toy.toml: ")[1].partition(": must")[0].partition(": unknown")[0] for fault in raised.value.faults
    ]
    assert said == [
        "tables.steps: row 'flip': train.flip",
        "tables.x: row 'one': train.lrr",
        "tables.x: row 'two': train.flop",
    ]


def test_a_table_that_is_not_there(load: Load) -> None:
    loaded = load(TABLE)
    with pytest.raises(FinesegError, match=r"no table \[tables.stepz\]; did you mean steps\?"):
        table_named(loaded.profile, "stepz", loaded.file)


def test_paths_of_rows_are_relative_to_their_file(load: Load, catalog: Catalog, tmp_path: Path) -> None:
    more = (
        '[tables.t]\nset = { "models.a.backbone.weights" = "x.pth" }\nrows.one = {}\n'
        '[tables.t.rows.two]\nset = { "models.a.backbone" = { name = "small", weights = "y.pth" } }\n'
    )
    found = rows(load(more), catalog, "t")
    weights = [at(row.tables, "models.a.backbone.weights") for row in found.values()]
    assert weights == [str(tmp_path / "x.pth"), str(tmp_path / "y.pth")]


@pytest.mark.parametrize("demo", [False, True])
@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "htc", "solov2"])
def test_each_row_of_the_papers_tables_changes_what_it_names_alone(table: str, demo: bool) -> None:
    catalog = load_catalog(warn=print)
    loaded = load_profile(COMPETITION, catalog, demo=demo)
    check_ablations(loaded.tables, loaded.profile, catalog, loaded.file)
    found = rows(loaded, catalog, table)
    for row in found.values():
        if row.base is None or row.table.left_out:
            continue
        base = found[row.base]
        named = [key for key in row.table.set] + [f"models.{m}.{key}" for key in row.table.set for m in row.models]
        changed = list(differences(row, complete(base.profile, catalog), catalog))
        read = ("combine.", *(f"models.{model}." for model in row.models))
        own = [key for key in changed if key.startswith(read)]
        strange = [key for key in own if not any(f"{key}.".startswith(f"{name}.") for name in named)]
        assert not strange, (row.name, strange)
        assert own or row.scores != base.scores, row.name


@pytest.mark.parametrize("demo", [False, True])
def test_the_papers_tables_end_in_the_models_that_a_run_trains(demo: bool) -> None:
    catalog = load_catalog(warn=print)
    loaded = load_profile(COMPETITION, catalog, demo=demo, settings=["train.epochs=2"] if demo else [])
    last = complete(rows(loaded, catalog, "table2")["p6"].profile, catalog)
    assert last["models"]["m1"] == loaded.complete["models"]["m1"] and last["predict"] == loaded.complete["predict"]
    assert [row.scores for row in rows(loaded, catalog, "table3").values()] == ["m1", "m2", "m3", "m4"]


def test_published_figures_are_the_papers() -> None:
    catalog = load_catalog(warn=print)
    loaded = load_profile(COMPETITION, catalog)
    steps = {name: row.table.published.get("AP") for name, row in rows(loaded, catalog, "table2").items()}
    assert [value for value in steps.values() if value] == [53.2, 62.9, 64.0, 69.4, 71.6, 74.3]
    kinds = {name: row.table.published for name, row in rows(loaded, catalog, "table1").items()}
    assert [each["AP"] for each in kinds.values()] == [74.58, 75.29, 79.17]
    ensembles = {name: row.table.published["AP"] for name, row in rows(loaded, catalog, "table4").items()}
    assert list(ensembles.values()) == [77.38, 77.32, 77.37, 77.21, 76.95, 78.92, 79.03]
    single = {row.scores: tuple(row.table.published.values()) for row in rows(loaded, catalog, "table3").values()}
    assert single == {
        "m1": (77.38, 89.34, 83.28, 45.31, 71.21, 82.24),
        "m2": (77.32, 89.79, 83.24, 45.78, 72.25, 81.70),
        "m3": (77.37, 89.78, 83.39, 46.07, 72.84, 81.68),
        "m4": (77.21, 90.09, 82.88, 47.30, 71.98, 81.90),
    }


@pytest.mark.parametrize("file", ["3dfuture", "coco_panoptic"])
def test_rows_of_a_demo_read_what_is_drawn(file: str) -> None:
    """A variant lies over the demo: what it says of full size, its own demo must say again."""
    parts, path, tables = load_catalog(warn=pytest.fail), COMPETITION.with_stem(file), set()
    for variant in (None, *tomllib.loads(path.read_text(encoding="utf-8"))["variants"]):
        loaded = load_profile(path, parts, demo=True, variant=variant)
        assert loaded.profile.predict.long_side <= 210, variant
        for name in loaded.profile.tables:
            tables.add(name)
            for row in rows_of(loaded.tables, loaded.profile, name, parts, path):
                assert set(wanted_splits(row.profile)) <= {"train", "val", "test"}, (variant, name, row.name)
                assert row.profile.predict.long_side <= 210, (variant, name, row.name)
                for model in row.models:
                    assert row.profile.train_of(model).long_side <= 210, (variant, name, row.name)
    assert tables >= {"3dfuture": {"table2", "table4"}, "coco_panoptic": {"table1", "table2", "table3", "size"}}[file]
