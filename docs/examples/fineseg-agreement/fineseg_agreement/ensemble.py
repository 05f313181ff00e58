"""Ensembler agreement: an object scores what the models give it on average; a model that does not see it gives 0."""

from collections.abc import Callable, Sequence

import numpy as np

from fineseg import Instances, ModelScore, concatenate
from fineseg.data.masks import ious
from fineseg_agreement.options import AgreementOptions


def build_agreement(
    options: AgreementOptions, scores: Sequence[ModelScore]
) -> Callable[[Sequence[Instances]], Instances]:
    """Return the function that merges what the models say of one image; a model counts as much as its AP."""
    measured = np.array([score.ap for score in scores])
    shares = measured / measured.sum() if measured.sum() > 0 else np.full(len(scores), 1 / len(scores))

    def merge(members: Sequence[Instances]) -> Instances:
        pool = concatenate(members)
        model = np.repeat(np.arange(len(members)), [len(member) for member in members])
        overlap = ious(pool.masks.tolist(), pool.masks.tolist(), pool.height, pool.width)
        overlap[pool.labels[:, None] != pool.labels] = 0
        waiting, kept, votes = np.ones(len(pool), dtype=bool), [], []
        for best in (-pool.scores).argsort(kind="stable"):
            if not waiting[best]:
                continue
            same = waiting & (overlap[best] > options.iou)
            same[best] = True
            seen = [pool.scores[same & (model == n)].max(initial=0) for n in range(len(members))]
            waiting &= ~same
            kept.append(best)
            votes.append(float(shares @ seen))
        merged = pool.select(np.array(kept, dtype=int)).with_scores(np.array(votes))
        return merged.select((-merged.scores).argsort(kind="stable")[: options.keep])

    return merge
