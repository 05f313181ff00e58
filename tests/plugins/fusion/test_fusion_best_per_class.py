"""Which model speaks for which class, and what is taken of it."""

from pathlib import Path

import numpy as np
import pytest

from fineseg import (
    AreaScore,
    Category,
    FinesegError,
    ImageInfo,
    Instances,
    ModelScore,
    Split,
    TrueObject,
    make_instances,
)
from fineseg.data.masks import areas, encode
from fineseg.metrics.mask_ap import mask_ap, model_score
from fineseg_fusion.best_per_class import build_best_per_class, chosen_models, range_of_each
from fineseg_fusion.options import BestPerClassOptions

NAN = float("nan")


@pytest.mark.parametrize(
    ("ap", "per_class", "support", "chosen"),
    [
        ([50, 40], [[60, 30, 50], [10, 45, 50]], [20, 20, 20], [0, 1, 0]),
        ([40, 50], [[60, 30, 50], [10, 45, 50]], [20, 20, 20], [0, 1, 1]),  # the tie goes to the better overall
        ([40, 50], [[60, 30, 50], [10, 45, 50]], [9, 20, 10], [1, 1, 1]),  # too few objects of the first
        ([40, 50], [[60, NAN, NAN], [10, NAN, 1]], [20, 0, 20], [0, 1, 1]),
        ([NAN, 50], [[60, 30], [10, 45]], [20, 5], [0, 1]),
        ([NAN, NAN], [[NAN, 30], [NAN, 45]], [0, 20], [0, 1]),
        ([50, 50], [[30, 30], [30, 45]], [20, 20], [0, 1]),
        ([50], [[0.0, NAN]], [20, 0], [0, 0]),
    ],
)
def test_chosen(ap: list[float], per_class: list[list[float]], support: list[int], chosen: list[int]) -> None:
    assert chosen_models(np.array(ap), np.array(per_class), np.array(support), 10).tolist() == chosen


def test_takes_each_class_from_its_model() -> None:
    scores = [ModelScore("x", 50.0, (60.0, 30.0), (20, 20)), ModelScore("y", 40.0, (10.0, 45.0), (20, 20))]
    boxes = [[0, 0, 9, 9]] * 4
    x = make_instances(1, (9, 9), [0, 1, 0, 1], [0.3, 0.9, 0.8, 0.7], boxes, [b"x0", b"x1", b"x2", b"x3"])
    y = make_instances(1, (9, 9), [0, 1, 0, 1], [0.2, 0.5, 0.6, 0.4], boxes, [b"y0", b"y1", b"y2", b"y3"])
    merged = build_best_per_class(BestPerClassOptions(), scores)([x, y])
    assert merged.masks.tolist() == [b"x2", b"y1", b"y3", b"x0"]
    merged = build_best_per_class(BestPerClassOptions(max_per_image=2), scores)([x, y])
    assert merged.masks.tolist() == [b"x2", b"y1"]
    overall = build_best_per_class(BestPerClassOptions(min_support=21), scores)([x, y])
    assert overall.masks.tolist() == [b"x1", b"x2", b"x3", b"x0"]


def test_refuses_models_that_were_not_measured_by_class() -> None:
    cases = [
        ([], "there is no model to merge"),
        ([ModelScore("x", 1.0, ())], "ensembler best-per-class: .* got x: 0; measure .* or choose another ensembler"),
        ([ModelScore("x", 1.0, (1.0,))], "min_support wants the number of true objects"),
        ([ModelScore("x", 1.0, (1.0,), (3,)), ModelScore("y", 1.0, (1.0,), (4,))], "the same for every model"),
    ]
    for scores, message in cases:
        with pytest.raises(FinesegError, match=message) as caught:
            build_best_per_class(BestPerClassOptions(), scores)
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------- by class and size

RANGES = {"small": (0.0, 400.0), "large": (400.0, 1e10)}
SIDE = 96


def square(x: int, y: int, side: int) -> tuple[list[int], bytes]:
    plane = np.zeros((SIDE, SIDE), dtype=bool)
    plane[y : y + side, x : x + side] = True
    return [x, y, x + side, y + side], encode(plane)


def scene(seed: int, slips: list[dict[str, float]]) -> tuple[Split, list[dict[int, Instances]]]:
    """Draw squares of two sizes and what models say of them: each side of a size is off by the model's slip [part]."""
    rng = np.random.default_rng(seed)
    infos = tuple(ImageInfo(n, Path(f"{n}.png"), SIDE, SIDE) for n in range(30))
    objects: dict[int, tuple[TrueObject, ...]] = {}
    models: list[dict[int, Instances]] = [{} for _ in slips]
    for info in infos:
        true = []
        found: list[list[tuple[int, list[int], bytes]]] = [[] for _ in slips]
        for column, size in enumerate(rng.permutation(["small", "large", "small"])):
            side, label, x, y = (
                12 if size == "small" else 28,
                int(rng.integers(2)),
                32 * column + 2,
                int(rng.integers(60)),
            )
            box, mask = square(x, y, side)
            rle = {"size": [SIDE, SIDE], "counts": mask}
            true.append(TrueObject(len(true), label, tuple(map(float, box)), rle, float(side**2)))
            for rows, slip in zip(found, slips, strict=True):
                off = round(side * slip[size] * rng.uniform(0.7, 1.3))
                rows.append((label, *square(x, y, side - off)))
        objects[info.id] = tuple(true)
        for rows, model in zip(found, models, strict=True):
            labels, boxes, counts = zip(*rows, strict=True)
            model[info.id] = make_instances(
                info.id, (SIDE, SIDE), labels, rng.uniform(0.3, 1, len(rows)), boxes, list(counts)
            )
    return Split("squares", (Category(1, "a"), Category(2, "b")), infos, objects), models


