"""Where the layers of a profile come from, in which order, and what is said of files that are no profile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from profile_toys import PROFILE

from fineseg import FinesegError
from fineseg.catalog import Catalog
from fineseg.profile import load_profile
from fineseg.profile.load import disabled_plugins

OVERLAYS = """
[demo.train]
lr = 3.0
[variants.big.train]
lr = 4.0
[variants.small]
"""


@pytest.fixture
def stack(tmp_path: Path) -> dict[str, Any]:
    """Return the options of all layers over a file that extends another."""
    (tmp_path / "below.toml").write_text(PROFILE.replace("lr = 0.1", "lr = 1.0"))
    (tmp_path / "over.toml").write_text("[train]\nlr = 5.0\n")
    (tmp_path / "over2.toml").write_text("[train]\nlr = 6.0\n")
    return {
        "demo": True,
        "variant": "big",
        "overlays": [tmp_path / "over.toml", tmp_path / "over2.toml"],
        "settings": ["train.lr=7.0", "train.lr=8.0"],
    }


def test_precedence(load: Callable, stack: dict[str, Any], tmp_path: Path) -> None:
    child = 'extends = "below.toml"\n[train]\nlr = 2.0\n' + OVERLAYS
    file, folder = tmp_path / "toy.toml", tmp_path
    expected = [
        (f"{folder}/below.toml", 1.0),
        (str(file), 2.0),
        (f"{file} [demo]", 3.0),
        (f"{file} [variants.big]", 4.0),
        (f"--with {folder}/over.toml", 5.0),
        (f"--with {folder}/over2.toml", 6.0),
        ("--set train.lr=7.0", 7.0),
        ("--set train.lr=8.0", 8.0),
    ]
    loaded = load(child, base="", **stack)
    assert loaded.explain("train.lr") == expected
    assert loaded.profile.train.lr == 8.0
    for option, left in [("settings", 6), ("overlays", 4), ("variant", 3), ("demo", 2)]:
        del stack[option]
        loaded = load(child, base="", **stack)
        assert loaded.explain("train.lr") == expected[:left]
        assert loaded.profile.train.lr == expected[left - 1][1]


def test_overlays_of_an_extended_file_lie_below_the_files_own(load: Callable, tmp_path: Path) -> None:
    (tmp_path / "below.toml").write_text(
        PROFILE + "[demo.train]\nlr = 3.0\nepochs = 1\n[variants.v.train]\nbatch = 2\n"
    )
    loaded = load('extends = "below.toml"\n[demo.train]\nlr = 4.0\n', base="", demo=True, variant="v")
    train = loaded.profile.train
    assert (train.lr, train.epochs, train.batch) == (4.0, 1, 2)


def test_a_variant_has_a_demo_of_its_own(load: Callable, tmp_path: Path) -> None:
    own = "[variants.big.demo.train]\nbatch = 3\n[variants.small.demo.train]\nbatch = 9\n"
    text, rates = PROFILE + OVERLAYS + own, []
    for demo in (False, True):
        for variant in (None, "big"):
            loaded = load("", base=text, demo=demo, variant=variant)
            rates.append((loaded.profile.train.lr, loaded.profile.train.batch))
    assert rates == [(0.1, 4), (4.0, 4), (3.0, 4), (4.0, 3)]
    assert loaded.explain("train.batch")[-1] == (f"{tmp_path / 'toy.toml'} [variants.big.demo]", 3)
    with pytest.raises(FinesegError, match=r"--variant bog: no \[variants.bog\] table; did you mean big\?"):
        load("", base=text, variant="bog")


def test_paths_are_relative_to_the_file_that_states_them(
    load: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "over").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "base" / "below.toml").write_text(PROFILE.replace("depth = 3", 'weights = "w.pth"'))
    (tmp_path / "over" / "o.toml").write_text('[models.a.backbone]\nweights = "../o.pth"\n')
    child = 'extends = "base/below.toml"\n'

    def paths(**options: Any) -> tuple[str, str]:
        profile = load(child, base="", **options).profile
        return profile.data.root, profile.models["a"].backbone.options["weights"]

    inside = f"{tmp_path}/base"
    assert paths() == (f"{inside}/data", f"{inside}/w.pth")
    assert paths(overlays=[tmp_path / "over" / "o.toml"]) == (f"{inside}/data", f"{tmp_path}/o.pth")
    assert paths(settings=["data.root=d"]) == (f"{tmp_path}/cwd/d", f"{inside}/w.pth")
    for kept in ("none", "https://example.org/w.pth", "/somewhere/w.pth"):
        assert paths(settings=[f'models.a.backbone.weights="{kept}"'])[1] == kept


def test_a_checkpoint_that_a_model_starts_from_is_anchored_too(load: Callable, tmp_path: Path) -> None:
    def start(text: str) -> str | None:
        weights: str | None = load(f'[demo.models.a]\nweights = "{text}"\n', demo=True).profile.models["a"].weights
        return weights

    assert start("w.pth") == f"{tmp_path}/w.pth"
    assert start("none") is None and start("http://x/w.pth") == "http://x/w.pth"
    with pytest.raises(FinesegError, match=r"models\.a\.weights: .*a file path or an http\(s\) address, not s3://"):
        start("s3://x/w.pth")


def test_a_file_of_folds_is_anchored_too(load: Callable, tmp_path: Path) -> None:
    def folds(text: str) -> Any:
        return load(f"[demo.data]\nvalidation = {{ folds = {text} }}\n", demo=True).profile.data.validation.folds

    assert folds('"mine.json"') == f"{tmp_path}/mine.json"
    assert folds("3") == 3


def test_settings_are_toml_and_bare_words_are_text(load: Callable) -> None:
    settings = ["train.short_side=[5, 6]", "models.a.neck=wide", "train.flip=0", "competition.title=", "data.test= t "]
    profile = load(settings=settings).profile
    assert profile.train.short_side == (5, 6)
    assert profile.models["a"].neck.name == "wide"
    assert (profile.train.flip, profile.competition.title, profile.data.test) == (0, "", "t")


def test_explain(load: Callable, tmp_path: Path) -> None:
    file = f"{tmp_path}/toy.toml"
    loaded = load("[demo.models.b]\nneck = 'wider'\nhead = { inner = { width = 9 } }\n", demo=True)
    assert loaded.explain("train.lr") == [(file, 0.1)]
    assert loaded.explain("train.flip") == [("default", 0.5)]
    assert loaded.explain("models.b.train.lr") == [(file, 0.1), (file, 0.2)]
    assert loaded.explain("models.a.train.epochs") == [(file, 2)]
    assert loaded.explain("models.b.neck.name") == [(file, "wide"), (f"{file} [demo]", "wider")]
    assert loaded.explain("models.b.neck.channels") == [("default", 16)]  # 32 was the other neck's
    assert loaded.explain("models.b.head.inner.width") == [(f"{file} [demo]", 9)]
    assert loaded.explain("models.a.backbone.weights") == [("default", "none")]
    assert loaded.explain("models.b.backbone") == [
        (file, "small"),
        ("all layers and defaults together", {"name": "small", "depth": 2, "weights": "none"}),
    ]
    with pytest.raises(FinesegError, match=r"^--explain train.rl: no such key; did you mean train.lr"):
        loaded.explain("train.rl")


def test_disabled_plugins_are_known_before_the_check(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    options: dict[str, Any] = {"demo": False, "variant": None, "overlays": [], "settings": []}
    for text, names in [
        ('[plugins]\ndisable = ["a", 3]', ["a"]),
        ("plugins = 3", []),
        ('[plugins]\ndisable = "a"', []),
        ("", []),
    ]:
        file.write_text(text)
        assert disabled_plugins(file, **options) == names


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "epochs = = 3\n",
            {},
            "{file}: not valid TOML: Invalid value (at line 1, column 10)",
        ),
        ("extends = 3\n", {}, "{file}: extends: must be the path of one TOML file, not 3"),
        ('extends = "gone.toml"\n', {}, "{folder}/gone.toml: no such file; give the path of a profile (TOML)"),
        (
            'extends = "twice.toml"\n',
            {},
            "{folder}/twice.toml: extends: only one level is allowed; {file} already extends this file",
        ),
        (PROFILE, {"demo": True}, "{file}: --demo: the profile has no [demo] table; add one, or run without --demo"),
        ("demo = 3\n" + PROFILE, {}, "{file}: demo: must be a table, [demo], not 3"),
        ("variants = 3\n" + PROFILE, {}, "{file}: variants: must be tables, [variants.NAME], not 3"),
        (
            PROFILE + "[variants.big]\ndemo = 3\n",
            {},
            "{file}: variants.big.demo: must be a table, [variants.big.demo], not 3",
        ),
        (
            PROFILE,
            {"variant": "big"},
            "{file}: --variant big: no [variants.big] table; the profile has no variants",
        ),
        (
            PROFILE + OVERLAYS,
            {"variant": "bog"},
            "{file}: --variant bog: no [variants.bog] table; did you mean big?",
        ),
        (
            PROFILE + OVERLAYS,
            {"variant": "demo"},
            "{file}: --variant demo: no [variants.demo] table; known: big, small",
        ),
        (
            PROFILE,
            {"settings": ["train.lr"]},
            "--set train.lr: must be KEY=VALUE with a dotted key, such as train.lr=0.01",
        ),
        (PROFILE, {"settings": [".lr=3"]}, "--set .lr=3: must be KEY=VALUE with a dotted key, such as train.lr=0.01"),
        (
            PROFILE.replace('"data"', '"\\u0000"'),
            {},
            '"\\u0000": cannot be used as a path: embedded null byte',
        ),
    ],
)
def test_what_is_said_of_files_that_are_no_profile(
    load: Callable, tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "twice.toml").write_text('extends = "other.toml"\n')
    with pytest.raises(FinesegError) as caught:
        load(text, base="", **options)
    assert str(caught.value) == message.format(file=tmp_path / "toy.toml", folder=tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path, catalog: Catalog) -> None:
    def message(file: Path) -> str:
        with pytest.raises(FinesegError) as caught:
            load_profile(file, catalog)
        return str(caught.value)

    advice = "give the path of a profile (TOML)"
    assert message(tmp_path / "no.toml") == f"{tmp_path}/no.toml: no such file; {advice}"
    assert message(tmp_path) == f"{tmp_path}: cannot be read: Is a directory; {advice}"
    (tmp_path / "latin.toml").write_bytes(b"\xe9 = 3")
    assert message(tmp_path / "latin.toml").startswith(f"{tmp_path}/latin.toml: cannot be read: 'utf-8' codec")
