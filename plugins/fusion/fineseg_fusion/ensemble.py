"""Ensemblers that keep detections as they are: weight or lower the scores, pool, and keep the best.

Letters: M models, C classes, N pooled detections of one image.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import Instances, ModelScore, concatenate
from fineseg_fusion.checks import check_classes, check_members, check_scores, model_of_each
from fineseg_fusion.options import (
    LinearInterpolationOptions,
    LinearReweightOptions,
    MaskNMSOptions,
    MatrixNMSOptions,
    PoolOptions,
)
from fineseg_fusion.soft_nms import linear_soft_nms
from fineseg_fusion.weights import linear_interpolation, linear_reweight

Merge = Callable[[Sequence[Instances]], Instances]


def build_linear_interpolation(options: LinearInterpolationOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge whose weights interpolate the models' AP (see `weights.linear_interpolation`)."""
    check_scores("linear-interpolation", scores)
    ap = np.array([score.ap for score in scores])
    return _weighted_pool(linear_interpolation(ap, options.theta_min, options.theta_max)[:, None], options)


def build_linear_reweight(options: LinearReweightOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge whose weights follow the models' ranks (see `weights.linear_reweight`)."""
    check_scores("linear-reweight", scores)
    if options.ranking == "overall":
        return _weighted_pool(linear_reweight(np.array([[score.ap] for score in scores]), options.theta), options)
    check_classes("linear-reweight", scores, 'set ranking = "overall"')
    per_class = np.array([score.per_class for score in scores], dtype=np.float64)
    return _weighted_pool(linear_reweight(per_class, options.theta), options)


def build_soft_nms(options: PoolOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge in which every model weighs 1."""
    check_scores("soft-nms", scores)
    return _weighted_pool(np.ones((len(scores), 1)), options)


def build_mask_nms(options: MaskNMSOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge that keeps the highest of the masks that overlap, every model weighing 1."""
    from fineseg_fusion.mask_nms import mask_nms

    check_scores("mask-nms", scores)

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(scores))
        pooled = concatenate(members)
        return pooled.select(mask_nms(pooled, options.nms_iou)[: options.max_per_image])

    return merge


def build_matrix_nms(options: MatrixNMSOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge that lowers scores by how much better masks overlap, every model weighing 1."""
    from fineseg_fusion.matrix_nms import gaussian, linear, matrix_nms

    check_scores("matrix-nms", scores)
    kernel = gaussian(options.sigma) if options.kernel == "gaussian" else linear

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(scores))
        pooled = concatenate([_best(member, member.scores, options.max_per_model) for member in members])
        lowered = matrix_nms(pooled, kernel)
        kept = lowered >= options.min_score
        return _best(pooled.select(kept), lowered[kept], options.max_per_image)

    return merge


def _weighted_pool(weights: np.ndarray, options: PoolOptions) -> Merge:
    """Return the merge with these weights [M, C], or [M, 1] for weights that hold for every class."""

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(weights))
        pooled = concatenate(members)
        column = pooled.labels if weights.shape[1] > 1 else np.zeros(len(pooled), dtype=np.int64)
        weighted = pooled.scores * weights[model_of_each(members), column]
        kept, scores = linear_soft_nms(pooled.boxes, weighted, pooled.labels, options.nms_iou, options.min_score)
        return _best(pooled.select(kept), scores, options.max_per_image)

    return merge


def _best(found: Instances, scores: np.ndarray, most: int) -> Instances:
    """Return the `most` detections that are highest by scores [N], with these scores; at equal ones the first go in."""
    best = np.argsort(-scores, kind="stable")[:most]
    return found.select(best).with_scores(scores[best])
