"""What holds for every ensembler, with its default options: on drawn predictions, and on those of three real models."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fineseg import Ensembler, Instances, ModelScore, concatenate, make_instances
from fineseg.coco_results import instances_of_results, load_results, split_of_results
from fineseg.data.masks import areas, decode, encode
from fineseg.data.masks import ious as mask_ious
from fineseg.data.rle_check import find_unsound
from fineseg_fusion.plugin import fineseg_ensemblers

PARTS = {part.name: part for part in fineseg_ensemblers()}
FUSING = ("wbf", "nmw")
CLASSES = 4

seeds = st.integers(0, 2**32 - 1)


def model_scores(rng: np.random.Generator, models: int, classes: int = CLASSES) -> list[ModelScore]:
    """Draw what models measured; some classes have few objects or none, some models are equal."""
    support = tuple(rng.integers(0, 30, classes).tolist())
    rows = [
        tuple(float("nan") if count == 0 else float(rng.integers(0, 5)) * 20 for count in support)
        for _ in range(models)
    ]
    return [ModelScore(f"m{n}", float(rng.integers(20, 24)), row, support) for n, row in enumerate(rows)]


def draw(rng: np.random.Generator, count: int) -> Instances:
    """Draw detections around a few objects; scores repeat, some masks are empty, some boxes are not their masks'."""
    height, width = 40, 50
    masks, boxes = [], []
    for _ in range(count):
        x, y = rng.integers(0, 3, 2) * 12 + rng.integers(0, 3, 2)
        mask = np.zeros((height, width), dtype=bool)
        mask[y : y + 14, x : x + 14] = rng.random((height, width))[y : y + 14, x : x + 14] > 0.1
        masks.append(encode(mask & (rng.random() > 0.05)))
        boxes.append(np.array([x, y, min(x + 14, width), min(y + 14, height)]) + rng.normal(0, 0.5, 4))
    scores = rng.integers(1, 21, count) / 20
    return make_instances(9, (height, width), rng.integers(0, CLASSES, count), scores, boxes, masks)


def assert_sound(part: Ensembler, members: list[Instances], merged: Instances) -> None:
    pooled = concatenate(members)
    assert (merged.image_id, merged.height, merged.width) == (pooled.image_id, pooled.height, pooled.width)
    assert len(merged.labels) == len(merged.boxes) == len(merged.masks) == len(merged)
    assert len(merged) <= min(part.options().max_per_image, len(pooled))
    assert merged.scores.dtype.kind == merged.boxes.dtype.kind == "f"
    assert ((merged.scores > 0) & (merged.scores <= 1)).all()
    assert (np.diff(merged.scores) <= 0).all()
    assert np.isfinite(merged.boxes).all()
    assert set(merged.labels.tolist()) <= set(pooled.labels.tolist())
    if len(merged):
        assert find_unsound(merged.masks.tolist(), [merged.height * merged.width] * len(merged)) == {}
    if part.name not in FUSING:
        given = set(zip(pooled.labels.tolist(), pooled.masks, map(tuple, pooled.boxes.tolist()), strict=True))
        assert set(zip(merged.labels.tolist(), merged.masks, map(tuple, merged.boxes.tolist()), strict=True)) <= given


