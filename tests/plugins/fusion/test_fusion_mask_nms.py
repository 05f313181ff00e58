"""NMS by mask IoU against one comparison after another, and the two ensemblers that weigh nothing."""

import numpy as np
import pytest

from fineseg import FinesegError, Instances, ModelScore, concatenate, make_instances
from fineseg.data.masks import decode, encode, ious
from fineseg_fusion.ensemble import build_mask_nms, build_soft_nms
from fineseg_fusion.mask_nms import mask_nms
from fineseg_fusion.options import MaskNMSOptions, PoolOptions
from fineseg_fusion.soft_nms import linear_soft_nms

TWO = [ModelScore("a", 90.0, ()), ModelScore("b", 10.0, ())]


def blobs(seed: int, count: int = 25) -> Instances:
    """Draw overlapping rectangles with holes, some of them empty; scores repeat, so that there are ties."""
    rng = np.random.default_rng(seed)
    masks, boxes = [], []
    for number in range(count):
        x, y, width, height = rng.integers(0, 12, 2).tolist() + rng.integers(2, 12, 2).tolist()
        mask = np.zeros((24, 24), dtype=bool)
        mask[y : y + height, x : x + width] = rng.random((24, 24))[y : y + height, x : x + width] > 0.2
        masks.append(encode(mask & (number % 9 > 0)))
        boxes.append([x, y, x + width, y + height])
    return make_instances(4, (24, 24), rng.integers(0, 3, count), rng.integers(1, 15, count) / 16, boxes, masks)


def nms_in_loops(found: Instances, threshold: float) -> list[int]:
    masks = [decode(counts, 24, 24) for counts in found.masks]
    kept: list[int] = []
    for n in sorted(range(len(found)), key=lambda n: (-found.scores[n], n)):
        rivals = [masks[k] for k in kept if found.labels[k] == found.labels[n]]
        if all((masks[n] & rival).sum() <= threshold * (masks[n] | rival).sum() for rival in rivals):
            kept.append(n)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_equals_loops(threshold: float) -> None:
    dropped = 0
    for seed in range(20):
        found = blobs(seed)
        kept = mask_nms(found, threshold)
        assert kept.tolist() == nms_in_loops(found, threshold)
        dropped += len(found) - len(kept)
    assert (dropped > 0) == (threshold < 1)


def test_ious_by_hand() -> None:
    a, b, nothing = (np.zeros((4, 5), dtype=bool) for _ in range(3))
    a[:2], b[1:3] = True, True
    counts = [encode(mask) for mask in (a, b, nothing)]
    np.testing.assert_allclose(ious(counts, counts, 4, 5), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    assert ious([], counts, 4, 5).shape == (0, 3)


def test_pooled_by_masks() -> None:
    members = [blobs(1), blobs(2)]
    pooled = concatenate(members)
    merged = build_mask_nms(MaskNMSOptions(nms_iou=0.3, max_per_image=10), TWO)(members)
    kept = nms_in_loops(pooled, 0.3)[:10]
    assert merged.masks.tolist() == pooled.masks[kept].tolist()
    assert merged.scores.tolist() == pooled.scores[kept].tolist()  # whatever AP the members have


def test_pooled_by_boxes() -> None:
    members = [blobs(1), blobs(2)]
    pooled = concatenate(members)
    merged = build_soft_nms(PoolOptions(max_per_image=200), TWO)(members)
    kept, scores = linear_soft_nms(pooled.boxes, pooled.scores, pooled.labels, 0.5, 1e-3)
    order = np.argsort(-scores, kind="stable")
    assert merged.masks.tolist() == pooled.masks[kept[order]].tolist()
    np.testing.assert_allclose(merged.scores, scores[order], rtol=1e-6)


@pytest.mark.parametrize(
    "build", [lambda s: build_mask_nms(MaskNMSOptions(), s), lambda s: build_soft_nms(PoolOptions(), s)]
)
def test_empty_and_wrong_members(build) -> None:  # type: ignore[no-untyped-def]
    nothing = make_instances(4, (24, 24), [], [], [], [])
    assert len(build(TWO)([nothing, nothing])) == 0
    assert 0 < len(build(TWO)([nothing, blobs(1)])) <= 25
    with pytest.raises(FinesegError, match="there is no model to merge"):
        build([])
    with pytest.raises(FinesegError, match="1 predictions of an image for 2 model scores"):
        build(TWO)([nothing])
