"""The heads as published: sizes, grids and numbers of points; and that they train."""

import pytest
import torch

from fineseg import HeadInput
from fineseg.catalog import load_catalog
from fineseg_pointrend.options import MaskRCNNOptions, PointRendOptions

FULL = HeadInput(channels=256, strides=(4, 8, 16, 32, 64), num_classes=34)


def build(options: PointRendOptions | MaskRCNNOptions) -> torch.nn.Module:
    """Build a head's RoI part at full size without memory for its weights."""
    from mmdet.models.roi_heads import PointRendRoIHead, StandardRoIHead

    from fineseg_pointrend.heads import mask_rcnn, pointrend

    rendered = isinstance(options, PointRendOptions)
    detector = (pointrend if rendered else mask_rcnn)(options, FULL).detector
    config = {k: v for k, v in detector["roi_head"].items() if k != "type"}
    train, test = detector["train_cfg"]["rcnn"], detector["test_cfg"]["rcnn"]
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmdet"):
        return (PointRendRoIHead if rendered else StandardRoIHead)(
            **{k: ConfigDict(v) for k, v in config.items()}, train_cfg=ConfigDict(train), test_cfg=ConfigDict(test)
        )


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("options", "coarse", "point"),
    [
        ({}, 51_832_946, 495_526),
        ({"points": {"width": 512}}, 51_832_946, 1_252_006),
        ({"coarse": {"width": 512, "fcs": 4}, "points": {"width": 512, "layers": 5}}, 99_349_106, 1_812_134),
    ],
    ids=["m1", "m3", "m4"],
)
def test_parameter_counts_of_the_winners_heads(options: dict[str, object], coarse: int, point: int) -> None:
    head = build(PointRendOptions.model_validate(options))
    assert count(head.mask_head) == coarse
    assert count(head.point_head) == point


def test_numbers_of_points_are_squares_of_sides() -> None:
    head = build(PointRendOptions())
    assert head.train_cfg.num_points == 576 and head.train_cfg.mask_size == 13
    assert head.test_cfg.subdivision_num_points == 4900 and head.test_cfg.subdivision_steps == 5
    assert head.mask_roi_extractor.roi_layers[0].output_size == (26, 26)
    assert head.bbox_roi_extractor.num_inputs == 4 and head.mask_roi_extractor.num_inputs == 5


def test_p2_only_takes_one_level() -> None:
    head = build(PointRendOptions(levels="p2"))
    assert head.mask_roi_extractor.num_inputs == 1
    assert head.point_head.in_channels == 256


def test_box_head_options() -> None:
    head = build(PointRendOptions.model_validate({"box": {"fcs": 4, "roi": 10, "sampling": 0}}))
    assert len(head.bbox_head.shared_fcs) == 4
    assert head.bbox_roi_extractor.roi_layers[0].output_size == (10, 10)
    assert head.bbox_roi_extractor.roi_layers[0].sampling_ratio == 0
    assert not head.bbox_roi_extractor.roi_layers[0].aligned


def test_mask_rcnn_masks_are_twice_the_roi() -> None:
    head = build(MaskRCNNOptions(mask_roi=14))
    assert head.train_cfg.mask_size == 28


def test_coarse_logits_start_near_zero_and_random() -> None:
    from small_models import small_model

    from fineseg.mm.model import build_model

    built = build_model(small_model(), load_catalog(warn=lambda _: None), 14, weights_cache=None)
    weight = built.module.roi_head.mask_head.fc_logits.weight
    assert weight.std().item() == pytest.approx(0.001, rel=0.2)


def test_more_important_than_drawn_points_is_refused() -> None:
    with pytest.raises(ValueError, match="oversample"):
        PointRendOptions.model_validate({"points": {"oversample": 0.5}})
