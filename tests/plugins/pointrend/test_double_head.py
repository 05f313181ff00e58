"""DoubleHead's boxes against mmdet's DoubleHeadRoIHead as published, for both heads."""

from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from head_cases import build_small
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pointrend_cases import STRIDES, draw_boxes, draw_levels

from fineseg import HeadInput
from fineseg_pointrend.heads import mask_rcnn, pointrend
from fineseg_pointrend.options import BoxOptions, MaskRCNNOptions, PointRendOptions

PUBLISHED = Path(mmdet.__file__).parent / ".mim" / "configs" / "double_heads" / "dh-faster-rcnn_r50_fpn_1x_coco.py"
AS_PUBLISHED = {"double": True, "class_agnostic": False, "aligned": True, "sampling": 0}


@pytest.fixture(scope="module")
def stock() -> Any:
    """Return mmdet's RoI head for COCO; it has boxes only."""
    detector = Config.fromfile(PUBLISHED).model
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        settings = {"train_cfg": detector.train_cfg.rcnn, "test_cfg": detector.test_cfg.rcnn}
        head = MODELS.build({**detector.roi_head, **settings})
    for weight in head.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5)
    return head


def our_head(name: str, *, mask_scoring: bool) -> Any:
    options: dict[str, Any] = {"box": AS_PUBLISHED, "mask_scoring": mask_scoring}
    head_input = HeadInput(256, STRIDES, 80)
    if name == "mask-rcnn":
        detector = ConfigDict(mask_rcnn(MaskRCNNOptions.model_validate(options), head_input).detector)
    else:
        options |= {"coarse": {"grid": 4, "width": 8, "fc_width": 8}, "points": {"width": 8}}
        detector = ConfigDict(pointrend(PointRendOptions.model_validate(options), head_input).detector)
    with DefaultScope.overwrite_default_scope("mmdet"):
        settings = {"train_cfg": detector.train_cfg.rcnn, "test_cfg": detector.test_cfg.rcnn}
        return MODELS.build({**detector.roi_head, **settings})


@pytest.mark.parametrize("mask_scoring", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("name", ["mask-rcnn", "pointrend"])
def test_forward_and_losses_equal_mmdets(name: str, mask_scoring: bool, stock: Any) -> None:
    ours = our_head(name, mask_scoring=mask_scoring)
    ours.bbox_head.load_state_dict(stock.bbox_head.state_dict())
    levels = draw_levels(160, 256, images=2)
    drawn = [draw_boxes(30, 160, inside=True, seed=seed) for seed in range(2)]
    results = []
    for head in (stock, ours):
        head.eval()
        with torch.no_grad():
            forward = head._bbox_forward(levels, bbox2roi(drawn))
        head.train()
        sampled = []
        for boxes in drawn:
            truth = InstanceData(bboxes=boxes[:3] + 1, labels=torch.tensor([1, 79, 5]))
            proposals = InstanceData(priors=boxes.clone())
            assigned = head.bbox_assigner.assign(proposals, truth)
            torch.manual_seed(5)
            sampled.append(head.bbox_sampler.sample(assigned, proposals, truth))
        results.append({**forward, **head.bbox_loss(levels, sampled)["loss_bbox"]})
    expected, found = results
    assert found.keys() == expected.keys() >= {"cls_score", "bbox_pred", "loss_cls", "loss_bbox"}
    assert expected["bbox_pred"].std() > 0.1 and expected["loss_bbox"] > 0
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize(("agnostic", "shape"), [(True, (0, 4)), (False, (0, 14, 4))])
@pytest.mark.parametrize("head", ["mask-rcnn", "pointrend"])
def test_no_proposal(head: str, agnostic: bool, shape: tuple[int, ...]) -> None:
    built = build_small(head, {"box": {"double": True, "class_agnostic": agnostic}})
    built.module.eval()
    with torch.no_grad():
        features = built.predictor.encode(torch.zeros(2, 3, 64, 64))
        nothing, something = torch.zeros(0, 4), torch.tensor([[3.0, 3, 30, 30]])
        for boxes, scores in built.predictor.boxes(features, [nothing, nothing], [(64, 64)] * 2):
            assert (boxes.shape, scores.shape) == (shape, (0, 15))
        (boxes, scores), (some, probabilities) = built.predictor.boxes(features, [nothing, something], [(64, 64)] * 2)
    assert (boxes.shape, scores.shape) == (shape, (0, 15))
    assert (some.shape, probabilities.shape) == ((1, *shape[1:]), (1, 15))


def test_blocks_need_a_width_of_fours() -> None:
    with pytest.raises(ValueError, match="width must be a multiple of 4 where double = true, not 30"):
        BoxOptions(double=True, width=30)
