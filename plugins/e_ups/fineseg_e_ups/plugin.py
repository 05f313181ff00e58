"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import Head, HeadInput, HeadSpec, hookimpl
from fineseg_e_ups.options import EUPSOptions


def build_e_ups(options: EUPSOptions, head_input: HeadInput) -> HeadSpec:
    """Build E-UPS around a pyramid."""
    from fineseg_e_ups.heads import e_ups

    return e_ups(options, head_input)


PREDICTION_ONLY = ("score", "nms_iou", "objects", "overlap", "stuff_area")


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer the head."""
    yield Head(
        "e-ups",
        "E-UPS: objects and stuff, joined by a panoptic head without weights",
        EUPSOptions,
        build_e_ups,
        gives=("instances", "semantic", "panoptic"),
        prediction_only=("rpn.test_proposals", *(f"panoptic.{name}" for name in PREDICTION_ONLY)),
    )
