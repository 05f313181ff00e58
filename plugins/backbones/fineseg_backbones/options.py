"""What a profile may set of the backbones: sizes, normalisation layers, and what competition entries add to them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from fineseg import Options

StageBlocks = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
StageSwitch = tuple[bool, bool, bool, bool]


def _none_is_none(source: object) -> object:
    # TOML has no null: an overlay takes a profile's weights away by this word, which loading may have made a path.
    return None if isinstance(source, str) and source.rpartition("/")[2] == "none" else source


def _path_or_web_address(source: str | None) -> str | None:
    if source is None:
        return None
    scheme, separator, _ = source.partition("://")
    if separator and scheme not in ("http", "https"):
        raise ValueError(f"weights come from a file path or an http(s) address, not {scheme}://")
    return source


WeightsSource = Annotated[str | None, BeforeValidator(_none_is_none), AfterValidator(_path_or_web_address)]


class ResidualOptions(Options):
    """Common to ResNet, ResNeXt and Res2Net. Stages are c2, c3, c4, c5, at 1/4, 1/8, 1/16, 1/32 of the image's side."""

    base_channels: PositiveInt = Field(
        64, description="channels inside the blocks of c2; every later stage doubles them"
    )
    stage_blocks: StageBlocks | None = Field(
        None, description="blocks in c2, c3, c4, c5, in place of the depth's own; makes small nets of the same kind"
    )
    frozen_stages: int | None = Field(
        None,
        ge=-1,
        le=4,
        description="-1: all is trained; 0: the stem is frozen; n: the stem and the first n stages are. "
        "Unset: 0 with weights, -1 without",
    )
    norm: Literal["bn", "sync-bn", "gn"] = Field("bn", description="normalisation layer of the blocks")
    norm_eval: bool = Field(True, description="keep the running statistics of batch norm fixed in training")
    norm_trainable: bool = Field(True, description="train scale and shift of the normalisation layers")
    dcn: Literal["none", "v1", "v2"] = Field("none", description="deformable convolution in place of the blocks' 3x3")
    dcn_stages: StageSwitch = Field((False, True, True, True), description="which of c2, c3, c4, c5 dcn applies to")
    gc_block: bool = Field(
        False, description="global context block (ratio 1/4) after the last conv of c3, c4, c5 blocks"
    )
    checkpointing: bool = Field(False, description="recompute the blocks in the backward pass: less memory, more time")
    weights: WeightsSource = Field(None, description="ImageNet weights: a file path, an http(s) address, or 'none'")

    @property
    def bottleneck(self) -> bool:
        """Whether the blocks are bottlenecks (1x1, 3x3, 1x1), four times as wide outside as inside."""
        return True

    @property
    def frozen(self) -> int:
        """Return the number of frozen stages, -1 for none: random weights are never frozen unasked."""
        if self.frozen_stages is not None:
            return self.frozen_stages
        return -1 if self.weights is None else 0

    @model_validator(mode="after")
    def _blocks_take_what_is_asked(self) -> "ResidualOptions":
        if not self.bottleneck:
            for key, asked in (("dcn", self.dcn != "none"), ("gc_block", self.gc_block)):
                if asked:
                    raise ValueError(
                        f"{key} needs bottleneck blocks: depth 50, 101 or 152 (stage_blocks makes it small)"
                    )
        return self


class ResNetOptions(ResidualOptions):
    """ResNet (arXiv 1512.03385); with `deep_stem` and `avg_down` it is ResNet-D (arXiv 1812.01187)."""

    depth: Literal[18, 34, 50, 101, 152] = Field(50, description="layers; 18 and 34 have basic blocks (two 3x3)")
    deep_stem: bool = Field(False, description="three 3x3 convs in place of the stem's 7x7")
    avg_down: bool = Field(False, description="average pooling before the shortcut's 1x1 in place of its stride")
    style: Literal["pytorch", "caffe"] = Field(
        "pytorch",
        description="what its weights were trained for. 'caffe', as in mmdet's *_caffe_* checkpoints and detectron2's "
        "MSRA models: a bottleneck's stride in its first 1x1, images in BGR with the mean taken off and not divided",
    )

    @property
    def bottleneck(self) -> bool:
        return self.depth >= 50


class ResNeXtOptions(ResidualOptions):
    """ResNeXt (arXiv 1611.05431)."""

    depth: Literal[50, 101, 152] = Field(101, description="layers")
    groups: PositiveInt = Field(64, description="groups of the blocks' 3x3 (cardinality)")
    base_width: PositiveInt = Field(4, description="channels of each group in c2; every later stage doubles them")


