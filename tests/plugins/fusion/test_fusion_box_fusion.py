"""Clusters, boxes and scores of `wbf` and `nmw` against ensemble-boxes, on boxes and on whole images."""

import numpy as np
import pytest
from ensemble_boxes import non_maximum_weighted as theirs_nmw
from ensemble_boxes import weighted_boxes_fusion as theirs_wbf
from hypothesis import given, settings
from hypothesis import strategies as st

from fineseg import FinesegError, Instances, ModelScore, make_instances
from fineseg.data.masks import encode
from fineseg_fusion.box_fusion import fused_scores, non_maximum_weighted, weighted_boxes
from fineseg_fusion.fuse import build_nmw, build_wbf, model_weights
from fineseg_fusion.options import FuseOptions, WBFOptions
from fineseg_fusion.weights import linear_interpolation, linear_reweight

CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
SIDES = (60, 80)  # height, width
SCORES = [ModelScore(f"m{n}", ap, ()) for n, ap in enumerate((50.0, 47.0, 44.0))]
MASK = encode(np.ones(SIDES, dtype=bool))

seeds = st.integers(0, 2**32 - 1)


def draw(rng: np.random.Generator, models: int, most: int) -> tuple[list[np.ndarray], ...]:
    """Draw boxes in 0..1 around some objects, scores without ties, and labels, of each model."""
    objects = rng.uniform(0.2, 0.8, (max(most // 3, 1), 2))
    boxes, scores, labels = [], [], []
    for _ in range(models):
        n = int(rng.integers(0, most + 1))
        centre = objects[rng.integers(0, len(objects), n)] + rng.normal(0, 0.02, (n, 2))
        half = rng.uniform(0.05, 0.2, (n, 2))
        boxes.append(np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, 1))
        scores.append(rng.uniform(0.01, 1, n))
        labels.append(rng.integers(0, 3, n))
    return boxes, scores, labels


def rows(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return label, score, box of each, sorted by label and score."""
    table = np.column_stack([labels, scores, boxes])
    return table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]


def cluster_labels(of_box: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found = np.full(of_box.max(initial=-1) + 1, -1)
    found[of_box] = labels
    assert (found[of_box] == labels).all(), "a cluster of two classes"
    assert (found >= 0).all(), "an empty cluster"
    return found


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    models=st.integers(1, 5),
    match_iou=st.floats(0.0, 0.95),
    conf_type=st.sampled_from(CONF_TYPES),
    weighted=st.booleans(),
)
def test_wbf_equals_ensemble_boxes(seed: int, models: int, match_iou: float, conf_type: str, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores, labels = draw(rng, models, 40)
    weights = rng.uniform(0.3, 1, models) if weighted else np.ones(models)
    theirs = theirs_wbf(boxes, scores, labels, weights=weights.tolist(), iou_thr=match_iou, conf_type=conf_type)
    model = np.repeat(np.arange(models), [len(each) for each in boxes])
    all_labels, say = np.concatenate(labels), np.concatenate(scores) * weights[model]
    found = weighted_boxes(np.concatenate(boxes), say, all_labels, match_iou)
    if not len(say):
        assert len(found.boxes) == len(theirs[1]) == 0
        return
    confidence = fused_scores(found.of_box, say, model, weights, conf_type)
    ours, expected = rows(found.boxes, confidence, cluster_labels(found.of_box, all_labels)), rows(*theirs)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours[:, :2], expected[:, :2], rtol=1e-6)
    # The same bits: the clusters hang on these numbers.
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, theirs[0].tolist()))


@settings(max_examples=100, deadline=None)
@given(seed=seeds, models=st.integers(1, 5), match_iou=st.floats(0.0, 0.95), weighted=st.booleans())
def test_nmw_equals_ensemble_boxes(seed: int, models: int, match_iou: float, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores, labels = draw(rng, models, 40)
    weights = rng.uniform(0.3, 1, models) if weighted else np.ones(models)
    theirs = theirs_nmw(boxes, scores, labels, weights=weights.tolist(), iou_thr=match_iou)
    model = np.repeat(np.arange(models), [len(each) for each in boxes])
    all_labels, say = np.concatenate(labels), np.concatenate(scores) * weights[model] / weights.max()
    found = non_maximum_weighted(np.concatenate(boxes), say, all_labels, match_iou)
    highest = np.zeros(len(found.boxes))
    np.maximum.at(highest, found.of_box, say)
    ours = rows(found.boxes, highest, cluster_labels(found.of_box, all_labels))
    np.testing.assert_allclose(ours, rows(*theirs), rtol=1e-5)


def test_nothing_and_ties() -> None:
    for cluster in (weighted_boxes, non_maximum_weighted):
        nothing = cluster(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), 0.5)
        assert nothing.boxes.shape == (0, 4)
        assert nothing.of_box.shape == (0,)
        # At equal scores the first opens the cluster; who overlaps two equally joins the first.
        boxes = np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [5, 0, 15, 10]])
        assert cluster(boxes, np.full(3, 0.5), np.zeros(3, int), 0.3).of_box.tolist() == [0, 1, 0]
        assert cluster(boxes, np.full(3, 0.5), np.array([0, 0, 1]), 0.3).of_box.tolist() == [0, 1, 2]


# ------------------------------------------------------------------ whole images


def members_of(rng: np.random.Generator, models: int = 3) -> list[Instances]:
    """Draw predictions in pixels; some boxes reach out of the image, some have no area."""
    height, width = SIDES
    members = []
    for boxes, scores, labels in zip(*draw(rng, models, 30), strict=True):
        pixels = (boxes * 1.2 - 0.1) * [width, height, width, height]
        if len(pixels) > 2:
            pixels[0, 2] = pixels[0, 0]
        members.append(make_instances(3, SIDES, labels, scores, pixels, [MASK] * len(scores)))
    return members


def normalised(members: list[Instances]) -> tuple[list[np.ndarray], ...]:
    scale = np.array([SIDES[1], SIDES[0]] * 2)
    boxes = [np.clip(member.boxes / scale, 0, 1) for member in members]
    return boxes, [member.scores for member in members], [member.labels for member in members]


@pytest.mark.filterwarnings("ignore:Zero area box")
@pytest.mark.parametrize("conf_type", CONF_TYPES)
@pytest.mark.parametrize(("rule", "thr"), [("none", 0.0), ("interpolation", 0.2), ("rank", 0.5)])
def test_whole_images(conf_type: str, rule: str, thr: float) -> None:
    weights = {
        "none": np.ones(3),
        "interpolation": linear_interpolation(np.array([50.0, 47, 44]), 0.4, 1.0),
        "rank": linear_reweight(np.array([50.0, 47, 44]), 0.4),
    }[rule]
    wanted = {"weights": rule, "theta": 0.4, "skip_box_thr": thr, "match_iou": 0.5, "max_per_image": 1000}
    for seed in range(12):
        members = members_of(np.random.default_rng(seed))
        theirs = theirs_wbf(*normalised(members), weights.tolist(), 0.5, thr, conf_type)
        merged = build_wbf(WBFOptions(conf_type=conf_type, **wanted), SCORES)(members)
        assert_same(merged, theirs)
        if conf_type == "avg":
            theirs = theirs_nmw(*normalised(members), weights.tolist(), 0.5, thr)
            assert_same(build_nmw(FuseOptions(**wanted), SCORES)(members), theirs)


def assert_same(merged: Instances, theirs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    boxes, scores, labels = theirs
    assert (np.diff(merged.scores) <= 0).all()
    ours = rows(merged.boxes / ([SIDES[1], SIDES[0]] * 2), merged.scores, merged.labels)
    expected = rows(boxes, np.minimum(scores, 1), labels)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert (merged.masks == MASK).all()


def test_the_best_are_kept_with_their_own_masks() -> None:
    """Twelve lone detections: each keeps box, label and mask, the highest five stay."""
    masks, boxes = [], []
    for n in range(12):
        mask = np.zeros(SIDES, dtype=bool)
        mask[:50, n * 5 : n * 5 + 4] = True
        masks.append(encode(mask))
        boxes.append([n * 5, 0, n * 5 + 4, 50])
    scores = np.random.default_rng(1).permutation(12) / 20 + 0.1
    member = make_instances(3, SIDES, np.arange(12) % 4, scores, boxes, masks)
    best = np.argsort(-scores)[:5]
    for build, options in ((build_wbf, WBFOptions(max_per_image=5)), (build_nmw, FuseOptions(max_per_image=5))):
        merged = build(options, SCORES[:1])([member])
        assert merged.masks.tolist() == [masks[n] for n in best]
        assert merged.labels.tolist() == (best % 4).tolist()
        np.testing.assert_allclose(merged.boxes, np.array(boxes)[best], rtol=1e-6)
        np.testing.assert_allclose(merged.scores, scores[best], rtol=1e-6)


def test_an_average_stays_below_one_and_a_model_without_weight_is_silent() -> None:
    """Two boxes of the heavy model and one of a light one: ensemble-boxes' average is 2.6 / 2.2."""
    box, options = [10, 10, 30, 30], WBFOptions(weights="rank", theta=0.2)
    heavy = make_instances(3, SIDES, [0, 0], [1, 1], [box, box], [MASK] * 2)
    light = make_instances(3, SIDES, [0], [1], [box], [MASK])
    two = [ModelScore("a", 2.0, ()), ModelScore("b", 1.0, ())]
    assert (
        theirs_wbf([[[0.1, 0.1, 0.3, 0.3]] * 2, [[0.1, 0.1, 0.3, 0.3]]], [[1, 1], [1]], [[0, 0], [0]], [1, 0.2])[1] > 1
    )
    assert build_wbf(options, two)([heavy, light]).scores.tolist() == [1.0]
    silent = WBFOptions(weights="rank", theta=0)
    nothing = make_instances(3, SIDES, [], [], [], [])
    for build in (build_wbf, build_nmw):
        assert len(build(silent, two)([nothing, light])) == 0
        assert len(build(silent, two)([light, nothing])) == 1
        assert len(build(options, two)([nothing, nothing])) == 0
        with pytest.raises(FinesegError, match="there is no model to merge"):
            build(options, [])
        with pytest.raises(FinesegError, match="1 predictions of an image for 2 model scores"):
            build(options, two)([light])


def test_models_without_scores_weigh_the_same() -> None:
    unknown = [ModelScore(name, float("nan"), ()) for name in "ab"]
    for rule in ("none", "interpolation", "rank"):
        weights = model_weights(WBFOptions(weights=rule), unknown)
        assert weights[0] == weights[1] > 0
