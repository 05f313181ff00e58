"""NAS-FPN (arXiv 1904.07392) over the backbone's four maps and one pooled from them."""

from typing import Any

from mmdet.models.necks import nas_fpn
from torch import nn

LEVELS = 5
"""What the searched cells merge; the paper's P3 to P7, here from the backbone's finest map on."""


class NASFPN(nas_fpn.NASFPN):  # type: ignore[misc]
    """mmdet's NAS-FPN whose extra levels are rounded up, as the maps of every other neck are.

    mmdet halves downwards: a map of 25 x 25 would be followed by one of 12 x 12, and one of 1 x 1 by nothing.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for downsample in self.extra_downsamples:
            downsample[1] = nn.MaxPool2d(2, 2, ceil_mode=True)