def held_out_ap(by: str, slips: list[dict[str, float]], seed: int) -> float:
    """Return the AP on one drawing of what was chosen on another."""
    split, models = scene(seed, slips)
    scores = [model_score(f"m{n}", mask_ap(split, found, area_ranges=RANGES), RANGES) for n, found in enumerate(models)]
    merge = build_best_per_class(BestPerClassOptions(by=by), scores)
    split, models = scene(seed + 100, slips)
    merged = {image.id: merge([found[image.id] for found in models]) for image in split.images}
    return mask_ap(split, merged, area_ranges=RANGES).summary["AP"]


def test_by_size_helps_models_that_are_good_at_different_sizes() -> None:
    slips = [{"small": 0.05, "large": 0.2}, {"small": 0.2, "large": 0.05}]
    gains = [held_out_ap("class-and-size", slips, seed) - held_out_ap("class", slips, seed) for seed in range(5)]
    assert min(gains) > 5


def test_by_size_does_no_harm_where_one_model_is_best_at_every_size() -> None:
    slips = [{"small": 0.05, "large": 0.05}, {"small": 0.2, "large": 0.2}]
    for seed in range(3):
        assert held_out_ap("class-and-size", slips, seed) == held_out_ap("class", slips, seed) > 50


@pytest.mark.parametrize("seed", range(30))
def test_choice_by_size_falls_back_to_the_class_and_then_to_the_model(seed: int) -> None:
    """Every detection against the rule spelled out, with few objects, unknown AP and areas in no range."""
    rng = np.random.default_rng(seed)
    support, by_size = rng.integers(0, 20, 3), rng.integers(0, 20, (2, 3))
    bounds = [(5.0, 100.0), (100.0, 300.0)]

    def row(counts: np.ndarray) -> tuple[float, ...]:
        return tuple(NAN if not n else float(rng.integers(0, 4)) for n in counts)

    scores = []
    for n in range(3):
        cells = tuple(AreaScore(*b, row(s), tuple(s.tolist())) for b, s in zip(bounds, by_size, strict=True))
        scores.append(ModelScore(f"m{n}", float(rng.integers(0, 3)), row(support), tuple(support.tolist()), cells))
    members = []
    for _ in scores:
        shapes = [square(0, 0, int(side)) for side in rng.integers(1, 20, 12)]
        boxes, masks = zip(*shapes, strict=True)
        members.append(make_instances(1, (SIDE, SIDE), rng.integers(0, 3, 12), rng.random(12), boxes, list(masks)))
    merged = build_best_per_class(BestPerClassOptions(by="class-and-size"), scores)(members)

    def best(values: list[float], first: int | None) -> int:
        ranked = sorted(
            range(3), key=lambda m: (-values[m] if values[m] == values[m] else 1.0, m != first, -scores[m].ap)
        )
        return ranked[0]

    wanted = []
    for model, member in enumerate(members):
        for label, score, area in zip(member.labels, member.scores, areas(list(member.masks), SIDE, SIDE), strict=True):
            speaker = best([s.ap for s in scores], None)
            if support[label] >= 10:
                speaker = best([s.per_class[label] for s in scores], None)
            a = next((a for a, (low, high) in enumerate(bounds) if low <= area <= high), None)
            if a is not None and by_size[a, label] >= 10:
                speaker = best([s.areas[a].per_class[label] for s in scores], speaker)
            if speaker == model:
                wanted.append(float(score))
    assert merged.scores.tolist() == sorted(wanted, reverse=True)


def test_range_of_each() -> None:
    shapes = [square(0, 0, side) for side in (1, 2, 4, 10)]
    found = make_instances(
        1, (SIDE, SIDE), [0] * 4, [0.5] * 4, [box for box, _ in shapes], [mask for _, mask in shapes]
    )
    assert range_of_each(found, [(2.0, 4.0), (4.0, 16.0)]).tolist() == [2, 0, 1, 2]
    assert range_of_each(found, []).tolist() == [0] * 4
    assert range_of_each(found.select(np.arange(0)), [(2.0, 4.0)]).tolist() == []


def test_refuses_models_that_were_not_measured_by_size() -> None:
    cell, options = AreaScore(0.0, 9.0, (1.0,), (3,)), BestPerClassOptions(by="class-and-size")
    cases = [
        [ModelScore("x", 1.0, (1.0,), (3,))],
        [ModelScore("x", 1.0, (1.0,), (3,), (cell,)), ModelScore("y", 1.0, (1.0,), (3,))],
        [ModelScore("x", 1.0, (1.0,), (3,), (AreaScore(0.0, 9.0, (), (3,)),))],
    ]
    for scores in cases:
        with pytest.raises(FinesegError, match=r'by = "class-and-size" wants .* or set by = "class"$') as caught:
            build_best_per_class(options, scores)
        assert "\n" not in str(caught.value)
