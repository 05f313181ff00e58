"""One matching and what is read from it, against pycocotools and plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_sets import as_coco, as_results, draw, oracle

from fineseg.metrics.curves import class_precision, image_ap, precision_at_recall, recall_by_size
from fineseg.metrics.mask_ap import mask_ap
from fineseg.metrics.matching import CROWD, NOBODY, match, match_ious


@pytest.mark.parametrize("limit", [100, 2])
@pytest.mark.parametrize("seed", range(20))
def test_area_below_the_curves_equals_pycocotools(seed: int, limit: int) -> None:
    """Crowds, tied scores, images and classes without truth or detections; objects of one image that overlap."""
    split, predictions = draw(seed)
    precision = class_precision(match(split, predictions, limit))
    _, classes = oracle(as_coco(split), as_results(split, predictions), limits=(limit,))
    curves = [[100 * precision[part, :, k].mean() for part in (slice(None), 0, 5)] for k in range(precision.shape[2])]
    np.testing.assert_allclose(curves, classes, rtol=0, atol=1e-9)


def test_progress_counts_images() -> None:
    split, predictions = draw(3)
    told: list[int] = []
    match(split, predictions, 100, told.append)
    assert told == list(range(1, len(split.images) + 1))


def test_nothing_there() -> None:
    split, predictions = draw(1)
    nothing = match(replace(split, images=(), objects={}), {}, 100)
    assert nothing.found.shape == (0, 10) and np.isnan(class_precision(nothing)).all() and image_ap(nothing) == {}
    blind = match(split, {}, 100)
    assert not blind.found.any() and set(image_ap(blind).values()) == {0.0}
    bare = match(replace(split, objects={}), predictions, 100)
    assert (bare.partner == NOBODY).all() and (bare.own_iou == 0).all() and image_ap(bare) == {}


def test_partners_of_ties_crowds_and_thresholds() -> None:
    ious = np.array([[0.7, 0.7, 0.0], [0.7, 0.7, 0.0], [0.7, 0.7, 0.9], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]])
    partner = match_ious(ious, np.array([False, False, True]))
    at_50, at_75 = partner[:, 0].tolist(), partner[:, 5].tolist()
    assert at_50 == [1, 0, CROWD, NOBODY, CROWD]
    assert at_75 == [NOBODY, NOBODY, CROWD, NOBODY, CROWD]
    assert match_ious(np.array([[0.5]]), np.array([False]))[:, 0].tolist() == [0]


def test_precision_is_the_highest_at_a_recall_or_beyond() -> None:
    hits = np.array([True, False, False, True, True, False])
    precision = precision_at_recall(hits, 4)
    steps = [(0.25, 1.0), (0.5, 0.5), (0.75, 3 / 5)]
    expected = [max((p for r, p in steps if r >= point), default=0.0) for point in np.linspace(0, 1, 101)]
    np.testing.assert_allclose(precision, expected)
    assert precision_at_recall(np.zeros(0, bool), 4).tolist() == [0.0] * 101


@pytest.mark.parametrize("seed", range(6))
def test_an_images_ap_is_that_of_a_split_of_it_alone(seed: int) -> None:
    """With one class the ranking within an image is the ranking of the split that holds this image alone."""
    split, predictions = draw(seed, classes=1)
    scores = image_ap(match(split, predictions, 100))
    for image in split.images:
        alone = mask_ap(split.select([image.id]), {i: p for i, p in predictions.items() if i == image.id})
        if math.isnan(alone.summary["AP"]):
            assert image.id not in scores
        else:
            assert scores[image.id] == pytest.approx(alone.summary["AP"], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_recall_by_size_counts_each_object_once(seed: int) -> None:
    split, predictions = draw(seed)
    matches = match(split, predictions, 100)
    edges = np.array([0.0, 4.0, 8.0, 16.0, 64.0])
    objects, found = recall_by_size(matches, edges)
    assert objects.sum() == sum(not o.crowd for i in split.images for o in split.objects_of(i.id))
    assert found.sum(axis=0).tolist() == matches.found.sum(axis=0).tolist()
    for b in range(len(edges) - 1):
        inside = [g for g, area in enumerate(matches.true_area) if edges[b] ** 2 <= area < edges[b + 1] ** 2]
        assert objects[b] == len(inside)
        assert found[b].tolist() == [sum(g in matches.partner[:, t] for g in inside) for t in range(10)]
