"""What a search sets, and what becomes of the models' detections by it before they are merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fineseg.predictions import Instances


@dataclass(frozen=True)
class Setting:
    """A weight for each model, options of the ensembler by name, and least scores: none, one, or one for each class.

    Weights are relative: the highest is 1; a model of weight 0 is left out. Thresholds hold for weighted scores.
    """

    weights: tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the setting as JSON-ready data."""
        return {
            "weights": list(self.weights),
            "options": dict(self.options),
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> "Setting":
        """Return the setting that `plain` was called on."""
        return cls(tuple(stored["weights"]), dict(stored["options"]), tuple(stored["thresholds"]))

    def apply(self, members: Sequence[Instances]) -> list[Instances]:
        """Return what each model says of one image, in the order of the weights, as it goes into the ensembler."""
        weighted = []
        for member, weight in zip(members, self.weights, strict=True):
            found = member if weight == 1 else member.with_scores(member.scores * weight)
            if weight == 0:
                found = found.select(np.arange(0))
            elif any(self.thresholds):
                least = np.array(self.thresholds)
                found = found.select(found.scores >= (least[found.labels] if len(least) > 1 else least[0]))
            weighted.append(found)
        return weighted


def relative(weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights in few digits with the highest at 1."""
    highest = max(weights)
    return tuple(float(f"{weight / highest:.4g}") for weight in weights)
