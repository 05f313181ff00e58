"""What every ensembler asks of the models' scores and of what it is to merge."""

from collections.abc import Sequence

import numpy as np

from fineseg import FinesegError, Instances, ModelScore


def check_scores(name: str, scores: Sequence[ModelScore]) -> None:
    """Raise `FinesegError` where there is no model."""
    if not scores:
        raise FinesegError(f"ensembler {name}: there is no model to merge; give at least one")


def check_classes(name: str, scores: Sequence[ModelScore], otherwise: str) -> None:
    """Raise `FinesegError` where models lack an AP of each class; `otherwise` says what to do instead of measuring."""
    sizes = {score.model: len(score.per_class) for score in scores}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        given = ", ".join(f"{model}: {size}" for model, size in sizes.items())
        raise FinesegError(
            f"ensembler {name}: ranking per class wants one AP a class from every model, got {given}; "
            f"measure all models on one split or {otherwise}"
        )


def check_members(members: Sequence[Instances], models: int) -> None:
    """Raise `FinesegError` unless there are predictions of one image by each model, of finite scores and boxes."""
    if len(members) != models:
        raise FinesegError(f"ensemble: {len(members)} predictions of an image for {models} model scores; give one each")
    images = sorted({member.image_id for member in members})
    if len(images) != 1:
        raise FinesegError(f"ensemble: predictions of different images {images} cannot be merged; give one image's")
    for position, member in enumerate(members, start=1):
        if not (np.isfinite(member.scores).all() and np.isfinite(member.boxes).all()):
            raise FinesegError(
                f"ensemble, image {images[0]}: model {position} of {models} predicts a score or box that is not a "
                "finite number; its training may have diverged, predict with another checkpoint"
            )


def model_of_each(members: Sequence[Instances]) -> np.ndarray:
    """Return the position of the model that each pooled detection [N] comes from."""
    return np.repeat(np.arange(len(members)), [len(member) for member in members])
