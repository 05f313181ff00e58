"""Ensembler agreement keeps to what every ensembler does, and averages as it says."""

import numpy as np
from fineseg_agreement.ensemble import build_agreement
from fineseg_agreement.options import AgreementOptions

from fineseg import ModelScore, make_instances
from fineseg.data.masks import encode
from fineseg.testing import EnsemblerConformance


class TestAgreement(EnsemblerConformance):
    part = "agreement"


def member(*objects):
    """Return what a model says of an image of 10 x 10 pixels: (label, score, first column, last column) each."""
    masks = []
    for _, _, first, last in objects:
        mask = np.zeros((10, 10), dtype=bool)
        mask[:, first:last] = True
        masks.append(encode(mask))
    boxes = [[first, 0, last, 10] for _, _, first, last in objects]
    return make_instances(1, (10, 10), [o[0] for o in objects], [o[1] for o in objects], boxes, masks)


def test_who_does_not_see_it_counts_as_zero():
    merge = build_agreement(AgreementOptions(), [ModelScore("a", 30.0, ()), ModelScore("b", 10.0, ())])
    merged = merge([member((0, 0.8, 0, 5), (1, 0.6, 5, 10)), member((0, 0.4, 0, 5), (0, 0.9, 5, 10))])
    assert merged.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(merged.scores, [0.7, 0.45, 0.225], rtol=1e-6)  # 3 of 4 parts are a's


def test_the_best_mask_stays():
    merge = build_agreement(AgreementOptions(iou=0.5), [ModelScore("a", 0.0, ()), ModelScore("b", 0.0, ())])
    merged = merge([member((0, 0.5, 0, 6)), member((0, 0.7, 0, 5))])
    assert merged.boxes.tolist() == [[0, 0, 5, 10]]
    np.testing.assert_allclose(merged.scores, [0.6])
