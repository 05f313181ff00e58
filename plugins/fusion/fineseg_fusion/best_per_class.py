"""For each class the detections of the model that is best at it, or that is best at it among objects of that size.

Letters: M models, C classes, A area ranges, N detections.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import AreaScore, FinesegError, Instances, ModelScore, concatenate
from fineseg_fusion.checks import check_classes, check_members, check_scores, model_of_each
from fineseg_fusion.options import BestPerClassOptions

Merge = Callable[[Sequence[Instances]], Instances]


def build_best_per_class(options: BestPerClassOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge that takes each class, or class and size, from its chosen model (see `chosen_models`)."""
    check_scores("best-per-class", scores)
    check_classes("best-per-class", scores, "choose another ensembler")
    support = scores[0].support
    if any(score.support != support for score in scores) or len(support) != len(scores[0].per_class):
        raise FinesegError(
            "ensembler best-per-class: min_support wants the number of true objects a class, the same for every model; "
            "measure all models on one split or choose another ensembler"
        )
    by_class = chosen_models(
        np.array([score.ap for score in scores]),
        np.array([score.per_class for score in scores], dtype=np.float64),
        np.array(support),
        options.min_support,
    )
    ranges = _area_ranges(scores) if options.by == "class-and-size" else ()
    by_size = [_chosen_of_size(scores, by_class, area, options.min_support) for area in range(len(ranges))]
    table = np.stack([*by_size, by_class])

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(scores))
        pooled = concatenate(members)
        size = range_of_each(pooled, ranges)
        taken = pooled.select(table[size, pooled.labels] == model_of_each(members))
        return taken.select(np.argsort(-taken.scores, kind="stable")[: options.max_per_image])

    return merge


def chosen_models(ap: np.ndarray, per_class: np.ndarray, support: np.ndarray, min_support: int) -> np.ndarray:
    """Return the model [C] that has the highest AP in each class, at equal ones the better by overall AP [M].

    A class of fewer than `min_support` true objects by `support` [C], or without a measured AP in `per_class` [M, C]
    (nan), goes to the model with the best overall AP. A model that lacks an AP is behind those that have one; models
    that are equal in both go in their order.
    """
    by_ap = np.argsort(-np.nan_to_num(ap, nan=-np.inf), kind="stable")
    known = np.where(np.isnan(per_class), -np.inf, per_class)[by_ap]
    enough = (support >= min_support) & np.isfinite(known).any(axis=0)
    chosen: np.ndarray = by_ap[np.where(enough, np.argmax(known, axis=0), 0)]
    return chosen


def range_of_each(found: Instances, ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the first of A area ranges that each detection's mask [N] falls into, A where none does."""
    from fineseg.data.masks import areas

    place = np.full(len(found), len(ranges))
    if not (ranges and len(found)):
        return place
    area = areas(found.masks.tolist(), found.height, found.width)
    for position in reversed(range(len(ranges))):
        low, high = ranges[position]
        place[(low <= area) & (area <= high)] = position
    return place


def _chosen_of_size(scores: Sequence[ModelScore], by_class: np.ndarray, area: int, min_support: int) -> np.ndarray:
    """Return the model [C] that is best among objects of one area range; where they are too few, the class's model.

    At equal AP the class's model goes first, then the better by overall AP.
    """
    cells: list[AreaScore] = [score.areas[area] for score in scores]
    per_class = np.array([cell.per_class for cell in cells], dtype=np.float64)
    known = np.where(np.isnan(per_class), -np.inf, per_class)
    classes = np.arange(len(by_class))
    best = chosen_models(np.array([score.ap for score in scores]), per_class, np.array(cells[0].support), 0)
    enough = (np.array(cells[0].support) >= min_support) & np.isfinite(known).any(axis=0)
    better: np.ndarray = enough & (known[best, classes] > known[by_class, classes])
    return np.where(better, best, by_class)


def _area_ranges(scores: Sequence[ModelScore]) -> tuple[tuple[float, float], ...]:
    """Return the area ranges that all models were measured in; raises `FinesegError` where they are not the same."""
    tables = [tuple((cell.low, cell.high, cell.support) for cell in score.areas) for score in scores]
    classes = len(scores[0].per_class)
    cells = [cell for score in scores for cell in score.areas]
    whole = all(len(cell.per_class) == len(cell.support) == classes for cell in cells)
    if not tables[0] or any(table != tables[0] for table in tables) or not whole:
        raise FinesegError(
            'ensembler best-per-class: by = "class-and-size" wants the AP of each class in each area range, of every '
            'model on one split; measure all models on one split, in area ranges, or set by = "class"'
        )
    return tuple((low, high) for low, high, _ in tables[0])
