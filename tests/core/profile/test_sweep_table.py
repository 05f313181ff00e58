"""`[sweep]` in a profile: what is said of one with faults, which layers win, and where its paths lead."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg.errors import ProfileError
from fineseg.profile import Loaded
from fineseg.profile.overlay import overlay_text
from fineseg.profile.space import as_tables
from fineseg.profile.sweep import fixed_settings, model_of, trial_tables

SPACE = '\n[sweep.space]\n"train.lr" = { uniform = [0.1, 0.2] }\n'


def test_a_sound_sweep(load: Callable[..., Loaded]) -> None:
    loaded = load('\n[sweep]\nscheduler = "asha"\nbudget = "8h"\n' + SPACE)
    sweep = loaded.profile.sweep
    assert sweep is not None and sweep.space["train.lr"].uniform == (0.1, 0.2)
    assert model_of(loaded.profile, sweep) == "a"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ('"train.lrr" = { uniform = [1, 2] }', 'sweep.space."train.lrr": unknown key; did you mean lr?'),
        ('"train.lr" = { uniform = [-1, 2] }', 'sweep.space."train.lr": must be greater than 0, not -1.0'),
        ('"train.lr" = { uniform = [2, 1] }', 'sweep.space."train.lr": uniform must be [from, to] with from < to'),
        ('"train.lr" = { log_uniform = [0, 1] }', 'sweep.space."train.lr": log_uniform must start above 0, not at 0'),
        ('"train.lr" = { unifrm = [1, 2] }', 'sweep.space."train.lr".unifrm: unknown key; did you mean uniform'),
        ('"train.lr" = { choice = [1], integer = [1, 2] }', 'sweep.space."train.lr": must say one of choice, uniform'),
        ('"train.lr" = { choice = [] }', 'sweep.space."train.lr".choice: must not be empty'),
        ('"train.lr" = { choice = [1, 2, 1] }', 'sweep.space."train.lr": choice lists a value twice'),
        ('"train.lr" = 0.1', 'sweep.space."train.lr": must be a table, not 0.1'),
        ("train.lr = { uniform = [1, 2] }", "sweep.space: a key is written whole and in quotes"),
        ('"train.epochs" = { uniform = [1, 3] }', 'sweep.space."train.epochs": must be a whole number, not 1.76'),
        ('"train.epochs" = { choice = [1, "x", 0] }', 'sweep.space."train.epochs": must be a whole number, not "x"'),
        ('"train.flip" = { uniform = [0.5, 1.5] }', 'sweep.space."train.flip": must be 1 or less, not 1.5'),
        ('"models.a.neck" = { choice = ["plain", "widr"] }', "sweep.space.\"models.a.neck\": unknown neck 'widr'"),
        ('"models.a.backbone.depth" = { integer = [0, 3] }', 'sweep.space."models.a.backbone.depth": must be greater'),
        ('"train.short_side" = { choice = [[9, 9000]] }', 'sweep.space."train.short_side": train: short_side goes up'),
        ('"data.root" = { choice = ["x"] }', 'sweep.space."data.root": trials differ in how a model is trained'),
        ('"models.b.neck" = { choice = ["plain"] }', 'sweep.space."models.b.neck": changes nothing in the training of'),
        ('"train.workers" = { choice = [1, 2] }', 'sweep.space."train.workers": changes nothing in the training of'),
        ('"predict.tta" = { choice = [[], ["turn"]] }', 'sweep.space."predict.tta": changes nothing in the training'),
        (
            '"models.a.head" = { choice = ["boxes"] }\n"models.a.head.inner" = { choice = [{ width = 2 }] }',
            'sweep: space: "models.a.head.inner" is inside "models.a.head"',
        ),
    ],
)
def test_faults_of_a_space(load: Callable[..., Loaded], space: str, said: str) -> None:
    with pytest.raises(ProfileError) as raised:
        load(f"\n[sweep.space]\n{space}\n")
    assert any(fault.split("toy.toml: ")[1].startswith(said) for fault in raised.value.faults), raised.value.faults


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('model = "c"', "sweep.model: no table [models.c]; known: a, b"),
        ('model = "b"', 'sweep.space."train.lr": changes nothing for model b, which has a value of its own; sweep "mo'),
        ('metric = "AP60"', 'sweep.metric: no figure "AP60" in validations of model a; did you mean AP50'),
        ('search = "grid"', 'sweep: search = "grid" needs choices or integers, but "train.lr" is continuous'),
        ('budget = "8x"', "sweep.budget: must be a time such as 8h, 30m, 90s or 1h30m, or work such as 2gpu-h or"),
        ('serch = "grid"', "sweep.serch: unknown key; did you mean search?"),
        ("samples = 0", "sweep.samples: must be greater than 0, not 0"),
        ('scheduler = "best"', "sweep.scheduler: must be 'none', 'asha' or 'median', not \"best\""),
    ],
)
def test_faults_of_a_sweep(load: Callable[..., Loaded], line: str, said: str) -> None:
    with pytest.raises(ProfileError) as raised:
        load(f"\n[sweep]\n{line}\n{SPACE}")
    assert len(raised.value.faults) == 1 and raised.value.faults[0].split("toy.toml: ")[1].startswith(said)


def test_a_grid_has_no_samples(load: Callable[..., Loaded]) -> None:
    with pytest.raises(ProfileError, match="tries every combination: leave out samples"):
        load('\n[sweep]\nsearch = "grid"\nsamples = 3\n[sweep.space]\n"train.epochs" = { integer = [1, 2] }\n')


def test_a_space_is_replaced_whole(load: Callable[..., Loaded]) -> None:
    demo = '\n[demo.sweep.space]\n"train.epochs" = { choice = [1, 2] }\n'
    swept = [load(SPACE + demo, demo=demo_on).profile.sweep for demo_on in (False, True)]
    assert [list(sweep.space) for sweep in swept if sweep] == [["train.lr"], ["train.epochs"]]
    for setting in ('sweep.space={"train.flip"={choice=[0.0,1.0]}}', 'sweep.space."train.flip"={choice=[0.0,1.0]}'):
        sweep = load(SPACE, settings=[setting]).profile.sweep
        assert sweep is not None and list(sweep.space) == ["train.flip"]


def test_paths_among_choices_are_relative_to_their_file(load: Callable[..., Loaded], tmp_path: Path) -> None:
    space = '"models.a.backbone.weights" = { choice = ["x.pth", "none", "https://x/y.pth"] }\n'
    parts = '"models.a.backbone" = { choice = ["small", { name = "small", weights = "x.pth" }] }\n'
    sweep = load(f"\n[sweep.space]\n{space}").profile.sweep
    there = str(tmp_path / "x.pth")
    assert sweep is not None
    assert sweep.space["models.a.backbone.weights"].choice == (there, "none", "https://x/y.pth")
    sweep = load(f"\n[sweep.space]\n{parts}").profile.sweep
    assert sweep is not None
    assert sweep.space["models.a.backbone"].choice == ("small", {"name": "small", "weights": there})


def test_trials_validate(load: Callable[..., Loaded]) -> None:
    for own, wanted, fixed in (("", "", 1), ("train.validate_every=2", "", None), ("", "validate_every = 3\n", 3)):
        loaded = load(f"\n[sweep]\n{wanted}{SPACE}", settings=[own] if own else [])
        sweep = loaded.profile.sweep
        assert sweep is not None
        expected = {} if fixed is None else {"models.a.train.validate_every": fixed}
        assert fixed_settings(loaded.profile, sweep) == expected


def test_the_best_settings_as_an_overlay_make_the_trial(load: Callable[..., Loaded], tmp_path: Path) -> None:
    space = '"train.lr" = { uniform = [0.1, 0.2] }\n"models.a.neck" = { choice = ["plain", { name = "wide" }] }\n'
    loaded = load(f"\n[sweep.space]\n{space}")
    sweep = loaded.profile.sweep
    assert sweep is not None
    point = {"train.lr": 0.1234, "models.a.neck": {"name": "wide", "channels": 7}}
    trial = trial_tables(loaded.tables, loaded.profile, sweep, point)
    overlay = tmp_path / "best.toml"
    overlay.write_text(overlay_text({**fixed_settings(loaded.profile, sweep), **point}, ["the best"]))
    again = load(f"\n[sweep.space]\n{space}", overlays=[overlay])
    assert {name: table for name, table in again.tables.items() if name != "sweep"} == trial
    assert "sweep" not in trial
    assert again.profile.train_of("a").lr == 0.1234 and again.profile.train_of("a").validate_every == 1
    assert as_tables(point)["models"]["a"]["neck"]["channels"] == 7
