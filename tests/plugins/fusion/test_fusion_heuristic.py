"""Fuser `heuristic`: what panopticapi returned for drawn and real inputs, plain loops, and both forms of semantics."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panoptic_fusion_cases import as_instances, as_masks, combined_by_loops, draw_masks
from PIL import Image

from fineseg import FinesegError, FuserInput, PanopticEnd, PanopticMap, SemanticMasks, SemanticScores, make_instances
from fineseg.data import masks
from fineseg_fusion.fusers import build_heuristic
from fineseg_fusion.options import HeuristicOptions
from fineseg_fusion.panoptic_rule import combine, positions

THINGS, STUFF = 3, 2
STRANGE = -1
QUIRKS = {
    "011_hidden_instances_thr1": "drops them: a segment without a pixel is no segment",
    "018_stuff_limit_zero": "drops it: a segment without a pixel is no segment",
    "020_stuff_in_instances": "refuses it",
    "021_stuff_class_twice": "refuses it",
    "023_text_image_ids": "takes a record by its image; ids are the reader's affair",
}
"""What panopticapi accepts and how the rule differs."""


# ------------------------------------------------------------------ random inputs


def draw(rng: np.random.Generator) -> tuple[tuple[int, int], list[Any], list[Any]]:
    size = int(rng.integers(1, 10)), int(rng.integers(1, 12))
    count = int(rng.integers(0, 9))
    scores = np.round(rng.random(count), 1).tolist()  # ties, and scores equal to the threshold
    labels = rng.integers(0, THINGS, count).tolist()
    found = list(zip(labels, scores, draw_masks(rng, count, size), strict=True))
    classes = rng.permutation(THINGS + STUFF)[: rng.integers(0, THINGS + STUFF + 1)].tolist()
    return size, found, list(zip(classes, draw_masks(rng, len(classes), size), strict=True))


@pytest.mark.parametrize("seed", range(300))
def test_random_inputs_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, found, regions = draw(rng)
    limits = {"overlap": float(rng.choice([0, 0.25, 0.5, 1])), "stuff_area": float(rng.choice([0, 1, 4, 5.5]))}
    options = HeuristicOptions(confidence=0.3, **limits)
    fuse = build_heuristic(options, FuserInput(THINGS, STUFF))
    semantic = as_masks(size, regions, THINGS + STUFF)
    fused = fuse([PanopticEnd("a", as_instances(7, size, found), semantic)])
    if not found and not regions:
        assert not fused.ids.any() and fused.segments == ()
        return
    ids, labels = combined_by_loops(found, regions, THINGS, confidence=0.3, **limits)
    assert fused.ids.dtype == np.int32 and fused.image_id == 7
    assert fused.ids.tolist() == ids
    assert [(s.id, s.label) for s in fused.segments] == list(enumerate(labels, 1))


@pytest.mark.parametrize("seed", range(40))
def test_a_map_of_scores_is_combined_as_its_masks_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, found, _ = draw(rng)
    classes = THINGS + STUFF
    labels = rng.integers(0, classes, size)
    scores = SemanticScores(np.eye(classes, dtype=np.float32)[labels].transpose(2, 0, 1), size)
    regions = as_masks(size, [(label, labels == label) for label in range(classes)], classes)
    limits = {"overlap": 0.5, "stuff_area": 6.0}
    first, second = (combine(as_instances(1, size, found), s, THINGS, **limits) for s in (scores, regions))
    assert (first.ids == second.ids).all() and first.segments == second.segments


def test_positions_go_down_the_columns() -> None:
    mask = np.zeros((2, 3), bool)
    mask[1, 0] = mask[0, 2] = True
    full, empty = (masks.encode(np.full((2, 3), value)) for value in (True, False))
    assert [each.tolist() for each in positions([masks.encode(mask), full, empty])] == [[1, 4], [*range(6)], []]
    assert positions([]) == []


# ------------------------------------------------------------------------ oracle


def cases(folder: Path, kind: str) -> dict[str, Any]:
    table = json.loads((folder / "expected.json").read_text())["cases"]
    return {name: case for name, case in table.items() if case["kind"] == kind}


def fuse_case(folder: Path, case: dict[str, Any]) -> dict[str, tuple[PanopticMap, list[int]]]:
    """Fuse the images of a case: maps and the category of each label, by file name."""
    inputs = folder / case["inputs"]
    kinds = json.loads((inputs / "categories.json").read_text())
    table = sorted(kinds, key=lambda c: (not c["isthing"], c["id"]))
    labels = {c["id"]: label for label, c in enumerate(table)}
    things = sum(c["isthing"] for c in table)
    options = HeuristicOptions(
        confidence=case["confidence_thr"], overlap=case["overlap_thr"], stuff_area=case["stuff_area_limit"]
    )
    fuse = build_heuristic(options, FuserInput(things, len(table) - things))
    rows: dict[str, dict[Any, list[Any]]] = {}
    for name in ("instances", "semantic"):
        rows[name] = defaultdict(list)
        for row in json.loads((inputs / f"{name}.json").read_text()):
            rows[name][row["image_id"]].append(row)
    fused = {}
    for number, image in enumerate(json.loads((inputs / "images.json").read_text())["images"]):
        size = image["height"], image["width"]
        found, regions = rows["instances"][image["id"]], rows["semantic"][image["id"]]
        counts = [row["segmentation"]["counts"].encode() for row in found]
        classes = [labels.get(row["category_id"], STRANGE) for row in found]
        made = make_instances(number, size, classes, [0] * len(found), np.zeros((len(found), 4)), counts)
        made = made.with_rows(made.labels, np.array([row["score"] for row in found], float), made.boxes, made.masks)
        semantic = SemanticMasks(
            [(labels[row["category_id"]], row["segmentation"]["counts"].encode()) for row in regions], len(table), size
        )
        fused[image["file_name"]] = fuse([PanopticEnd("a", made, semantic)]), [c["id"] for c in table]
    return fused


def differences(folder: Path, case: dict[str, Any]) -> list[str]:
    """Return how the maps of a case differ from panopticapi's, whose segments are numbered in the same order."""
    fused = fuse_case(folder, case)
    told = []
    for image in case["images"]:
        (found, ids) = fused[image["file_name"].replace(".png", ".jpg")]
        expected = np.asarray(Image.open(folder / image["index_png"]))
        listed = [(each["index"], each["category_id"]) for each in image["segments"]]
        if [(s.id, ids[s.label]) for s in found.segments] != listed:
            told.append(f"{image['file_name']}: segments")
        if found.ids.shape != expected.shape or (found.ids != expected).any():
            told.append(f"{image['file_name']}: pixels")
    return told


