"""A whole detector's start: a published checkpoint of the same kind of detector, with classes of its own.

Keys are those of mmdet 3, which this project's detectors share; older names are mapped to them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fineseg.errors import FinesegError
from fineseg.mm.weights import local_file, of_detector, read_checkpoint, tensors_of

State = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]

BOX = 4
"""Numbers of a box: a box head has as many outputs a class."""
CLASSIFIER = re.compile(r"(bbox|mask)_head\.(?P<stage>(\d+\.)?)(?P<layer>fc_cls|fc_reg|conv_logits)\.")
"""In mmdet 1: the layers with outputs for the background too, before those for the classes; a cascade counts stages."""
MEAN, DEVIATION = re.compile(r"\bmean=\[([^\]]*)\]"), re.compile(r"\bstd=\[([^\]]*)\]")
"""How the images were scaled, in the configuration that mmdet writes into its checkpoints."""


def detector_state(state: Mapping[str, torch.Tensor]) -> State:
    """Map a detector's keys to mmdet 3's: a wrapper's prefix goes, and mmdet 1's and mmcv 1's names are brought up.

    What mmcv 1 keeps as `ema_*` is left out: it holds the weights of the last step where the model holds the averaged.
    """
    if state and all(key.startswith("module.") for key in state if key not in ("steps", "n_averaged")):
        return detector_state({key.removeprefix("module."): value for key, value in state.items() if "." in key})
    own = {key: value for key, value in of_detector(state).items() if not key.startswith("ema_")}
    renamed = {re.sub(r"\.(conv\d)_offset\.", r".\1.conv_offset.", key): value for key, value in own.items()}
    return _from_mmdet_1(renamed)


def _from_mmdet_1(state: State) -> State:
    """Put the RoI heads of mmdet 1 where mmdet 2 and 3 have them, and the background behind the classes."""
    heads = ("bbox_head.", "mask_head.")
    two_stage = any(key.startswith("rpn_head.") for key in state)
    if not two_stage or not any(key.startswith(heads) for key in state):
        return state
    moved = {}
    for key, value in state.items():
        match = CLASSIFIER.match(key)
        scores = state.get(f"bbox_head.{match['stage']}fc_cls.bias") if match else None
        if match and match["layer"] == "fc_cls":
            value = value.roll(-1, dims=0)
        elif match and scores is not None:
            background = BOX if match["layer"] == "fc_reg" else 1
            value = value[background:] if len(value) == background * len(scores) else value
        moved[f"roi_head.{key}" if key.startswith(heads) else key] = value
    return moved


def load_start(module: nn.Module, wider: Shapes, num_classes: int, source: str, cache: Path) -> list[str]:
    """Copy what fits of a checkpoint into a detector; return lines that say what was taken and what was not.

    `wider` are the shapes of the same detector with one class more, which tell what depends on the classes.

    Raises `FinesegError` when less than half of the detector is in the file, or less than half of the file fits.
    """
    loaded = read_checkpoint(local_file(source, cache))
    state = detector_state(tensors_of(loaded))
    own = module.state_dict()
    wanted, held = ([key for key in keys if "num_batches_tracked" not in key] for keys in (own, state))
    taken = [key for key in wanted if key in state and state[key].shape == own[key].shape]
    if not taken or 2 * len(taken) < max(len(wanted), len(held)):
        fit = f"{len(taken)} of its {len(held)} tensors fit this model's {len(wanted)}, fewer than half"
        raise FinesegError(f"{source}: no start for this model: {fit}; {_instead(held)}")
    counters = {key: state[key] for key in own if "num_batches_tracked" in key and key in state}
    module.load_state_dict({key: state[key] for key in taken} | counters, strict=False)
    return [
        f"{source}: {len(taken)} of the model's {len(wanted)} tensors taken",
        *_other_shapes(state, {key: own[key] for key in wanted}, wider, num_classes),
        *_absent([key for key in wanted if key not in state]),
        *_surplus([key for key in state if key not in own]),
        *_other_normalisation(module, loaded.get("meta")),
    ]


def _instead(held: list[str]) -> str:
    if held and not any(key.startswith("backbone.") for key in held):
        return "weights of a backbone alone belong to it: backbone = { ..., weights = ... }"
    return "give a checkpoint of a detector with this backbone, neck and head"


def _other_shapes(state: State, own: State, wider: Shapes, num_classes: int) -> list[str]:
    """Return a line for each layer that was left because its shape differs, by the classes or otherwise."""
    differences: dict[str, list[str]] = {}
    for key, mine in own.items():
        if key not in state or state[key].shape == mine.shape:
            continue
        layer, _, name = key.rpartition(".")
        there, here = tuple(state[key].shape), tuple(mine.shape)
        classes = _classes(there, here, wider[key], num_classes)
        by = f"{classes} classes there, {num_classes} here" if classes else f"{name} is {there} there, {here} here"
        differences.setdefault(layer, []).append(by)
    return [f"left at its start: {layer} ({'; '.join(dict.fromkeys(by))})" for layer, by in differences.items()]


def _classes(there: tuple[int, ...], here: tuple[int, ...], wider: tuple[int, ...], num_classes: int) -> int | None:
    """Return for how many classes a tensor of shape `there` was made, None where that is not all that differs."""
    if len(there) != len(here):
        return None
    step = np.subtract(wider, here)
    more = {int(m) for m in np.subtract(there, here)[step > 0] // step[step > 0]}
    if len(more) != 1 or not np.array_equal(there, here + step * min(more)):
        return None
    return num_classes + min(more)


def _absent(keys: list[str]) -> list[str]:
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in keys))
    return [f"left at its start: {', '.join(layers)} (not in the file)"] if layers else []


def _surplus(keys: list[str]) -> list[str]:
    """Return one line on what the model has no place for, counted by the first two parts of its names."""
    counts = Counter(".".join(key.split(".")[:2]) for key in keys if "num_batches_tracked" not in key)
    named = ", ".join(f"{name} ({count} tensors)" if count > 1 else name for name, count in counts.items())
    return [f"not in this model: {named}"] if counts else []


def _other_normalisation(module: nn.Module, meta: Any) -> list[str]:
    """Return a warning where the file says that its images were scaled in another way."""
    text = (meta.get("cfg") or meta.get("config")) if isinstance(meta, dict) else None
    found = [pattern.search(text) for pattern in (MEAN, DEVIATION)] if isinstance(text, str) else []
    there = [[float(number) for number in re.findall(r"\d+\.?\d*", match[1])] for match in found if match]
    if len(there) != len((MEAN, DEVIATION)):
        return []
    scaling: Any = module.data_preprocessor
    here = [[round(float(v), 3) for v in values.flatten()] for values in (scaling.mean, scaling.std)]
    if np.shape(there) == np.shape(here) and np.allclose(there, here, atol=1e-2):
        return []
    return [
        f"beware: its images had mean {there[0]} and deviation {there[1]}, here {here[0]} and {here[1]}; "
        'a caffe backbone (BGR, deviation 1) is backbone = { name = "resnet", style = "caffe" }'
    ]
