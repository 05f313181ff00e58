"""Ensemblers: weight the models' scores, pool their detections, soften what overlaps, keep the best.

Letters: M models, C classes, N pooled detections of one image.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import FinesegError, Instances, ModelScore, concatenate
from fineseg_fusion.options import LinearInterpolationOptions, LinearReweightOptions, MaskNMSOptions, PoolOptions
from fineseg_fusion.soft_nms import linear_soft_nms
from fineseg_fusion.weights import linear_interpolation, linear_reweight

Merge = Callable[[Sequence[Instances]], Instances]


def build_linear_interpolation(options: LinearInterpolationOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge whose weights interpolate the models' AP (see `weights.linear_interpolation`)."""
    _check_scores("linear-interpolation", scores)
    ap = np.array([score.ap for score in scores])
    return _weighted_pool(linear_interpolation(ap, options.theta_min, options.theta_max)[:, None], options)


def build_linear_reweight(options: LinearReweightOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge whose weights follow the models' ranks (see `weights.linear_reweight`)."""
    _check_scores("linear-reweight", scores)
    if options.ranking == "overall":
        return _weighted_pool(linear_reweight(np.array([[score.ap] for score in scores]), options.theta), options)
    _check_classes(scores)
    per_class = np.array([score.per_class for score in scores], dtype=np.float64)
    return _weighted_pool(linear_reweight(per_class, options.theta), options)


def build_soft_nms(options: PoolOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge in which every model weighs 1."""
    _check_scores("soft-nms", scores)
    return _weighted_pool(np.ones((len(scores), 1)), options)


def build_mask_nms(options: MaskNMSOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge that keeps the highest of the masks that overlap, every model weighing 1."""
    from fineseg_fusion.mask_nms import mask_nms

    _check_scores("mask-nms", scores)

    def merge(members: Sequence[Instances]) -> Instances:
        _check_members(members, len(scores))
        pooled = concatenate(members)
        return pooled.select(mask_nms(pooled, options.nms_iou)[: options.max_per_image])

    return merge


def _weighted_pool(weights: np.ndarray, options: PoolOptions) -> Merge:
    """Return the merge with these weights [M, C], or [M, 1] for weights that hold for every class."""

    def merge(members: Sequence[Instances]) -> Instances:
        _check_members(members, len(weights))
        pooled = concatenate(members)
        model = np.repeat(np.arange(len(members)), [len(member) for member in members])
        column = pooled.labels if weights.shape[1] > 1 else np.zeros(len(pooled), dtype=np.int64)
        weighted = pooled.scores * weights[model, column]
        kept, scores = linear_soft_nms(pooled.boxes, weighted, pooled.labels, options.nms_iou, options.min_score)
        best = np.argsort(-scores, kind="stable")[: options.max_per_image]
        return pooled.select(kept[best]).with_scores(scores[best])

    return merge


def _check_scores(name: str, scores: Sequence[ModelScore]) -> None:
    if not scores:
        raise FinesegError(f"ensembler {name}: there is no model to merge; give at least one")


def _check_classes(scores: Sequence[ModelScore]) -> None:
    sizes = {score.model: len(score.per_class) for score in scores}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        given = ", ".join(f"{model}: {size}" for model, size in sizes.items())
        raise FinesegError(
            f"ensembler linear-reweight: ranking per class wants one AP a class from every model, got {given}; "
            'measure all models on one split or set ranking = "overall"'
        )


def _check_members(members: Sequence[Instances], models: int) -> None:
    if len(members) != models:
        raise FinesegError(f"ensemble: {len(members)} predictions of an image for {models} model scores; give one each")
    images = sorted({member.image_id for member in members})
    if len(images) != 1:
        raise FinesegError(f"ensemble: predictions of different images {images} cannot be merged; give one image's")
    for position, member in enumerate(members, start=1):
        if not (np.isfinite(member.scores).all() and np.isfinite(member.boxes).all()):
            raise FinesegError(
                f"ensemble, image {images[0]}: model {position} of {models} predicts a score or box that is not a "
                "finite number; its training may have diverged, predict with another checkpoint"
            )
