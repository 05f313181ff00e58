"""Ensemblers that make one detection of several: boxes averaged, masks by vote. Letters: M models, N detections."""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import Instances, ModelScore, concatenate
from fineseg_fusion.box_fusion import Clusters, fused_scores, non_maximum_weighted, weighted_boxes
from fineseg_fusion.checks import check_members, check_scores, model_of_each
from fineseg_fusion.options import FuseOptions, WBFOptions
from fineseg_fusion.weights import linear_interpolation, linear_reweight

Merge = Callable[[Sequence[Instances]], Instances]
Cluster = Callable[[np.ndarray, np.ndarray, np.ndarray, float], Clusters]
Confidence = Callable[[Clusters, np.ndarray, np.ndarray], np.ndarray]
"""Turns clusters, their members' weighted scores [N] and models [N] into a score of each cluster."""


def build_wbf(options: WBFOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge by weighted boxes fusion."""
    check_scores("wbf", scores)
    weights = model_weights(options, scores)

    def confidence(clusters: Clusters, weighted: np.ndarray, models: np.ndarray) -> np.ndarray:
        return fused_scores(clusters.of_box, weighted, models, weights, options.conf_type)

    return _fusion(weighted_boxes, confidence, weights, options)


def build_nmw(options: FuseOptions, scores: Sequence[ModelScore]) -> Merge:
    """Return the merge by non-maximum weighted: a cluster has its highest score, the best model weighing 1."""
    check_scores("nmw", scores)
    weights = model_weights(options, scores)

    def confidence(clusters: Clusters, weighted: np.ndarray, models: np.ndarray) -> np.ndarray:
        return fused_scores(clusters.of_box, weighted, models, weights, "max")

    return _fusion(non_maximum_weighted, confidence, weights, options)


def model_weights(options: FuseOptions, scores: Sequence[ModelScore]) -> np.ndarray:
    """Return the weight [M] of each model by the rule that `options.weights` names."""
    ap = np.array([score.ap for score in scores])
    if options.weights == "interpolation":
        return linear_interpolation(ap, options.theta, 1.0)
    return linear_reweight(ap, options.theta) if options.weights == "rank" else np.ones(len(ap))


def _fusion(cluster: Cluster, confidence: Confidence, weights: np.ndarray, options: FuseOptions) -> Merge:
    from fineseg_fusion.mask_vote import vote

    def merge(members: Sequence[Instances]) -> Instances:
        check_members(members, len(weights))
        models = model_of_each(members)
        pooled = concatenate(members)
        boxes = np.clip(pooled.boxes, 0, [pooled.width, pooled.height] * 2)
        weighted = pooled.scores * weights[models]
        # A box without area overlaps nothing, and what scores 0 has no say in a mean.
        spoken = (pooled.scores >= options.skip_box_thr) & (weighted > 0) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
        pooled, boxes, weighted, models = pooled.select(spoken), boxes[spoken], weighted[spoken], models[spoken]
        if not len(pooled):
            return pooled
        clusters = cluster(boxes, weighted, pooled.labels, options.match_iou)
        scores = confidence(clusters, weighted, models)
        kept = np.argsort(-scores, kind="stable")[: options.max_per_image]
        place = np.full(len(scores), -1)
        place[kept] = np.arange(len(kept))
        labels = np.zeros(len(scores), dtype=np.int64)
        labels[clusters.of_box] = pooled.labels
        voters = np.flatnonzero(place[clusters.of_box] >= 0)
        masks = vote(
            pooled.masks[voters].tolist(),
            weighted[voters],
            place[clusters.of_box[voters]],
            pooled.height,
            pooled.width,
        )
        # Several boxes of a model of high weight can bring an average above every score that went in.
        fused = np.minimum(scores[kept], max(1.0, float(pooled.scores.max())))
        return pooled.with_rows(labels[kept], fused.astype(np.float32), clusters.boxes[kept].astype(np.float32), masks)

    return merge
