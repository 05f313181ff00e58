"""Weights that a user gives for a whole model, in place of a training."""

from pathlib import Path

import torch

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError
from fineseg.mm.model import build_model
from fineseg.mm.start import detector_state
from fineseg.mm.weights import load_state, read_tensors
from fineseg.profile.schema import ModelTable
from fineseg.store import write_beside

SHOWN = 3


def take_weights(
    model: ModelTable, catalog: Catalog, num_classes: int, source: Path, target: Path, *, num_stuff: int = 0
) -> list[str]:
    """Fill a model with a file's tensors and write what a training would have left; return what was left over.

    Raises `FinesegError` for a file that carries code, or that lacks a tensor of the model: what stayed at its random
    start would predict noise.
    """
    state = detector_state(read_tensors(str(source), target.parent))
    built = build_model(model, catalog, num_classes, weights_cache=None, init=False, num_stuff=num_stuff)
    notes = load_state(built.module, state, str(source))
    surplus = [note for note in notes if note.endswith("not in the network")]
    lacking = [note for note in notes if note not in surplus]
    if lacking:
        more = f", and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        raise FinesegError(
            f"{source}: does not fill the model: {'; '.join(lacking[:SHOWN])}{more}; give weights of this very model "
            f"with {num_classes} classes"
        )
    write_beside(target, lambda beside: torch.save({"model": built.module.state_dict()}, beside))
    return surplus
