"""What is scored while a model trains: the figures that its predictions have, from one worker or several."""

from pathlib import Path
from typing import Any

import e_ups_cases
import htc_cases
import pytest
import torch

from fineseg.catalog import Catalog
from fineseg.data.panoptic import load_map, semantic_labels
from fineseg.data.split import Split
from fineseg.metrics.mask_ap import mask_ap
from fineseg.metrics.panoptic_quality import PanopticCounts, count_image, panoptic_result
from fineseg.metrics.semantic_iou import PixelCounts, count_pixels, semantic_result
from fineseg.mm import validation
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.panoptic import predict_panoptic_heads
from fineseg.mm.validation import Validation, mean_figures, validate
from fineseg.parts import Output
from fineseg.profile.schema import MetricTable, ModelTable, PartChoice, PredictTable
from fineseg.semantic_store import label_map
from fineseg_datasets.options import ShowroomOptions
from fineseg_datasets.showroom_dataset import generate_panoptic, read_panoptic_rooms

CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=96, short_side=96, score_threshold=0.0, max_per_image=20)
GIVES: dict[str, tuple[Output, ...]] = {
    "maps": ("instances", "semantic", "panoptic"),
    "boxes": ("instances", "semantic"),
    "pixels": ("semantic",),
}
QUALITY = ("PQ", "SQ", "RQ", "PQth", "PQst")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder: Path = tmp_path_factory.mktemp("grounds")
    options = ShowroomOptions(train=4, size=96)
    generate_panoptic(options, folder, "train", lambda *_: None)
    return read_panoptic_rooms(options, folder, "train")


@pytest.fixture(scope="module")
def built(catalog: Catalog, rooms: Split) -> BuiltModel:
    torch.manual_seed(1)
    everything = {"score": 0.0, "stuff_area": 1}
    table = ModelTable(
        backbone=PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False),
        neck=PartChoice(name="fpn", channels=16),
        ends={
            "maps": PartChoice(name="e-ups", **e_ups_cases.OPTIONS, panoptic=everything),
            "boxes": PartChoice(name="lwl-htc", **htc_cases.HEAD),
        },
    )
    model = build_model(table, catalog, len(rooms.categories), weights_cache=None, num_stuff=len(rooms.stuff))
    model.module.eval()
    return model


def asked(rooms: Split, gives: dict[str, tuple[Output, ...]]) -> Validation:
    return Validation(rooms, PREDICT, MetricTable(), gives)


def nothing(*_: int) -> None: ...


@pytest.mark.parametrize("ends", [("maps",), ("maps", "boxes")])
def test_figures_are_those_of_the_predictions(built: BuiltModel, rooms: Split, ends: tuple[str, ...]) -> None:
    gives = {end: GIVES[end] for end in ends}
    found = validate(built, asked(rooms, gives), nothing)
    own: dict[str, dict[str, float]] = {}
    said = {image.id: predict_panoptic_heads(built, image, PREDICT, CPU, gives) for image in rooms.images}
    truths = {image.id: load_map(rooms.panoptic[image.id], image) for image in rooms.images}
    classes = len(rooms.panoptic_categories)
    for end in ends:
        answers = {image_id: each[end] for image_id, each in said.items()}
        instances = {image_id: answer.instances for image_id, answer in answers.items()}
        own[end] = dict(mask_ap(rooms, instances, area_ranges=MetricTable().area_ranges).summary)
        pixels, segments = PixelCounts.none(classes), PanopticCounts.none(classes)
        for image_id, answer in answers.items():
            pixels += count_pixels(semantic_labels(truths[image_id]), label_map(answer.semantic), classes)
            if answer.panoptic is not None:
                segments += count_image(truths[image_id], answer.panoptic, classes)
        own[end]["mIoU"] = semantic_result(pixels).miou
        assert 0 < own[end]["mIoU"] < 100
        if end == "maps":
            groups = panoptic_result(segments, len(rooms.categories)).groups
            quality = groups["All"], groups["Things"], groups["Stuff"]
            values = (quality[0].pq, quality[0].sq, quality[0].rq, quality[1].pq, quality[2].pq)
            own[end] |= dict(zip(QUALITY, values, strict=True))
            assert segments.tp.sum() + segments.fp.sum() > 4
    known = {end: {name: value for name, value in each.items() if value == value} for end, each in own.items()}
    assert found == pytest.approx(mean_figures(known))
    assert ("boxes.PQ" in found, "boxes.mIoU" in found) == (False, len(ends) == 2)
    if len(ends) == 2:
        assert found["PQ"] == found["maps.PQ"]
        assert found["mIoU"] == pytest.approx((found["maps.mIoU"] + found["boxes.mIoU"]) / 2)


def test_a_head_that_scores_pixels_alone_has_miou(built: BuiltModel, rooms: Split) -> None:
    found = validate(built, asked(rooms, {"boxes": GIVES["pixels"]}), nothing)
    assert list(found) == ["mIoU"]
    assert found["mIoU"] == validate(built, asked(rooms, {"boxes": GIVES["boxes"]}), nothing)["mIoU"]


def test_another_task_asks_for_instances_alone(built: BuiltModel, rooms: Split) -> None:
    alone, everything = (
        validate(built, asked(rooms, gives), nothing)
        for gives in (dict.fromkeys(("maps", "boxes"), ("instances",)), {end: GIVES[end] for end in ("maps", "boxes")})
    )
    assert alone == {name: value for name, value in everything.items() if name.rpartition(".")[2].startswith("AP")}


@pytest.mark.parametrize("world", [2, 3, 6])
def test_workers_score_together_what_one_scores_alone(
    built: BuiltModel, rooms: Split, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    gives = {end: GIVES[end] for end in ("maps", "boxes")}
    shares: list[Any] = []
    images: list[int] = []

    def gather(into: list[Any], share: Any) -> None:
        shares.append(share)
        into[:] = [*shares, *({} for _ in range(world - len(shares)))]

    monkeypatch.setattr(validation.dist, "all_gather_object", gather)
    for rank in range(world):
        together = validate(built, asked(rooms, gives), lambda _, count: images.append(count), rank, world)
    assert sum(bool(share) for share in shares) == min(world, 4) and len(images) == 4
    monkeypatch.undo()
    assert together == pytest.approx(validate(built, asked(rooms, gives), nothing))