@pytest.mark.realdata
def test_every_normal_case_of_panopticapi(shared_data: Path) -> None:
    folder = shared_data / "panoptic_oracle" / "combine"
    normal = cases(folder, "normal")
    assert len(normal) == 38
    assert {name: found for name, case in normal.items() if (found := differences(folder, case))} == {}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "listed"),
    [("011_hidden_instances_thr1", True), ("018_stuff_limit_zero", True), ("023_text_image_ids", False)],
)
def test_quirks_that_give_a_map(shared_data: Path, name: str, listed: bool) -> None:
    folder = shared_data / "panoptic_oracle" / "combine"
    case = cases(folder, "quirk")[name]
    for image in case["images"]:
        left = [each for each in image["segments"] if each["area"]]
        assert (len(left) < len(image["segments"])) == listed
        found, ids = fuse_case(folder, case)[image["file_name"].replace(".png", ".jpg")]
        expected = np.asarray(Image.open(folder / image["index_png"]))
        numbers = np.zeros(256, int)
        numbers[[each["index"] for each in left]] = np.arange(1, len(left) + 1)
        assert [ids[s.label] for s in found.segments] == [each["category_id"] for each in left]
        assert (found.ids == numbers[expected]).all()


@pytest.mark.realdata
def test_quirks_are_all_chosen_for(shared_data: Path) -> None:
    folder = shared_data / "panoptic_oracle" / "combine"
    quirks = cases(folder, "quirk")
    assert set(quirks) == set(QUIRKS)
    with pytest.raises(FinesegError, match=r"image 0: an instance of score 0\.\d+ has label \d+; things are 0 to \d+"):
        fuse_case(folder, quirks["020_stuff_in_instances"])
    with pytest.raises(ValueError, match="must differ"):
        fuse_case(folder, quirks["021_stuff_class_twice"])


@pytest.mark.realdata
def test_errors_are_told(shared_data: Path) -> None:
    folder = shared_data / "panoptic_oracle" / "combine"
    errors = cases(folder, "error")
    assert len(errors) == 3  # the two others are met where files are read
    with pytest.raises(FinesegError, match=r"image 0: an instance of score .* has label -1; things are 0 to"):
        fuse_case(folder, errors["024_error_unknown_instance_class"])


# ------------------------------------------------------------------------- faults


def end(model: str, size: tuple[int, int] = (4, 4), classes: int = THINGS + STUFF, **without: None) -> PanopticEnd:
    full = {
        "instances": as_instances(1, size, [(0, 0.9, np.ones(size, bool))]),
        "semantic": SemanticScores(np.full((classes, 1, 1), 1 / classes, np.float32), size),
    }
    return PanopticEnd(model, **{**full, **without})


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([], "no model gives instances, it is given no model"),
        ([end("a", semantic=None)], "no model gives semantic scores, it is given a"),
        ([end("a", instances=None)], "no model gives instances, it is given a"),
        ([end("a"), end("b")], "takes instances of one model, not of a, b; two-level takes more"),
        (
            [end("a"), end("b", instances=None)],
            "takes semantic scores of one model, not of a, b; two-level takes more",
        ),
        (
            [end("a", semantic=None), end("b", (5, 4), instances=None)],
            "image 1: semantic scores of b are of 5 x 4; the image is 4 x 4",
        ),
        ([end("a", classes=4)], "scores of a are of 4 classes; the task has 3 things and 2 stuff"),
    ],
)
def test_what_cannot_be_fused(ends: list[PanopticEnd], message: str) -> None:
    with pytest.raises(FinesegError) as caught:
        build_heuristic(HeuristicOptions(), FuserInput(THINGS, STUFF))(ends)
    assert message in str(caught.value) and str(caught.value).startswith("fuser heuristic")


def test_several_models_are_refused_before_anything_is_fused() -> None:
    def build(**gives: tuple[str, ...]) -> None:
        build_heuristic(HeuristicOptions(), FuserInput(THINGS, STUFF, gives=gives))  # type: ignore[arg-type]

    build(a=("instances",), b=("semantic",))
    build(a=("instances", "semantic"))
    with pytest.raises(FinesegError, match="takes instances of one model, not of a, b; two-level takes more"):
        build(a=("instances", "semantic"), b=("instances",))
    with pytest.raises(FinesegError, match="takes semantic scores of one model, not of a, b"):
        build(a=("instances", "semantic"), b=("semantic",))


def test_a_score_that_is_no_number_is_refused() -> None:
    bad = as_instances(1, (4, 4), [(0, float("nan"), np.ones((4, 4), bool))])
    with pytest.raises(FinesegError, match="a predicts a score that is not a finite number"):
        build_heuristic(HeuristicOptions(), FuserInput(THINGS, STUFF))([PanopticEnd("a", bad, end("a").semantic)])
