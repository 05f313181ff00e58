"""Which figures validations of a model have, and by which of them its best checkpoint is chosen."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg.catalog import Catalog, load_catalog
from fineseg.errors import ProfileError
from fineseg.profile import Loaded, load_profile
from fineseg.profile.outputs import best_figure, validation_figures

PANOPTIC = Path(__file__).parents[3] / "competitions" / "coco_panoptic.toml"
SPACE = 'sweep.space={"train.lr"={choice=[0.01,0.02]}}'


@pytest.fixture(scope="module")
def parts() -> Catalog:
    return load_catalog(warn=pytest.fail)


def test_of_instances_ap(load: Callable[..., Loaded], catalog: Catalog) -> None:
    profile = load().profile
    assert best_figure(profile, catalog, "a") == "AP"
    assert validation_figures(profile, catalog, "a") == ("AP", "AP50", "AP75", "APs", "APm", "APl")


@pytest.mark.parametrize(
    ("model", "best", "others"),
    [
        ("r50", "PQ", {"PQth", "AP50", "mIoU"}),
        ("lwl-htc", "AP", {"AP50", "mIoU"}),
        ("semantic", "mIoU", set()),
        ("both", "AP", {"PQ", "mIoU"}),  # only one of its ends makes maps
    ],
)
def test_of_panoptic_models_what_their_heads_say(parts: Catalog, model: str, best: str, others: set[str]) -> None:
    profile = load_profile(PANOPTIC, parts).profile
    figures = validation_figures(profile, parts, model)
    assert best_figure(profile, parts, model) == best and {best, *others} <= set(figures)
    assert ("PQ" in figures) == (model in ("r50", "both"))
    sweep = [f"sweep.model={model}", SPACE]
    for figure in figures:
        load_profile(PANOPTIC, parts, settings=[*sweep, f"sweep.metric={figure}"])
    if "PQ" not in figures:
        with pytest.raises(ProfileError, match=f'sweep.metric: no figure "PQ" in validations of model {model}; known:'):
            load_profile(PANOPTIC, parts, settings=[*sweep, "sweep.metric=PQ"])


def test_ends_that_have_nothing_in_common_go_by_the_first_that_one_has(parts: Catalog) -> None:
    ends = 'models.both.ends={e-ups="mask-rcnn",lwl-htc={name="hrnet-deeplab"}}'
    profile = load_profile(PANOPTIC, parts, settings=[ends]).profile
    assert best_figure(profile, parts, "both") == "AP"
