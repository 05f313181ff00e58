"""Several trained models over one image as a dense ensemble, each through its views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fineseg.data.split import ImageInfo
from fineseg.mm.dense import Member, Sight, Spaces
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.panoptic import dense_of, ensembled
from fineseg.mm.predict import inputs_of
from fineseg.mm.views import Viewing
from fineseg.panoptic_predictions import PanopticAnswer
from fineseg.profile.schema import PredictTable

KEPT = 2 * 2**30
"""Bytes of features that are kept of an image; those of other looks are computed anew at each of three steps."""


@dataclass(frozen=True)
class Together:
    """A model that looks at images together with others: through which views, at what size, and what it counts."""

    built: BuiltModel
    viewing: Viewing
    predict: PredictTable
    weight: float


@torch.no_grad()
def predict_together(
    models: Sequence[Together],
    image: ImageInfo,
    predict: PredictTable,
    device: torch.device,
    spaces: Spaces,
    kept: int = KEPT,
) -> PanopticAnswer:
    """Predict all of one image by a dense ensemble; instances are those of `predict`'s thresholds.

    A model's views share its weight. Raises `FinesegError` for a head that does not go step by step with others.
    """
    pixels = read_image(image.file)
    members, keep = [], _Keep(kept)
    for one in models:
        predictor, weight = dense_of(one.built), one.weight / len(one.viewing.views)
        for images, frame in inputs_of(one.built, pixels, one.viewing.views, one.predict, device):
            features = keep.features(partial(predictor.encode, images))
            members.append(Member(predictor, features, weight, Sight(frame, one.built.padded(frame.size))))
    return ensembled(members, image.id, pixels, predict, spaces)


class _Keep:
    """Keeps features in memory up to so many bytes."""

    def __init__(self, most: int) -> None:
        self.left = most

    def features(self, encode: Callable[[], Sequence[Tensor]]) -> Callable[[], Sequence[Tensor]]:
        """Return a function that gives features: those that it gave before, where they were kept."""
        kept: list[Sequence[Tensor]] = []

        def give() -> Sequence[Tensor]:
            if kept:
                return kept[0]
            made = encode()
            size = sum(each.numel() * each.element_size() for each in made)
            if size <= self.left:
                self.left -= size
                kept.append(made)
            return made

        return give
