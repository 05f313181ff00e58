"""The plugin's page: what it offers, that it is light, and what it refuses."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from fineseg_backbones import plugin
from fineseg_backbones.neck_options import FPNBFPOptions, FPNOptions, NASFPNOptions
from fineseg_backbones.options import (
    MobileNetV2Options,
    Res2NetOptions,
    ResNetOptions,
    ResNeXtOptions,
    SENetOptions,
)


def test_names() -> None:
    assert [part.name for part in plugin.fineseg_backbones()] == [
        "resnet",
        "resnext",
        "res2net",
        "senet",
        "mobilenet-v2",
    ]
    assert [part.name for part in plugin.fineseg_necks()] == ["fpn", "fpn-bfp", "nas-fpn"]


def test_import_is_light() -> None:
    heavy = "('torch', 'mmdet', 'mmcv', 'mmengine', 'ray', 'cv2')"
    code = f"import sys, fineseg_backbones.plugin; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("part", [*plugin.fineseg_backbones(), *plugin.fineseg_necks()], ids=lambda part: part.name)
def test_defaults_are_valid_and_described(part) -> None:
    part.options()
    for name, field in part.options.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        (ResNetOptions, {"depth": 18, "dcn": "v1"}, "dcn needs bottleneck blocks: depth 50, 101 or 152"),
        (ResNetOptions, {"depth": 34, "gc_block": True}, "gc_block needs bottleneck blocks: depth 50, 101 or 152"),
        (ResNetOptions, {"depth": 42}, "Input should be 18, 34, 50, 101 or 152"),
        (ResNetOptions, {"weights": "torchvision://resnet50"}, "a file path or an http(s) address, not torchvision://"),
        (ResNetOptions, {"frozen_stages": 5}, "less than or equal to 4"),
        (ResNetOptions, {"groups": 32}, "Extra inputs are not permitted"),
        (ResNeXtOptions, {"stage_blocks": [1, 1, 1]}, "Field required"),
        (ResNeXtOptions, {"stage_blocks": [1, 0, 1, 1]}, "greater than 0"),
        (Res2NetOptions, {"scales": 1}, "greater than or equal to 2"),
        (
            SENetOptions,
            {"base_channels": 16},
            "groups = 64 must divide the narrowest block's width",
        ),
        (SENetOptions, {"base_channels": 6, "groups": 4}, "multiple of 4"),
        (MobileNetV2Options, {"weights": "tf.npz", "norm": "bn"}, "weights tf.npz have batch norm folded in"),
        (MobileNetV2Options, {"weights": "tv.pth", "norm": "none"}, "weights tv.pth have batch norm"),
        (FPNBFPOptions, {"refine_level": 5}, "refine_level is 5, but the levels are 0 to 4"),
        (FPNBFPOptions, {"refine": "conv", "non_locals": 2}, "non_locals = 2 needs refine = 'non-local', not 'conv'"),
        (FPNOptions, {"channels": 0}, "greater than 0"),
        (NASFPNOptions, {"stacks": 0}, "greater than 0"),
    ],
)
def test_refused(options, given, said) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("options", [ResNetOptions, ResNeXtOptions, Res2NetOptions, SENetOptions, MobileNetV2Options])
def test_random_weights_are_frozen_only_when_asked(options) -> None:
    assert options().frozen == -1
    assert options(frozen_stages=1).frozen == 1
    assert options(weights="a.pth").frozen == 0
    assert options(weights="a.pth", frozen_stages=-1).frozen == -1


@pytest.mark.parametrize("word", ["none", "/competitions/none"])
def test_weights_can_be_taken_away(word) -> None:
    assert ResNetOptions(weights=word).weights is None
