"""Options to specs: mmdet configuration with classes in `type`."""

from torch import nn

from fineseg import BackboneSpec, FinesegError, HeadInput, HeadSpec, NeckSpec, Weights
from fineseg_semantic.deeplab import STRIDE, DeepLabHead
from fineseg_semantic.hrnet import BRANCHES, STAGE1, HRNet, hrnet_state
from fineseg_semantic.model import Concatenation, SemanticModel, SemanticModelPredictor
from fineseg_semantic.options import HRNetDeepLabOptions, HRNetOptions


def hrnet(options: HRNetOptions) -> BackboneSpec:
    """Return an HRNetV2: the map after stage 1, then its branches, both finest first."""
    config = {
        "type": HRNet,
        "width": options.width,
        "modules": options.modules,
        "blocks": options.blocks,
        "norm": nn.SyncBatchNorm if options.norm == "sync-bn" else nn.BatchNorm2d,
        "norm_eval": options.norm_eval,
        "checkpointing": options.checkpointing,
    }
    return BackboneSpec(
        config,
        channels=(STAGE1, *(options.width * 2**i for i in range(BRANCHES))),
        strides=(STRIDE, *(STRIDE * 2**i for i in range(BRANCHES))),
        weights=None if options.weights is None else Weights(options.weights, hrnet_state),
    )


def concat(backbone: BackboneSpec) -> NeckSpec:
    """Return one map of all of a backbone's, the detail of its first in front: the head counts on its width."""
    if backbone.channels[0] != STAGE1 or backbone.strides[0] != STRIDE:
        raise FinesegError(
            f"neck 'hrnet-concat' begins with a map of {STAGE1} channels at 1/{STRIDE} of the image's side, and the "
            f"backbone's first has {backbone.channels[0]} at 1/{backbone.strides[0]}: use backbone 'hrnet'"
        )
    return NeckSpec({"type": Concatenation}, sum(backbone.channels), (STRIDE,))


def hrnet_deeplab(options: HRNetDeepLabOptions, head_input: HeadInput) -> HeadSpec:
    """Return a model that scores all classes, things first, and knows no instances."""
    if head_input.strides != (STRIDE,) or head_input.channels <= STAGE1:
        raise FinesegError(
            f"head 'hrnet-deeplab' reads one map, not {len(head_input.strides)} of {head_input.channels} channels each:"
            " use neck 'hrnet-concat'"
        )
    if not head_input.num_stuff:
        raise FinesegError(
            "head 'hrnet-deeplab' tells the class of every pixel, but the data have no stuff classes: use panoptic data"
        )
    head = {
        "type": DeepLabHead,
        "in_channels": head_input.channels,
        "first": STAGE1,
        "num_classes": head_input.num_classes + head_input.num_stuff,
        "loss": head_input.losses.get("semantic"),
        **options.model_dump(),
    }
    detector = {"type": SemanticModel, "semantic_head": head}
    return HeadSpec(detector, SemanticModelPredictor, needs_masks=False, needs_semantic=True)
