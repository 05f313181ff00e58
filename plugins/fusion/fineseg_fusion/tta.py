"""TTA parts: the views that flips and scales make."""

from fineseg import View
from fineseg_fusion.options import FlipOptions, MultiScaleOptions


def build_flip(options: FlipOptions) -> tuple[View, ...]:
    """Return the image as it is, and mirrored along each chosen axis, with two of them also along both."""
    return tuple(
        View(horizontal=horizontal, vertical=vertical)
        for vertical in (False, True)[: 1 + options.vertical]
        for horizontal in (False, True)[: 1 + options.horizontal]
    )


def build_multi_scale(options: MultiScaleOptions) -> tuple[View, ...]:
    """Return the image at each scale."""
    return tuple(View(scale=scale) for scale in options.scales)
