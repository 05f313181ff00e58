"""The reader of profiles: any TOML, any tables and any setting give a profile or lines that name every fault."""

import tomllib
from pathlib import Path
from typing import Any

from fuzz.mutation import ATOMS, assert_lines, examples, mutated, mutated_bytes
from hypothesis import given
from hypothesis import strategies as st

from fineseg import FinesegError
from fineseg.catalog import load_catalog
from fineseg.profile import load_profile
from fineseg.profile.load import disabled_plugins
from fineseg.profile.overlay import overlay_text
from fineseg.profile.tables import check_ablations

PROFILE = Path(__file__).parents[2] / "competitions" / "3dfuture.toml"
TABLES = tomllib.loads(PROFILE.read_text(encoding="utf-8"))
SMALL = (Path(__file__).parents[1] / "integration" / "micro.toml").read_bytes()
CATALOG = load_catalog(warn=print)
WRITABLE = st.one_of(
    ATOMS.filter(lambda value: value is not None),
    st.lists(st.integers(-3, 9), max_size=3),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.integers(), max_size=2),
    st.sampled_from(("fpn", "resnet", "pointrend", "flip", "none", {"name": "fpn"}, {"name": 3}, ["flip", "flip"])),
)
UNWRITABLE = {
    "@deep array@": "[" * 20_000 + "]" * 20_000,
    "@hex@": "0x" + "f" * 100_000,
    "@digits@": "9" * 100_000,
    "@date@": "1979-05-27T07:32:00Z",
    "@time@": "07:32:00",
    "@nan@": "nan",
    "@inf@": "-inf",
}


def load(file: Path, **layers: Any) -> None:
    try:
        disabled_plugins(file, **{"demo": False, "variant": None, "overlays": (), "settings": ()} | layers)
        loaded = load_profile(file, CATALOG, **layers)
        check_ablations(loaded.tables, loaded.profile, CATALOG, file)
    except FinesegError as error:
        assert_lines(error)


def toml_text(tables: Any) -> str:
    """Write mutated tables, with texts in place of the marks."""
    text = overlay_text(tables) if isinstance(tables, dict) else str(tables)
    for mark, written in UNWRITABLE.items():
        text = text.replace(f'"{mark}"', written)
    return text


@examples(60)
@given(tables=mutated(TABLES, WRITABLE | st.sampled_from(sorted(UNWRITABLE))), demo=st.booleans())
def test_tables(tables: Any, demo: bool, folder: Path) -> None:
    file = folder / "p.toml"
    file.write_text(toml_text(tables), encoding="utf-8", errors="surrogatepass")
    load(file, demo=demo)


@examples(300)
@given(content=mutated_bytes(SMALL))
def test_any_bytes(content: bytes, folder: Path) -> None:
    (folder / "p.toml").write_bytes(content)
    load(folder / "p.toml")


KEYS = st.lists(
    st.sampled_from(
        ("models", "plain", "train", "lr", "head", "name", "data", "root", "sweep", "space", '"a.b"', "x", "tta")
    )
    | st.text(max_size=4),
    max_size=5,
).map(".".join)


@examples(300)
@given(
    settings=st.lists(
        st.tuples(
            KEYS,
            st.sampled_from(("=", "=", "=", "")),
            st.text(max_size=9) | st.sampled_from(sorted(UNWRITABLE.values())),
        ),
        min_size=1,
        max_size=2,
    )
)
def test_any_setting(settings: list[tuple[str, str, str]], folder: Path) -> None:
    (folder / "p.toml").write_bytes(SMALL)
    load(folder / "p.toml", settings=tuple("".join(setting) for setting in settings))


def test_keys_of_any_depth(folder: Path) -> None:
    """Dotted keys nest without a bracket; tomllib takes the square of their number in time."""
    for text in ("a." * 2_000 + "a = 1", "[" + "a." * 2_000 + "a]"):
        (folder / "p.toml").write_text(text)
        load(folder / "p.toml")
    (folder / "p.toml").write_bytes(SMALL)
    load(folder / "p.toml", settings=("a." * 2_000 + "a=1",))
    load(folder / "p.toml", settings=("train.lr=" + "{a=" * 3_000 + "1" + "}" * 3_000,))