@pytest.mark.parametrize("name", PARTS)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, models=st.integers(1, 4), most=st.sampled_from([0, 1, 12, 60]), missing=st.booleans())
def test_contract(name: str, seed: int, models: int, most: int, missing: bool) -> None:
    rng, part = np.random.default_rng(seed), PARTS[name]
    members = [draw(rng, int(rng.integers(0, most + 1))) for _ in range(models)]
    if missing:
        members[0] = draw(rng, 0)
    merge = part.build(part.options(), model_scores(rng, models))
    merged = merge(members)
    assert_sound(part, members, merged)
    again = merge(members)
    assert again.masks.tolist() == merged.masks.tolist()
    assert again.scores.tolist() == merged.scores.tolist()


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("seed", range(5))
def test_identical_models_add_nothing(name: str, seed: int) -> None:
    """Three times the same lone detections: the same boxes and masks come out, the best of each three as it was."""
    rng, part = np.random.default_rng(seed), PARTS[name]
    masks, boxes = [], []
    for n in range(6):
        mask = np.zeros((40, 50), dtype=bool)
        mask[5:30, n * 8 : n * 8 + 6] = rng.random((25, 6)) > 0.2
        masks.append(encode(mask))
        boxes.append([n * 8, 5, n * 8 + 6, 30])
    member = make_instances(9, (40, 50), np.arange(6) % CLASSES, rng.permutation(6) / 10 + 0.3, boxes, masks)
    scores = [ModelScore(f"m{n}", 50.0, (50.0,) * CLASSES, (20,) * CLASSES) for n in range(3)]
    merged = part.build(part.options(), scores)([member] * 3)
    found = {mask: float(max(merged.scores[merged.masks == mask])) for mask in set(merged.masks)}
    weight = 0.75 if name == "linear-reweight" else 1.0  # the mean of 1, 0.75 and 0.5
    assert found == {m: pytest.approx(weight * s, rel=1e-6) for m, s in zip(masks, member.scores, strict=True)}
    np.testing.assert_allclose(
        np.unique(merged.boxes.round(3), axis=0), np.unique(np.array(boxes, dtype=float), axis=0), atol=1e-3
    )


@pytest.mark.parametrize("name", FUSING)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, models=st.integers(2, 5))
def test_fused_masks_lie_between_intersection_and_union(name: str, seed: int, models: int) -> None:
    """One object a class and a box for all that see it, so that the members of each fused mask are known."""
    rng, part = np.random.default_rng(seed), PARTS[name]
    members, seen = [], {label: [] for label in range(CLASSES)}  # type: ignore[var-annotated]
    for _ in range(models):
        found = draw(rng, CLASSES)
        found = found.with_rows(
            np.arange(CLASSES), found.scores, np.tile(np.float32([5, 5, 30, 30]), (CLASSES, 1)), found.masks
        )
        members.append(found)
        for label, counts in enumerate(found.masks):
            seen[label].append(decode(counts, 40, 50))
    merged = part.build(part.options(), model_scores(rng, models))(members)
    assert sorted(merged.labels.tolist()) == list(range(CLASSES))
    for label, counts in zip(merged.labels.tolist(), merged.masks, strict=True):
        fused, masks = decode(counts, 40, 50), np.stack(seen[label])
        assert not (fused & ~masks.any(axis=0)).any()
        assert not (masks.all(axis=0) & ~fused).any()


# --------------------------------------------------------------- three real models


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[list[Instances]]:
    """Return what three models say of each of 97 photographs."""
    loaded = [load_results(file) for file in sorted((shared_data / "yolact_preds_val100").glob("*.json"))]
    split = split_of_results(loaded)
    found = [instances_of_results(rows, source, split) for rows, source in loaded]
    return [[each[image.id] for each in found] for image in split.images]


@pytest.mark.realdata
@pytest.mark.parametrize("name", PARTS)
def test_three_real_models(name: str, real: list[list[Instances]]) -> None:
    part = PARTS[name]
    merge = part.build(part.options(), model_scores(np.random.default_rng(0), 3, 80))
    merged = [merge(members) for members in real]
    assert len(merged) == 97
    for members, each in zip(real, merged, strict=True):
        assert_sound(part, members, each)
        assert len(each) > 0


@pytest.mark.realdata
@pytest.mark.parametrize("name", FUSING)
def test_real_fused_masks_resemble_their_class(name: str, real: list[list[Instances]]) -> None:
    """Every fused mask overlaps a mask of its class, most of them well; of the low detections many have no pixel."""
    merge = PARTS[name].build(PARTS[name].options(), model_scores(np.random.default_rng(0), 3, 80))
    nearest = []
    for members in real:
        merged, pooled = merge(members), concatenate(members)
        merged = merged.select(areas(merged.masks.tolist(), merged.height, merged.width) > 0)
        iou = mask_ious(merged.masks.tolist(), pooled.masks.tolist(), merged.height, merged.width)
        nearest += np.where(merged.labels[:, None] == pooled.labels, iou, 0).max(axis=1).tolist()
    assert len(nearest) > 2000
    assert min(nearest) > 0
    assert np.mean(np.array(nearest) > 0.7) > 0.95
