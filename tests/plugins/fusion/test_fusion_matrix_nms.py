"""Matrix NMS on encoded masks against mmdet's on decoded ones, and the ensembler's limits."""

import numpy as np
import pytest

from fineseg import Instances, ModelScore, concatenate, make_instances
from fineseg.data.masks import decode, encode
from fineseg_fusion.ensemble import build_matrix_nms
from fineseg_fusion.matrix_nms import gaussian, linear, matrix_nms
from fineseg_fusion.options import MatrixNMSOptions

TWO = [ModelScore("a", 90.0, ()), ModelScore("b", 10.0, ())]


def blobs(seed: int, count: int = 25) -> Instances:
    """Draw overlapping rectangles with holes; scores differ, and two masks are the same."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        x, y, width, height = rng.integers(0, 12, 2).tolist() + rng.integers(4, 12, 2).tolist()
        mask = np.zeros((24, 24), dtype=bool)
        mask[y : y + height, x : x + width] = rng.random((24, 24))[y : y + height, x : x + width] > 0.2
        masks.append(encode(mask))
    masks[-1] = masks[0]
    boxes = np.tile([0.0, 0, 24, 24], (count, 1))
    return make_instances(4, (24, 24), rng.integers(0, 3, count), rng.permutation(count) / count + 0.01, boxes, masks)


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_equals_mmdet(kind: str) -> None:
    """mmdet's sigma is the reciprocal of the paper's."""
    import torch
    from mmdet.models.layers.matrix_nms import mask_matrix_nms

    lowered_some = 0
    for seed in range(20):
        found = blobs(seed)
        decoded = np.stack([decode(counts, 24, 24) for counts in found.masks])
        given = torch.from_numpy(found.labels), torch.from_numpy(found.scores.astype(np.float64))
        scores, _, _, kept = mask_matrix_nms(torch.from_numpy(decoded), *given, kernel=kind, sigma=1 / 0.5)
        expected = np.empty(len(found))
        expected[kept.numpy()] = scores.numpy()
        lowered = matrix_nms(found, gaussian(0.5) if kind == "gaussian" else linear)
        np.testing.assert_allclose(lowered, expected, rtol=1e-5, atol=1e-9)
        lowered_some += int((lowered < found.scores * 0.99).sum())
    assert lowered_some > 20


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_equal_masks(kind: str) -> None:
    """Of equal masks the best stays as it is and the others take all of the kernel; equal scores go in order."""
    mask, empty = encode(np.ones((4, 4), dtype=bool)), encode(np.zeros((4, 4), dtype=bool))
    boxes = np.tile([0.0, 0, 4, 4], (6, 1))
    found = make_instances(1, (4, 4), [0, 0, 0, 0, 1, 1], [0.5, 0.8, 0.8, 0.4, 0.7, 0.7], boxes, [mask] * 5 + [empty])
    factor = np.exp(-2) if kind == "gaussian" else 0.0
    lowered = matrix_nms(found, gaussian(0.5) if kind == "gaussian" else linear)
    np.testing.assert_allclose(lowered, [0.5 * factor, 0.8, 0.8 * factor, 0.4 * factor, 0.7, 0.7], rtol=1e-6)


def test_limits_of_the_ensembler() -> None:
    members = [blobs(1), blobs(2)]
    options = MatrixNMSOptions(max_per_model=10, max_per_image=6, min_score=0.3)
    merged = build_matrix_nms(options, TWO)(members)
    pooled = concatenate([member.select(np.argsort(-member.scores)[:10]) for member in members])
    lowered = matrix_nms(pooled, gaussian(0.5))
    best = [n for n in np.argsort(-lowered, kind="stable") if lowered[n] >= 0.3][:6]
    assert merged.masks.tolist() == pooled.masks[best].tolist()
    np.testing.assert_allclose(merged.scores, lowered[best], rtol=1e-6)
    nothing = make_instances(4, (24, 24), [], [], [], [])
    assert len(build_matrix_nms(MatrixNMSOptions(), TWO)([nothing, nothing])) == 0
    assert len(build_matrix_nms(MatrixNMSOptions(kernel="linear"), TWO)([nothing, blobs(1)])) > 0
