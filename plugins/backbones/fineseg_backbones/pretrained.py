"""Key names of published ImageNet weights (torchvision, timm, open-mmlab, the authors') to those of our modules."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

WRAPPERS = ("module.", "backbone.", "model.")
CLASSIFIER = re.compile(r"(head\.)?(fc|classifier)\.")


def bare_state(state: State) -> dict[str, "torch.Tensor"]:
    """Return the backbone's entries of a state dict, without wrappers' prefixes and without the classifier.

    Of a detector's state dict, in which some keys start with `backbone.`, only those are kept.
    """
    while any(key.startswith(WRAPPERS) for key in state):
        inner = {_strip(key): value for key, value in state.items() if key.startswith(WRAPPERS)}
        state = inner
    return {key: value for key, value in state.items() if not CLASSIFIER.match(key)}


def _strip(key: str) -> str:
    return next(key.removeprefix(wrapper) for wrapper in WRAPPERS if key.startswith(wrapper))


def residual_state(state: State, deep_stem: bool) -> dict[str, "torch.Tensor"]:
    """Map weights of a ResNet, ResNeXt or Res2Net to our modules' names.

    Blocks have the same names everywhere; a deep stem is `conv1.0` to `conv1.6` and `bn1` in timm and in the authors'
    own files, `stem.0` to `stem.7` in mmdet. The `bn1` of a plain stem belongs to its 7x7, which a deep stem lacks.
    """
    bare = bare_state(state)
    mapped = deep_stem and any(key.startswith("conv1.0.") for key in bare)
    return {_stem_key(key): value for key, value in bare.items()} if mapped else bare


def _stem_key(key: str) -> str:
    key = re.sub(r"^conv1\.(?=\d)", "stem.", key)
    return re.sub(r"^bn1\.", "stem.7.", key)
