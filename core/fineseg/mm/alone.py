"""A part's module by itself, without the detector around it: for checks of backbones and necks."""

from typing import Any

from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from fineseg.mm.quiet import quiet


def build_alone(config: Any) -> nn.Module:
    """Build and initialise the module of a backbone's or a neck's config, or of a list of them in sequence."""
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"):
        module: nn.Module = MODELS.build(config if isinstance(config, list) else ConfigDict(config))
        initialise = getattr(module, "init_weights", None)
        if initialise is not None:
            initialise()
    return module
