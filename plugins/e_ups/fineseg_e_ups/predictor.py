"""E-UPS in the prediction protocol of panoptic heads, with masks also as logits.

Letters: B images, N detections, C classes, h and w sides at 1/4, m side of a mask's cells.
"""

from collections.abc import Sequence

from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from fineseg import PanopticFrame
from fineseg_e_ups.options import PanopticOptions
from fineseg_e_ups.panoptic import Objects, Panoptic, choose_boxes, panoptic_map
from fineseg_pointrend.predictor import Features, MaskRCNNPredictor


class EUPSPredictor(MaskRCNNPredictor):
    """Prediction steps of a built E-UPS detector; the first `things` of its classes are things."""

    @property
    def things(self) -> int:
        """Return the number of thing classes."""
        return int(self.detector.roi_head.bbox_head.num_classes)

    @property
    def rules(self) -> PanopticOptions:
        """Return what the panoptic head goes by."""
        rules: PanopticOptions = self.detector.rules
        return rules

    def semantic(self, features: Features) -> Tensor:
        """Return the scores of all classes, logits [B, C, h, w]."""
        scores: Tensor = self.detector.semantic_head(features)
        return scores

    def mask_logits(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the logits [N, m, m] of each detection's own class; without one, [0, 1, 1]."""
        found = []
        for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            own = [level[index : index + 1] for level in features]
            found.append(self._mask_logits(own, bbox2roi([box]), label) if len(box) else box.new_zeros(0, 1, 1))
        return found

    def masks(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return per image the probabilities [N, m, m] of each detection's own class."""
        return [each.sigmoid() for each in self.mask_logits(features, boxes, labels)]

    def panoptic(
        self,
        features: Features,
        judged: Sequence[tuple[Tensor, Tensor]],
        semantic: Tensor,
        frames: Sequence[PanopticFrame],
    ) -> list[Panoptic]:
        """Return per image its segments, of its judged boxes [R, T, 4] and probabilities, and its scores [C, h, w]."""
        boxes, scores, labels = (list(each) for each in zip(*(self.choose(*each) for each in judged), strict=True))
        masks = self.mask_logits(features, boxes, labels)
        return [self.join(*each) for each in zip(semantic, boxes, scores, labels, masks, frames, strict=True)]

    def choose(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [N, 4], scores [N] and labels [N] of the map's objects of one image, best first."""
        return choose_boxes(boxes, scores, self.rules)

    def join(
        self, semantic: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor, frame: PanopticFrame
    ) -> Panoptic:
        """Return the segments of one image, of its scores [C, h, w] and objects with mask logits [N, m, m]."""
        return panoptic_map(semantic, self.things, Objects(boxes, scores, labels, masks), frame, self.rules)
