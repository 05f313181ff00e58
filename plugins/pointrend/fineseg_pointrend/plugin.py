"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import Head, HeadInput, HeadSpec, hookimpl
from fineseg_pointrend.options import MaskRCNNOptions, PointRendOptions


def build_mask_rcnn(options: MaskRCNNOptions, head_input: HeadInput) -> HeadSpec:
    """Build Mask R-CNN around a pyramid."""
    from fineseg_pointrend.heads import mask_rcnn

    return mask_rcnn(options, head_input)


def build_pointrend(options: PointRendOptions, head_input: HeadInput) -> HeadSpec:
    """Build Mask R-CNN with PointRend's coarse and point heads."""
    from fineseg_pointrend.heads import pointrend

    return pointrend(options, head_input)


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer both heads."""
    yield Head(
        "mask-rcnn",
        "Mask R-CNN: RPN, box head, convolutional mask head",
        MaskRCNNOptions,
        build_mask_rcnn,
        prediction_only=("rpn.test_proposals",),
        losses=("mask", "class"),
    )
    yield Head(
        "pointrend",
        "Mask R-CNN with masks rendered point by point",
        PointRendOptions,
        build_pointrend,
        prediction_only=("rpn.test_proposals", "points.test", "points.steps"),
        losses=("mask", "class"),
    )
