"""The ensemblers on whole images: weights, pooling, soft-NMS, the best of it; and the plugin's light import."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from fineseg import FinesegError, Instances, ModelScore, concatenate, make_instances
from fineseg.data.masks import encode
from fineseg_fusion.ensemble import build_linear_interpolation, build_linear_reweight
from fineseg_fusion.options import LinearInterpolationOptions, LinearReweightOptions
from fineseg_fusion.plugin import fineseg_ensemblers
from fineseg_fusion.soft_nms import linear_soft_nms

SCORES = [ModelScore(f"m{n}", ap, ()) for n, ap in enumerate((77.38, 77.37, 77.32, 77.21, 76.95))]
WEIGHTS = (1.0, 0.99070, 0.94419, 0.84186, 0.6)


def member(seed: int, n: int = 30, image_id: int = 7) -> Instances:
    """Draw detections; the mask of each names the model and the detection."""
    rng, places = np.random.default_rng(seed), np.random.default_rng(99).uniform(0, 400, (8, 2))
    corner = places[rng.integers(0, 8, n)] + rng.normal(0, 5, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(40, 60, (n, 2))], axis=1)
    masks = [f"{seed}-{i}".encode() for i in range(n)]
    return make_instances(image_id, (480, 480), rng.integers(0, 3, n), rng.random(n), boxes, masks)


def with_squares(found: Instances) -> Instances:
    """Return the detections with masks that can be decoded."""
    mask = np.zeros((480, 480), dtype=bool)
    mask[:9, :9] = True
    masks = np.full(len(found), encode(mask), dtype=object)
    return found.with_rows(found.labels, found.scores, found.boxes, masks)


def empty(image_id: int = 7) -> Instances:
    return make_instances(image_id, (480, 480), [], [], [], [])


def table(found: Instances) -> dict[bytes, tuple[int, float, tuple[float, ...]]]:
    rows = zip(found.labels.tolist(), found.scores.tolist(), map(tuple, found.boxes.tolist()), strict=True)
    return dict(zip(found.masks, rows, strict=True))


def test_weights_pooling_suppression_and_limit_together() -> None:
    members = [member(seed) for seed in range(5)]
    merged = build_linear_interpolation(LinearInterpolationOptions(max_per_image=40), SCORES)(members)
    pooled = concatenate(members)
    weighted = pooled.scores * np.repeat(WEIGHTS, 30)
    kept, scores = linear_soft_nms(pooled.boxes, weighted, pooled.labels, 0.5, 1e-3)
    best = np.argsort(-scores)[:40]
    np.testing.assert_allclose(merged.scores, scores[best], rtol=1e-4)
    assert merged.masks.tolist() == pooled.masks[kept[best]].tolist()
    assert (np.diff(merged.scores) <= 0).all()
    before = table(pooled)
    for mask, (label, _, box) in table(merged).items():
        assert (label, box) == (before[mask][0], before[mask][2])
    assert (merged.image_id, merged.height, merged.width) == (7, 480, 480)
    assert merged.scores.dtype == np.float32


@pytest.mark.parametrize("options", [LinearReweightOptions(), LinearReweightOptions(ranking="per-class")])
def test_permuted_models_give_the_same(options: LinearReweightOptions) -> None:
    members = [member(seed) for seed in range(4)]
    scores = [ModelScore(f"m{n}", 50.0 + n, (40.0 + n, 60.0 - n, float("nan"))) for n in range(4)]
    merged = build_linear_reweight(options, scores)(members)
    for order in ([3, 1, 0, 2], [1, 0, 3, 2]):
        again = build_linear_reweight(options, [scores[n] for n in order])([members[n] for n in order])
        assert again.masks.tolist() == merged.masks.tolist()
        np.testing.assert_allclose(again.scores, merged.scores, rtol=1e-6)


def test_per_class_ranking_weights_each_class_by_its_own_best() -> None:
    apart = [[0, 0, 10, 10], [50, 0, 60, 10], [100, 0, 110, 10]]
    members = [
        make_instances(1, (200, 200), [0, 1, 2], [1.0, 1.0, 1.0], np.add(apart, [0, y, 0, y]), [b"a", b"b", b"c"])
        for y in (0, 100)
    ]
    scores = [ModelScore("x", 60.0, (80.0, 20.0, float("nan"))), ModelScore("y", 50.0, (60.0, 40.0, float("nan")))]

    def weights(options: LinearReweightOptions) -> Sequence[float]:
        merged = build_linear_reweight(options, scores)(members)
        rows = {
            (int(n), y > 50): float(s) for n, y, s in zip(merged.labels, merged.boxes[:, 1], merged.scores, strict=True)
        }
        return [rows[key] for key in sorted(rows)]

    assert weights(LinearReweightOptions()) == [1.0, 0.5] * 3
    assert weights(LinearReweightOptions(ranking="per-class")) == [1.0, 0.5, 0.5, 1.0, 0.75, 0.75]


def test_images_without_detections() -> None:
    merge = build_linear_interpolation(LinearInterpolationOptions(), SCORES[:3])
    assert len(merge([empty(), empty(), empty()])) == 0
    only = merge([empty(), member(1), empty()])
    assert len(only) > 0
    assert set(only.masks) <= set(member(1).masks)


@pytest.mark.parametrize("build", ["interpolation", "reweight"])
def test_one_model_keeps_its_own_detections(build: str) -> None:
    """Its weight is 1; what hard NMS has already cleared per class stays as it is."""
    grid = np.array([[x, y, x + 20, y + 20] for x in range(0, 200, 15) for y in range(0, 60, 15)], dtype=float)
    rng = np.random.default_rng(0)
    alone = make_instances(
        3,
        (480, 480),
        rng.integers(0, 2, len(grid)),
        rng.random(len(grid)),
        grid,
        [str(n).encode() for n in range(len(grid))],
    )
    if build == "interpolation":
        merge = build_linear_interpolation(LinearInterpolationOptions(), [ModelScore("m", 40.0, (1.0, 2.0))])
    else:
        merge = build_linear_reweight(LinearReweightOptions(), [ModelScore("m", 40.0, (1.0, 2.0))])
    assert table(merge([alone])) == table(alone)


def test_the_same_model_twice_adds_nothing() -> None:
    merge = build_linear_interpolation(
        LinearInterpolationOptions(), [ModelScore("a", 9.0, ()), ModelScore("b", 9.0, ())]
    )
    spread = np.arange(20)[:, None] * [20.0, 0, 20, 0] + [0, 0, 15, 15]
    one = make_instances(
        1, (480, 480), np.zeros(20), np.linspace(0.1, 0.9, 20), spread, [bytes([n]) for n in range(20)]
    )
    assert table(merge([one, one])) == table(one)


def test_faults_are_one_line_each() -> None:
    merge = build_linear_interpolation(LinearInterpolationOptions(), SCORES[:2])
    per_class = LinearReweightOptions(ranking="per-class")
    broken = member(2).with_scores(np.full(30, np.nan))
    uneven = [ModelScore("x", 1.0, (1.0,)), ModelScore("y", 1.0, (1.0, 2.0))]
    cases = [
        (lambda: build_linear_interpolation(LinearInterpolationOptions(), []), "there is no model to merge"),
        (lambda: build_linear_reweight(LinearReweightOptions(), []), "there is no model to merge"),
        (lambda: build_linear_reweight(per_class, uneven), r"got x: 1, y: 2; measure"),
        (lambda: build_linear_reweight(per_class, SCORES[:2]), r"got m0: 0, m1: 0; measure"),
        (lambda: merge([member(1)]), "1 predictions of an image for 2 model scores"),
        (lambda: merge([member(1), member(2, image_id=8)]), r"different images \[7, 8\]"),
        (lambda: merge([member(1), broken]), "image 7: model 2 of 2 predicts a score or box that is not a finite"),
    ]
    for act, message in cases:
        with pytest.raises(FinesegError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_options_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValidationError, match=r"theta_min 0\.9 is above theta_max 0\.5"):
        LinearInterpolationOptions(theta_min=0.9, theta_max=0.5)
    for wrong in ({"nms_iou": 1.5}, {"max_per_image": 0}, {"theta": 0.5}):
        with pytest.raises(ValidationError):
            LinearInterpolationOptions(**wrong)
    with pytest.raises(ValidationError, match="'overall' or 'per-class'"):
        LinearReweightOptions(ranking="by-class")


def test_records_of_the_plugin() -> None:
    parts = {part.name: part for part in fineseg_ensemblers()}
    assert list(parts) == [
        "linear-interpolation",
        "linear-reweight",
        "soft-nms",
        "mask-nms",
        "matrix-nms",
        "wbf",
        "nmw",
        "best-per-class",
    ]
    measured = [ModelScore("m", 50.0, (50.0,) * 3, (20,) * 3)]
    for part in parts.values():
        assert len(part.build(part.options(), measured)([with_squares(member(1))])) > 0


def test_the_plugin_imports_light() -> None:
    code = (
        "import sys, fineseg_fusion.plugin\n"
        "heavy = {'torch', 'mmdet', 'mmengine', 'mmcv', 'ray', 'cv2', 'pycocotools', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
