"""What the report is told of predictions: figures that JSON keeps, and images that are chosen for the gallery."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from drawn_sets import draw

from fineseg.metrics.mask_ap import mask_ap
from fineseg.metrics.matching import match
from fineseg.report.records import Analysis
from fineseg.stages.analyse import analysis_of
from fineseg.stages.report import choose_images


@pytest.mark.parametrize("seed", range(4))
def test_an_analysis_agrees_with_the_scores_and_survives_the_store(seed: int) -> None:
    split, predictions = draw(seed)
    found = analysis_of(match(split, predictions, 100))
    scores = mask_ap(split, predictions).summary
    assert found.ap50 == pytest.approx(scores["AP50"], abs=0.006)
    for key, figure in (("50", "AP50"), ("75", "AP75"), ("mean", "AP")):
        assert np.mean([value or 0.0 for value in found.mean_precision[key]]) == pytest.approx(scores[figure], abs=0.01)
    assert sum(found.objects) == sum(not each.crowd for i in split.images for each in split.objects_of(i.id))
    assert len(found.edges) == len(found.objects) + 1 == len(found.recall50) + 1 == len(found.recall) + 1
    assert found.objects[0] and found.objects[-1]
    stored = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert json.loads(json.dumps(asdict(Analysis(**stored)))) == stored


def test_an_analysis_of_nothing_has_no_figures() -> None:
    split, predictions = draw(1)
    found = analysis_of(match(replace(split, objects={}), predictions, 100))
    assert found.ap50 is None and found.objects == [] and set(found.mean_precision["mean"]) == {None}
    assert found.precision["mean"] == [None] * len(split.categories)


def test_images_are_the_lowest_the_highest_and_some_others() -> None:
    ids = list(range(100, 200))
    scores = {image: float((image * 37) % 101) for image in ids if image % 10}
    chosen = choose_images(ids, scores, 10)
    ranked = sorted(scores, key=scores.__getitem__)
    assert chosen["worst"] == ranked[:10] and chosen["best"] == ranked[:-11:-1]
    assert len(chosen["random"]) == 10 and chosen["random"] == sorted(chosen["random"])
    assert len({*chosen["worst"], *chosen["best"], *chosen["random"]}) == 30
    assert chosen == choose_images(ids, scores, 10)


def test_equal_images_are_drawn_by_lot_always_the_same() -> None:
    ids = list(range(60))
    chosen = choose_images(ids, dict.fromkeys(ids, 50.0), 5)
    assert chosen == choose_images(ids, dict.fromkeys(ids, 50.0), 5)
    assert chosen["worst"] != ids[:5] and not {*chosen["worst"]} & {*chosen["best"]}


@pytest.mark.parametrize(("images", "sizes"), [(7, [2, 2, 3]), (3, [1, 1, 1]), (2, [2]), (1, [1])])
def test_few_images_are_all_shown_once(images: int, sizes: list[int]) -> None:
    ids = list(range(images))
    chosen = choose_images(ids, {image: float(image) for image in ids}, 10)
    assert [len(group) for group in chosen.values()] == sizes
    assert sorted(image for group in chosen.values() for image in group) == ids


def test_images_without_truth_are_never_the_best() -> None:
    chosen = choose_images(list(range(9)), {0: 0.0, 1: 50.0, 2: 100.0}, 10)
    assert chosen["worst"] == [0] and chosen["best"] == [2] and chosen["random"] == [1, 3, 4, 5, 6, 7, 8]
