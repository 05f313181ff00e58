"""For each class the detections of the model that is best at it. Letters: M models, C classes."""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import FinesegError, Instances, ModelScore, concatenate
from fineseg_fusion.checks import check_classes, check_members, check_scores, model_of_each
from fineseg_fusion.options import BestPerClassOptions

Merge = Callable[[Sequence[Instances]], Instances]


def build_best_per_class(options: BestPerClassOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge that takes each class from its chosen model (see `chosen_models`)."""
    check_scores("best-per-class", scores)
    check_classes("best-per-class", scores, "choose another ensembler")
    support = scores[0].support
    if any(score.support != support for score in scores) or len(support) != len(scores[0].per_class):
        raise FinesegError(
            "ensembler best-per-class: min_support wants the number of true objects a class, the same for every model; "
            "measure all models on one split or choose another ensembler"
        )
    chosen = chosen_models(
        np.array([score.ap for score in scores]),
        np.array([score.per_class for score in scores], dtype=np.float64),
        np.array(support),
        options.min_support,
    )

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(scores))
        pooled = concatenate(members)
        taken = pooled.select(chosen[pooled.labels] == model_of_each(members))
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
