"""Small detectors that tests build, train and predict with."""

from fineseg.profile.schema import ModelTable, PartChoice

SMALL_HEAD = {
    "rpn": {"anchor_scale": 4, "train_proposals": 100, "test_proposals": 50, "samples": 32},
    "box": {"width": 32, "samples": 16},
}
POINTREND = {
    **SMALL_HEAD,
    "coarse": {"grid": 8, "width": 16, "fc_width": 32},
    "points": {"width": 16, "layers": 2, "train": 4, "test": 8, "steps": 3},
}
MASK_RCNN = {**SMALL_HEAD, "mask_roi": 7, "mask_convs": 1, "mask_width": 16}


def small_model(head: str = "pointrend") -> ModelTable:
    options = POINTREND if head == "pointrend" else MASK_RCNN
    return ModelTable(
        backbone=PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False),
        neck=PartChoice(name="fpn", channels=16),
        head=PartChoice(name=head, **options),
    )
