"""How good settings are on held-out images: every setting is merged once, and measured on all sets of images asked for.

Letters: I images in the order of their ids, C classes, S sets of images.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from fineseg.parts import Merge
from fineseg.predictions import Instances
from fineseg.tuning.matching import THRESHOLDS, Matched, class_ap, match
from fineseg.tuning.overlaps import Overlaps
from fineseg.tuning.setting import Setting

ALL_AREAS = (0.0, 1e10)

Build = Callable[[Mapping[str, Any], int], Merge]
"""From options that differ from the profile's, and a part of the images, to what merges an image of that part."""


@dataclass(frozen=True)
class Figure:
    """A figure of the metric's summary: IoU thresholds, area range and detection limit an image and class."""

    thresholds: np.ndarray
    area: tuple[float, float]
    limit: int


def figure_of(key: str, area_ranges: Mapping[str, tuple[float, float]], limit: int) -> Figure:
    """Return what a key of a summary measures; `area_ranges` are by their keys there, "APs" and its like."""
    positions = {"AP50": slice(0, 1), "AP75": slice(5, 6)}
    return Figure(THRESHOLDS[positions.get(key, slice(None))], area_ranges.get(key, ALL_AREAS), limit)


class Objective:
    """Measures settings, each once: `measure` remembers."""

    def __init__(
        self,
        overlaps: Overlaps,
        members: Sequence[Sequence[Instances]],
        parts: np.ndarray,
        build: Build,
        figure: Figure,
        sets: np.ndarray,
    ) -> None:
        """Take what the models say of each image [I], the part of each [I], and sets of images [S, I] (0 or 1)."""
        self.overlaps = overlaps
        self.members = members
        self.parts = parts
        self.build = build
        self.figure = figure
        self.sets = sets
        self._measured: dict[str, np.ndarray] = {}

    @property
    def merged_settings(self) -> int:
        """How many settings were merged so far."""
        return len(self._measured)

    def measure(self, setting: Setting) -> np.ndarray:
        """Return the figure of each class on each set of images [S, C] in percent, nan where it has no objects."""
        key = json.dumps(setting.plain(), sort_keys=True)
        if key not in self._measured:
            try:
                self._measured[key] = class_ap(self.match(self.merge(setting)), self.sets)
            except ValidationError:  # options that contradict each other, each of them sound alone
                self._measured[key] = np.full((len(self.sets), self.overlaps.truth.classes), np.nan)
        return self._measured[key]

    def merge(self, setting: Setting) -> list[Instances]:
        """Merge every image by one setting."""
        return self.merge_parts([setting] * (int(self.parts.max(initial=0)) + 1))

    def merge_parts(self, settings: Sequence[Setting]) -> list[Instances]:
        """Merge every image by the setting of its part."""
        merges = [self.build(setting.options, part) for part, setting in enumerate(settings)]
        return [
            merges[part](settings[part].apply(found))
            for part, found in zip(self.parts.tolist(), self.members, strict=True)
        ]

    def match(self, merged: Sequence[Instances]) -> Matched:
        """Match merged predictions of all images with their true objects."""
        figure = self.figure
        return match(self.overlaps.truth, self.overlaps.of(merged), figure.thresholds, figure.area, figure.limit)
