"""What a panoptic model says of images, beside the truth: segments and pixels that are right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fineseg.data.panoptic import PanopticMap, load_map, semantic_labels
from fineseg.data.split import ImageInfo, Split
from fineseg.metrics.panoptic_quality import PanopticCounts, PanopticResult, count_image, panoptic_result
from fineseg.metrics.semantic_iou import PixelCounts, SemanticResult, count_pixels, semantic_result
from fineseg.semantic_store import SemanticScores, label_map


@dataclass(frozen=True, eq=False)
class AnswerCounts:
    """Segments and pixels of one image, or of several; None of what is not said of each of them."""

    segments: PanopticCounts | None
    pixels: PixelCounts | None

    def __add__(self, other: "AnswerCounts") -> "AnswerCounts":
        return AnswerCounts(_sum(self.segments, other.segments), _sum(self.pixels, other.pixels))

    def quality(self, things: int) -> PanopticResult | None:
        """Return the quality of the maps; the first `things` of the classes are things."""
        return None if self.segments is None else panoptic_result(self.segments, things)

    def semantic(self) -> SemanticResult | None:
        """Return the IoU of classes that the scores reach."""
        return None if self.pixels is None else semantic_result(self.pixels)

    def tables(self, things: int) -> Mapping[str, Mapping[str, Any]]:
        """Return figures as metrics.json has them, by kind: "panoptic" and "semantic"."""
        found = {"panoptic": self.quality(things), "semantic": self.semantic()}
        return {kind: result.plain() for kind, result in found.items() if result is not None}


def count_answer(
    split: Split, image: ImageInfo, said: PanopticMap | None, scores: SemanticScores | None
) -> AnswerCounts:
    """Compare a map, and scores of all classes, with the truth of an image of a labelled panoptic split."""
    if said is None and scores is None:
        return AnswerCounts(None, None)
    truth, classes = load_map(split.panoptic[image.id], image), len(split.panoptic_categories)
    return AnswerCounts(
        None if said is None else count_image(truth, said, classes),
        None if scores is None else count_pixels(semantic_labels(truth), label_map(scores), classes),
    )


def _sum(first: Any, second: Any) -> Any:
    return None if first is None or second is None else first + second
