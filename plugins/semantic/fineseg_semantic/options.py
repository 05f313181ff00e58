"""Options of the backbone and of the head."""

from typing import Literal

from pydantic import Field, PositiveInt

from fineseg import Options
from fineseg_backbones.options import WeightsSource


class HRNetOptions(Options):
    """HRNetV2 (arXiv 1908.07919): branches at 1/4, 1/8, 1/16 and 1/32 of the image's side that go side by side."""

    width: PositiveInt = Field(
        48,
        description="channels of the branch at 1/4, doubled in every coarser one; there are weights for 18, 32 and 48",
    )
    modules: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 4, 3), description="how often branches exchange what they see in stages 2, 3 and 4"
    )
    blocks: PositiveInt = Field(4, description="residual blocks in stage 1, and in each branch between two exchanges")
    norm: Literal["bn", "sync-bn"] = Field("bn", description="normalisation layer")
    norm_eval: bool = Field(True, description="keep the running statistics of batch norm fixed in training")
    checkpointing: bool = Field(False, description="recompute the blocks in the backward pass: less memory, more time")
    weights: WeightsSource = Field(None, description="ImageNet weights: a file path, an http(s) address, or 'none'")


class HRNetDeepLabOptions(Options):
    """ASPP on HRNetV2's branches and a decoder that joins stage 1: AntVisionPS (COCO panoptic challenge 2019).

    The paper gives no numbers; defaults are DeepLabV3+'s (arXiv 1802.02611), its rates at 1/16 of the image's side
    turned into those of the same reach at 1/4.
    """

    width: PositiveInt = Field(256, description="channels of ASPP's parts and of the decoder")
    detail: PositiveInt = Field(48, description="channels that the first stage's map is brought to")
    rates: tuple[PositiveInt, ...] = Field(
        (24, 48, 72), min_length=1, description="dilations of ASPP's 3x3 convs, in steps of 4 pixels"
    )
    norm: Literal["bn", "sync-bn", "gn"] = Field("bn", description="normalisation layer")
    full_resolution: bool = Field(
        True, description="compare with the truth at the image's size; false: at every fourth pixel, for less memory"
    )
