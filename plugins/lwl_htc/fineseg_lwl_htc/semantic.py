"""The deformable semantic head: scores of all classes and what HTC adds to its RoIs, from four levels at once.

Letters: B images, C classes, D channels of the pyramid, h and w sides at 1/4 of the image's H and W.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.model import kaiming_init
from torch import Tensor, nn

from fineseg_e_ups.semantic import LEVELS, SemanticHead

DEFORMABLE = (0, 2, 4)
"""Places of the deformable convolutions in the branch, a ReLU after each."""


class DeformableSemanticHead(nn.Module):
    """UPSNet's deformable branch in the place of HTC's semantic head: it calls both with a pyramid and a truth alike.

    Of each level's `width` channels, side by side at 1/4, one 1x1 convolution makes the scores, another the embedding.
    `full_resolution` says where the loss is taken, `loss` is the config of what stands for the cross entropy.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 128,
        full_resolution: bool = True,
        loss_weight: float = 0.2,
        loss: Any = None,
    ) -> None:
        super().__init__()
        self.branch = SemanticHead(in_channels, num_classes, width, full_resolution, loss=loss)
        self.embedding = nn.Conv2d(LEVELS * width, in_channels, 1)
        self.num_classes, self.loss_weight = num_classes, loss_weight

    def init_weights(self) -> None:
        """Initialise the branch as UPSNet does, its offsets at zero, and draw the embedding from He's distribution."""
        self.branch.init_weights()
        kaiming_init(self.embedding)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Turn the pyramid, finest first, into logits [B, C, h, w] and the embedding [B, D, h, w]."""
        features = self.branch.features(levels)
        return self.branch.score(features), self.embedding(features).relu()

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the weighted loss of logits [B, C, h, w]: the mean cross entropy of the pixels that count.

        truth [B, 1, H, W] are labels, 255 where nothing counts; every pixel of it is read, or every fourth.
        """
        return self.branch.compare(logits, truth[:, 0].long()) * self.loss_weight