class Res2NetOptions(ResidualOptions):
    """Res2Net v1b (arXiv 1904.01169): deep stem and average pooling in the shortcuts."""

    depth: Literal[50, 101] = Field(101, description="layers")
    scales: int = Field(4, ge=2, description="splits of the blocks' hierarchical 3x3")
    base_width: PositiveInt = Field(26, description="channels of each split in c2; every later stage doubles them")


class SENetOptions(Options):
    """SENet-154 (arXiv 1709.01507). Stages are c2, c3, c4, c5, at 1/4, 1/8, 1/16, 1/32 of the image's side."""

    base_channels: int = Field(
        64,
        ge=4,
        multiple_of=4,
        description="a quarter of c2's channels; every later stage doubles them, and blocks are twice as wide inside",
    )
    groups: PositiveInt = Field(64, description="groups of the blocks' 3x3")
    stage_blocks: StageBlocks = Field((3, 8, 36, 3), description="blocks in c2, c3, c4, c5")
    frozen_stages: int | None = Field(
        None,
        ge=-1,
        le=4,
        description="-1: all is trained; 0: the stem is frozen; n: the stem and the first n stages are. "
        "Unset: 0 with weights, -1 without",
    )
    norm_eval: bool = Field(True, description="keep the running statistics of batch norm fixed in training")
    norm_trainable: bool = Field(True, description="train scale and shift of the normalisation layers")
    checkpointing: bool = Field(False, description="recompute the blocks in the backward pass: less memory, more time")
    weights: WeightsSource = Field(None, description="ImageNet weights: a file path, an http(s) address, or 'none'")

    @property
    def frozen(self) -> int:
        """Return the number of frozen stages, -1 for none: random weights are never frozen unasked."""
        if self.frozen_stages is not None:
            return self.frozen_stages
        return -1 if self.weights is None else 0

    @model_validator(mode="after")
    def _groups_divide_widths(self) -> "SENetOptions":
        if 2 * self.base_channels % self.groups:
            raise ValueError(
                f"groups = {self.groups} must divide the narrowest block's width, 2 * base_channels = "
                f"{2 * self.base_channels}"
            )
        return self


class MobileNetV2Options(Options):
    """MobileNetV2 (arXiv 1801.04381) of width 1.0.

    TensorFlow's quantised weights (.npz) come with its padding, its input scaling and folded batch norm: what is left
    unset follows the weights.
    """

    padding: Literal["same", "symmetric"] | None = Field(
        None, description="'same' pads as TensorFlow does, 'symmetric' as PyTorch does. Unset: 'same' with .npz weights"
    )
    norm: Literal["none", "bn"] | None = Field(
        None,
        description="'none': batch norm is folded into the convs' biases. Unset: 'none' with .npz weights, else 'bn'",
    )
    scaling: Literal["imagenet", "tf"] | None = Field(
        None, description="input: ImageNet's mean and deviation, or (pixel - 128) / 128. Unset: 'tf' with .npz weights"
    )
    norm_eval: bool = Field(True, description="keep the running statistics of batch norm fixed in training")
    frozen_stages: int | None = Field(
        None,
        ge=-1,
        le=4,
        description="-1: all is trained; 0: the layers up to 1/2 are frozen; n: also the first n maps (1/4, 1/8, 1/16, "
        "1/32). Unset: 0 with weights, -1 without",
    )
    weights: WeightsSource = Field(
        None,
        description="ImageNet weights: a file path, an http(s) address, or 'none'; torchvision's, timm's or "
        "TensorFlow's quantised ones (.npz)",
    )

    @property
    def quantised(self) -> bool:
        """Whether the weights are TensorFlow's, quantised, batch norm folded."""
        return self.weights is not None and self.weights.endswith(".npz")

    @property
    def frozen(self) -> int:
        """Return the number of frozen stages, -1 for none: random weights are never frozen unasked."""
        if self.frozen_stages is not None:
            return self.frozen_stages
        return -1 if self.weights is None else 0

    @model_validator(mode="after")
    def _norm_fits_weights(self) -> "MobileNetV2Options":
        if self.quantised and self.norm == "bn":
            raise ValueError(f"weights {self.weights} have batch norm folded in: norm = 'none', not 'bn'")
        if self.weights is not None and not self.quantised and self.norm == "none":
            raise ValueError(f"weights {self.weights} have batch norm: norm = 'bn', not 'none'")
        return self
