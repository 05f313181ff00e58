"""LWL-HTC in the prediction protocols of two-stage and of semantic heads.

Letters: B images, C classes, D channels of the pyramid, h and w sides of the semantic head's cells.
"""

from torch import Tensor

from fineseg_htc.predictor import HTCPredictor
from fineseg_pointrend.predictor import Features


class LWLHTCPredictor(HTCPredictor):
    """Prediction steps of HTC; the semantic head is run once, and its scores are kept beside the embedding."""

    def encode(self, images: Tensor) -> Features:
        """Turn images [B, 3, H, W] into the pyramid, then scores [B, C, h, w] and the embedding [B, D, h, w]."""
        pyramid = self.detector.extract_feat(images)
        return (*pyramid, *self.detector.roi_head.semantic_head(pyramid))

    def semantic(self, features: Features) -> Tensor:
        """Return the scores of all classes, logits [B, C, h, w]: things, then stuff."""
        return features[-2]

    def _split(self, features: Features) -> tuple[Features, Tensor | None]:
        return features[:-2], features[-1]
