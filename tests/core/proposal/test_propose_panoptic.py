"""Proposals for panoptic data: what becomes part of a map, and what a training costs."""

from pathlib import Path

import numpy as np
import pytest

from fineseg import Category, FinesegError, ImageInfo, PanopticFile, Segment, Split
from fineseg.proposal.measure import Machine, Stuff, measure, measure_stuff
from fineseg.proposal.panoptic import ENOUGH, LOST_STUFF, map_rules, panoptic_cost, panoptic_model
from fineseg.proposal.propose import INSTANCES, Scale, fit

LAPTOP = Machine(cores=2, memory=20.0)
ONE_GPU = Machine(cores=16, memory=100.0, gpus=(24.0,))
SCALE = Scale(256, 192, 160, 40.0, "")
LARGE = Scale(1344, 800, 640, 40.0, "")


def split_of(*maps: tuple[Segment, ...]) -> Split:
    """Return images of one thing and two stuff classes, which have these segments."""
    images = tuple(ImageInfo(n, Path(f"{n}.png"), 100, 80) for n, _ in enumerate(maps))
    files = {n: PanopticFile(Path(f"{n}.png"), segments) for n, segments in enumerate(maps)}
    stuff = (Category(2, "sky"), Category(3, "wall"))
    return Split("train", (Category(1, "bed"),), images, stuff=stuff, panoptic=files)


def test_stuff_is_what_is_no_thing_and_no_crowd() -> None:
    first = (Segment(7, 0, 50.0), Segment(8, 1, 900.0), Segment(9, 2, 400.0))
    second = (Segment(7, 2, 100.0), Segment(8, 1, 5.0, crowd=True))
    found = measure_stuff(split_of(first, second))
    assert found.classes == (("wall", 2), ("sky", 1))
    np.testing.assert_array_equal(found.every, [400, 100, 900])


def test_what_a_panoptic_split_lacks_is_said() -> None:
    things_alone, stuff_alone = split_of((Segment(1, 0, 9.0),)), split_of((Segment(1, 1, 9.0),))
    with pytest.raises(FinesegError, match=r"1 images with no stuff, .* say --task instance"):
        measure_stuff(things_alone)
    with pytest.raises(FinesegError, match="1 images with no thing; nothing can be proposed"):
        measure(stuff_alone)


@pytest.mark.parametrize("seed", range(20))
def test_limit_loses_no_more_than_it_may(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = [rng.lognormal(rng.uniform(4, 9), 1, rng.integers(1, 60)) for _ in range(6)] + [np.array([5000.0])]
    found = map_rules(Stuff(tuple((f"class {n}", areas) for n, areas in enumerate(own))), LAPTOP)
    every = np.concatenate(own)
    lost = sum(1 for area in every if area < found.stuff_area)
    assert lost <= LOST_STUFF * len(every)
    parts = [sum(1 for area in areas if area < found.stuff_area) / len(areas) for areas in own if len(areas) >= ENOUGH]
    assert max(parts, default=0.0) <= 0.5
    beyond = np.sort(every[every > found.stuff_area + 1])[1] + 1  # one of both bounds is what holds it down
    assert np.mean(every < beyond) > LOST_STUFF or found.stuff_area in [int(np.median(areas)) for areas in own]
    assert f"{lost / len(every):.0%} of the true segments" in found.why_area


def test_class_of_small_segments_holds_the_limit_down() -> None:
    large, small = np.full(99, 1e4), np.full(ENOUGH, 300.0)
    found = map_rules(Stuff((("wall", large), ("lamp", small), ("rug", small[1:] / 3))), ONE_GPU)
    assert found.stuff_area == 300 and found.why_area.endswith("have fewer, and half of those of class lamp")
    assert found.score == 0.6 and "published" in found.why_score
    assert map_rules(Stuff((("wall", large),)), LAPTOP).stuff_area == 10_000


def test_one_model_that_makes_maps() -> None:
    assert panoptic_model(SCALE, LAPTOP).small and not panoptic_model(SCALE, ONE_GPU).small
    assert (
        panoptic_model(SCALE, LAPTOP).anchor == 8 and "nothing is to be fused yet" in panoptic_model(SCALE, LAPTOP).why
    )


def test_every_class_costs_time_and_memory() -> None:
    for machine, scale in ((LAPTOP, SCALE), (ONE_GPU, LARGE)):
        few, many = (fit(scale, machine, 1000, panoptic_cost(classes)) for classes in (10, 133))
        plain = fit(scale, machine, 1000, INSTANCES)
        seconds = [each.seconds / each.epochs for each in (plain, few, many)]
        assert seconds[0] < seconds[1] <= seconds[2] and (seconds[1] < seconds[2]) == (machine is LAPTOP)
        assert plain.gib / plain.batch < few.gib / few.batch < many.gib / many.batch
        assert many.epochs <= plain.epochs and many.batch <= plain.batch
    assert fit(SCALE, LAPTOP, 1000, panoptic_cost(133)).lr < fit(SCALE, LAPTOP, 1000, INSTANCES).lr
