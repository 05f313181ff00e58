"""What is measured of each model on sets of images: its AP as ensemblers are told it, and its calibration.

Letters: I images in the order of their ids, S sets of images, M models.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fineseg.parts import AreaScore, ModelScore
from fineseg.predictions import Instances
from fineseg.tuning.calibration import Method, ScoreMap, fit
from fineseg.tuning.matching import THRESHOLDS, class_ap, match, mean_over_classes
from fineseg.tuning.objective import ALL_AREAS
from fineseg.tuning.overlaps import Overlaps


def model_scores(
    overlaps: Overlaps,
    name: str,
    found: Sequence[Instances],
    area_ranges: Mapping[str, tuple[float, float]],
    limit: int,
    sets: np.ndarray,
) -> list[ModelScore]:
    """Return what a model's predictions [I] reach on each set of images [S, I], as the evaluate stage measures it."""
    pairs = overlaps.of(found)
    figures, objects = [], []
    for area in (ALL_AREAS, *area_ranges.values()):
        matched = match(overlaps.truth, pairs, THRESHOLDS, area, limit)
        figures.append(class_ap(matched, sets))
        objects.append((sets @ matched.counts).astype(np.int64))
    overall = mean_over_classes(figures[0])
    return [
        ModelScore(
            name,
            float(overall[s]),
            tuple(figures[0][s].tolist()),
            tuple(objects[0][s].tolist()),
            tuple(
                AreaScore(low, high, tuple(figures[a][s].tolist()), tuple(objects[a][s].tolist()))
                for a, (low, high) in enumerate(area_ranges.values(), start=1)
            ),
        )
        for s in range(len(sets))
    ]


def score_maps(
    overlaps: Overlaps, found: Sequence[Instances], method: Method, limit: int, sets: np.ndarray
) -> list[ScoreMap | None]:
    """Fit a model's scores to its hits at IoU .5 on each set of images [S, I]; None where too little is to be seen."""
    matched = match(overlaps.truth, overlaps.of(found), THRESHOLDS[:1], ALL_AREAS, limit)
    maps = []
    for inside in sets:
        counted = matched.valid[:, 0] & (inside[matched.image] > 0)
        maps.append(fit(method, matched.score[counted], matched.hit[counted, 0]))
    return maps
