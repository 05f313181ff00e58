"""Content keys of models with ends, and those that models without ends have always had."""

from collections.abc import Callable
from pathlib import Path

import pytest
from profile_toys import PROFILE, toy_catalog

from fineseg import Split
from fineseg.profile import Profile, load_profile
from fineseg.profile.outputs import outputs_of
from fineseg.runs import Splits, model_key, part_key, prediction_key, training_key

CATALOG = toy_catalog()
DIGESTS = {"train": "t", "val": "v"}
SPLITS = Splits(*(Split(name, (), (), {}) for name in ("train", "val", "val")))
ENDS = '\n[models.c]\nbackbone = "small"\nneck = "plain"\nends = { x = "boxes", y = "queries" }\n'


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., Profile]:
    def load(*settings: str, more: str = ENDS) -> Profile:
        (tmp_path / "toy.toml").write_text(PROFILE + more)
        return load_profile(tmp_path / "toy.toml", CATALOG, settings=settings).profile

    return load


def trained(profile: Profile, model: str = "c") -> str:
    return training_key(profile, CATALOG, model, DIGESTS, SPLITS)


def predicted(profile: Profile, name: str, training: str = "training") -> str:
    return prediction_key(profile, CATALOG, name, training, "digest")


@pytest.mark.parametrize(
    ("model", "settings", "keys"),
    [
        ("a", (), ("a606959ff376eeea", "a6a293a8919d415c")),
        ("b", (), ("a1269351abf396d6", "8cdf799b94ec52d9")),
        ("a", ("train.validate_every=1",), ("60681eba9dd59d54", "27879d898f5ba9e0")),
        ("b", ("train.validate_every=1",), ("923889594f8e77d8", "0b5e3dce2720b8d8")),
    ],
)
def test_models_of_one_head_keep_the_keys_of_older_stores(
    profile: Callable[..., Profile], model: str, settings: tuple[str, ...], keys: tuple[str, str]
) -> None:
    loaded = profile(*settings)
    training = trained(loaded, model)
    assert (training, predicted(loaded, model, training)) == keys


@pytest.mark.parametrize(
    ("settings", "trains_anew", "x_anew", "y_anew"),
    [
        (("models.c.ends_training=joint",), False, False, False),
        (("models.c.ends_training=frozen-first",), True, False, False),
        (("models.c.ends.x.inner.width=9",), True, True, False),
        (("models.c.ends.x.inner.points=9",), False, True, False),
        (("predict.nms_iou=0.6",), False, True, True),
        (("models.c.predict.nms_iou=0.6",), False, True, True),
        (("models.a.predict.nms_iou=0.6",), False, False, False),
    ],
)
def test_what_keys_of_ends_depend_on(
    profile: Callable[..., Profile], settings: tuple[str, ...], trains_anew: bool, x_anew: bool, y_anew: bool
) -> None:
    before, after = profile(), profile(*settings)
    assert (trained(before) != trained(after)) == trains_anew
    assert (predicted(before, "c/x") != predicted(after, "c/x")) == x_anew
    assert (predicted(before, "c/y") != predicted(after, "c/y")) == y_anew


def test_names_of_ends_do_not_count_and_their_order_does(profile: Callable[..., Profile]) -> None:
    """The first decides for what is shared, and weights know their ends by number."""
    first = profile()
    renamed = profile(more=ENDS.replace("x =", "q =").replace("y =", "r ="))
    turned = profile(more=ENDS.replace('x = "boxes", y = "queries"', 'y = "queries", x = "boxes"'))
    assert trained(renamed) == trained(first) != trained(turned)
    assert predicted(renamed, "c/q") == predicted(first, "c/x") != predicted(first, "c/y")
    same = profile(more=ENDS.replace("queries", "boxes"))
    assert predicted(same, "c/x") != predicted(same, "c/y"), "the same head twice has two weights"


def test_what_a_model_is_made_of_and_what_its_ends_say(profile: Callable[..., Profile]) -> None:
    loaded = profile()
    alone, both = loaded.models["a"], loaded.models["c"]
    kinds = ("backbone", "neck", "head")
    assert model_key(CATALOG, alone, trained=False) == {k: part_key(CATALOG, k, getattr(alone, k)) for k in kinds}
    heads = model_key(CATALOG, both, trained=True)["ends"]
    assert [head["name"] for head in heads] == ["boxes", "queries"] and "points" not in heads[0]["options"]["inner"]
    assert outputs_of(CATALOG, both, "y") == outputs_of(CATALOG, alone) == ("instances",)
