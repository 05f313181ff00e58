"""Without extras the head is HTC: mmdet's on the same weights, and this project's; its scores are the branch's own."""

from typing import Any

import pytest
import torch
from head_cases import SIDE, training_images
from htc_cases import CLASSES, STUFF, built_htc, meta, stock_htc
from lwl_htc_cases import ROWS, built_lwl_htc
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import PixelData

from fineseg import FinesegError, HeadInput, PanopticPredictor, SemanticPredictor
from fineseg.mm.balancing import sum_by_task
from fineseg.mm.model import BuiltModel
from fineseg.profile.schema import PredictTable
from fineseg_lwl_htc.heads import lwl_htc
from fineseg_lwl_htc.options import LWLHTCOptions

SIZES = [(96, 96), (80, 90)]
PREDICT = PredictTable(long_side=96, short_side=80, score_threshold=0.05, max_per_image=20)
ALL = CLASSES + STUFF


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    return built_lwl_htc()


def drawn_images() -> torch.Tensor:
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def losses_of(module: Any, objects: int = 4, known: bool = True) -> dict[str, Any]:
    images, samples = training_images(objects=objects)
    generator = torch.Generator().manual_seed(2)
    for sample in samples:
        labels = torch.randint(ALL, (1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        labels[:, : 20 if known else SIDE] = 255
        sample.gt_sem_seg = PixelData(sem_seg=labels)
    torch.manual_seed(11)
    losses: dict[str, Any] = module.train().loss(images, samples)
    return losses


@torch.no_grad()
def test_every_step_equals_htcs(built: BuiltModel) -> None:
    htc = built_htc(mask_scoring=False, semantic=True)
    htc.module.load_state_dict(built.module.state_dict(), strict=True)
    built.module.eval(), htc.module.eval()
    found = [each.predictor.encode(drawn_images()) for each in (built, htc)]
    assert len(found[0]) == len(found[1]) + 1
    proposals = [each.predictor.proposals(seen, SIZES) for each, seen in zip((built, htc), found, strict=True)]
    boxes = [
        each.predictor.boxes(seen, [box for box, _ in own], SIZES)
        for each, seen, own in zip((built, htc), found, proposals, strict=True)
    ]
    labels = [torch.arange(7), torch.arange(7) + 3]
    masks = [
        each.predictor.masks(seen, [box[:7] for box, _ in judged], labels)
        for each, seen, judged in zip((built, htc), found, boxes, strict=True)
    ]
    for mine, wanted in ((proposals[0], proposals[1]), (boxes[0], boxes[1]), (masks[0], masks[1])):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=0)


@torch.no_grad()
def test_boxes_masks_and_scores_equal_mmdets(built: BuiltModel) -> None:
    stock = stock_htc(built, PREDICT)
    built.module.eval()
    found = built.predictor.encode(drawn_images())
    *pyramid, _, _ = found
    scores, embedding = stock.roi_head.semantic_head(pyramid)
    torch.testing.assert_close(built.predictor.semantic(found), scores)
    assert scores.shape == (2, ALL, 12, 12) and scores.argmax(dim=1).unique().numel() > 3
    metas = [meta(size) for size in SIZES]
    results = stock.rpn_head.predict(pyramid, [DetDataSample(metainfo=each) for each in metas], rescale=False)
    expected = stock.roi_head.predict_bbox(pyramid, metas, results, None, semantic_feat=embedding)
    proposals = [box for box, _ in built.predictor.proposals(found, SIZES)]
    boxes = built.predictor.boxes(found, proposals, SIZES)
    for (mine, probabilities), wanted in zip(boxes, expected, strict=True):
        torch.testing.assert_close(mine, wanted.bboxes)
        torch.testing.assert_close(probabilities, wanted.scores)
    chosen, labels = [mine[:7] for mine, _ in boxes], [torch.arange(7), torch.arange(7) + 3]
    rois, label = bbox2roi(chosen), torch.cat(labels)
    stages = [
        stock.roi_head._mask_forward(stage, pyramid, rois, embedding)["mask_preds"][torch.arange(14), label].sigmoid()
        for stage in range(3)
    ]
    torch.testing.assert_close(torch.cat(built.predictor.masks(found, chosen, labels)), torch.stack(stages).mean(dim=0))


@pytest.mark.parametrize("objects", [4, 0])
def test_losses_equal_mmdets(objects: int, built: BuiltModel) -> None:
    expected = losses_of(stock_htc(built, PredictTable()), objects)
    found = losses_of(built.module, objects)
    assert found.keys() == expected.keys() and found["loss_semantic_seg"] > 0
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)


@pytest.mark.parametrize("semantic", ["fused", "deformable"])
def test_the_semantic_weight(semantic: str) -> None:
    light, full = (
        losses_of(built_lwl_htc(semantic=semantic, semantic_width=8, semantic_weight=weight).module)
        for weight in (0.2, 1.0)
    )
    for name, loss in light.items():
        torch.testing.assert_close(full[name], loss if name != "loss_semantic_seg" else 5 * loss)


@pytest.mark.parametrize("semantic", ["fused", "deformable"])
def test_images_of_which_nothing_is_known_have_no_semantic_loss(semantic: str) -> None:
    module = built_lwl_htc(semantic=semantic, semantic_width=8).module
    loss = losses_of(module, known=False)["loss_semantic_seg"]
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in module.roi_head.semantic_head.parameters())


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_table_reaches_every_weight(row: str) -> None:
    built = built_lwl_htc(**ROWS[row])
    losses = losses_of(built.module)
    tasks = sum_by_task(built.module.parse_losses(losses)[1], built.loss_groups)
    assert set(tasks) == {"instance", "semantic"}
    torch.testing.assert_close(tasks["semantic"], losses["loss_semantic_seg"])
    torch.stack(list(tasks.values())).sum().backward()
    weights = {name: weight for name, weight in built.module.named_parameters() if not name.startswith("backbone.")}
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []


def test_it_answers_as_a_semantic_head_that_makes_no_map(built: BuiltModel) -> None:
    assert isinstance(built.predictor, SemanticPredictor)
    assert not isinstance(built.predictor, PanopticPredictor)


def test_data_without_stuff_are_refused() -> None:
    with pytest.raises(FinesegError, match="head 'lwl-htc' tells objects and stuff, but the data have no stuff"):
        lwl_htc(LWLHTCOptions(), HeadInput(256, (4, 8, 16, 32, 64), CLASSES))


def test_defaults_are_htcs_on_coco_with_all_classes() -> None:
    from mmengine.config import ConfigDict

    head = lwl_htc(LWLHTCOptions(), HeadInput(256, (4, 8, 16, 32, 64), 80, 53))
    roi = ConfigDict(head.detector).roi_head
    assert roi.bbox_roi_extractor.roi_layer.output_size == 7 and roi.mask_roi_extractor.roi_layer.output_size == 14
    assert roi.semantic_head.num_classes == 133 and roi.semantic_head.loss_seg.loss_weight == 0.2
    assert roi.semantic_roi_extractor.featmap_strides == [8] and "mask_iou_head" not in roi
    deformable = lwl_htc(LWLHTCOptions(semantic="deformable"), HeadInput(256, (4, 8, 16, 32, 64), 80, 53))
    assert deformable.detector["roi_head"]["semantic_head"]["num_classes"] == 133
