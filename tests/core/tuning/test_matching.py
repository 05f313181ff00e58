"""The fast average precision against pycocotools and faster-coco-eval, on drawn sets: crowds, ties, absent classes."""

from collections.abc import Mapping

import numpy as np
import pytest
from drawn_sets import SIDE, as_coco, as_results, draw, oracle

from fineseg import Instances, Split, make_instances
from fineseg.data.masks import encode
from fineseg.metrics.mask_ap import COCO_AREA_RANGES, mask_ap
from fineseg.tuning.matching import THRESHOLDS, class_ap, match, mean_over_classes, parts_of
from fineseg.tuning.overlaps import Overlaps

RANGES = {"small": (0.0, 60.0), "medium": (60.0, 150.0), "large": (150.0, 1e10)}
ALL = (0.0, 1e10)


def listed(split: Split, predictions: Mapping[int, Instances]) -> list[Instances]:
    """Return predictions in the order of the images' ids."""
    return [
        predictions.get(i.id, make_instances(i.id, (i.height, i.width), [], [], [], []))
        for i in sorted(split.images, key=lambda image: image.id)
    ]


def crowded(seed: int) -> tuple[Split, dict[int, Instances]]:
    """Draw a set where many detections share an object and a score, and some objects share their masks."""
    split, predictions = draw(seed, images=6, classes=2)
    rng = np.random.default_rng(seed)
    for image_id, found in predictions.items():
        again = found.select(np.tile(np.arange(len(found)), 3))
        predictions[image_id] = again.with_scores(np.round(rng.random(len(again)), 1))
    return split, predictions


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_equals_pycocotools(seed: int, known: bool) -> None:
    """Every area range and limit; masks measured before, or half of them not."""
    for split, predictions in (draw(seed), crowded(seed)):
        found = listed(split, predictions)
        before = found if known else [each.select(np.arange(0, len(each), 2)) for each in found]
        overlaps = Overlaps(split, [before])
        pairs = overlaps.of(found)
        for limit in (100, 3, 1):
            figures, classes = oracle(as_coco(split), as_results(split, predictions), RANGES, (limit,))
            everything = np.ones((1, len(found)))
            for position, area in enumerate((ALL, ALL, ALL, *RANGES.values())):
                part = [slice(None), slice(0, 1), slice(5, 6), *[slice(None)] * 3][position]
                matched = match(overlaps.truth, pairs, THRESHOLDS[part], area, limit)
                per_class = class_ap(matched, everything)
                np.testing.assert_allclose(mean_over_classes(per_class)[0], figures[position], rtol=0, atol=1e-9)
                if position < 3:
                    expected = [row[position] for row in classes]
                    np.testing.assert_allclose(per_class[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_evaluate_stage(seed: int) -> None:
    split, predictions = draw(seed, images=20, side=64)
    result = mask_ap(split, predictions)
    found = listed(split, predictions)
    overlaps = Overlaps(split, [found])
    for key, area in {"AP": ALL, **{f"AP{name[0]}": area for name, area in COCO_AREA_RANGES.items()}}.items():
        matched = match(overlaps.truth, overlaps.of(found), THRESHOLDS, area, 100)
        figure = mean_over_classes(class_ap(matched, np.ones((1, 20))))[0]
        np.testing.assert_allclose(figure, result.summary[key], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_sets_of_images_equal_their_own_measurement(seed: int) -> None:
    split, predictions = draw(seed, images=14)
    found = listed(split, predictions)
    overlaps = Overlaps(split, [found])
    rng = np.random.default_rng(seed)
    weights = np.stack([rng.integers(0, 2, 14), np.zeros(14), np.ones(14)])
    per_class = class_ap(match(overlaps.truth, overlaps.of(found), THRESHOLDS, ALL, 100), weights)
    for row, weight in zip(per_class, weights, strict=True):
        ids = [image.id for image, inside in zip(overlaps.images, weight, strict=True) if inside]
        result = mask_ap(split.select(ids), {i: p for i, p in predictions.items() if i in ids})
        np.testing.assert_allclose(row, result.per_class, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_an_image_drawn_twice_counts_as_two_images(seed: int) -> None:
    split, predictions = draw(seed, images=6)
    found = listed(split, {i: p.with_scores(np.arange(len(p)) / 97 + i / 1e4) for i, p in predictions.items()})
    overlaps = Overlaps(split, [found])
    matched = match(overlaps.truth, overlaps.of(found), THRESHOLDS, ALL, 100)
    weight = np.array([[2, 0, 3, 1, 1, 2]])
    twice = np.repeat(np.arange(6), weight[0])
    images = tuple(overlaps.images[n] for n in twice)
    copies = [type(i)(100 + n, i.file, i.width, i.height) for n, i in enumerate(images)]
    objects = {copy.id: split.objects_of(image.id) for copy, image in zip(copies, images, strict=True)}
    repeated = Split("repeated", split.categories, tuple(copies), objects)
    predicted = {
        copy.id: make_instances(copy.id, (SIDE, SIDE), f.labels, f.scores, f.boxes, f.masks)
        for copy, f in zip(copies, (found[n] for n in twice), strict=True)
    }
    expected = mask_ap(repeated, predicted).per_class
    np.testing.assert_allclose(class_ap(matched, weight)[0], expected, rtol=0, atol=1e-9)


def test_nothing_found_and_nothing_there() -> None:
    split, _ = draw(1)
    none = listed(split, {})
    overlaps = Overlaps(split, [none])
    per_class = class_ap(match(overlaps.truth, overlaps.of(none), THRESHOLDS, ALL, 100), np.ones((1, len(none))))
    objects = [
        sum(o.label == k and not o.crowd for i in split.images for o in split.objects_of(i.id)) for k in range(4)
    ]
    np.testing.assert_array_equal(per_class[0], [0.0 if n else np.nan for n in objects])
    assert np.isnan(mean_over_classes(np.full((1, 3), np.nan))[0])


def test_masks_that_are_new_are_measured_with_their_image() -> None:
    """The same bytes in two images are two masks: the object is in one of them only."""
    split, _ = draw(4, images=2, classes=1)
    first = split.images[0]
    plane = np.zeros((SIDE, SIDE), dtype=bool)
    plane[3:20, 3:20] = True
    rle = {"size": [SIDE, SIDE], "counts": encode(plane)}
    object_ = split.objects_of(split.images[1].id) or split.objects_of(first.id)
    true = type(object_[0])(0, 0, (3.0, 3.0, 20.0, 20.0), rle, 289.0)
    lone = Split("lone", split.categories, split.images, {first.id: (true,)})
    found = {
        i.id: make_instances(i.id, (SIDE, SIDE), [0], [0.5], [[3, 3, 20, 20]], [encode(plane)]) for i in lone.images
    }
    pairs = Overlaps(lone, []).of(listed(lone, found))
    assert len(pairs.iou) == 1
    assert Overlaps(lone, []).images[int(pairs.image[pairs.pair_found[0]])] == first


@pytest.mark.parametrize("seed", range(10))
def test_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"g{n}" if n < 12 else "" for n in rng.integers(0, 25, 90)]
    part = parts_of(groups, 5, seed)
    for name in set(groups) - {""}:
        assert len({int(part[n]) for n, other in enumerate(groups) if other == name}) == 1
    sizes = np.bincount(part, minlength=5)
    assert sizes.sum() == 90
    assert sizes.max() - sizes.min() <= 1
    assert (parts_of(groups, 5, seed) == part).all()
    assert (parts_of([""] * 90, 5, seed) != parts_of([""] * 90, 5, seed + 1)).any()
