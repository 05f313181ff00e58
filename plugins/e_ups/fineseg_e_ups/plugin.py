"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import FuserInput, Head, HeadInput, HeadSpec, PanopticFuser, hookimpl
from fineseg_e_ups.options import EUPSOptions, PanopticHeadOptions
from fineseg_fusion.fusers import Fuse, chosen_ends


def build_e_ups(options: EUPSOptions, head_input: HeadInput) -> HeadSpec:
    """Build E-UPS around a pyramid."""
    from fineseg_e_ups.heads import e_ups

    return e_ups(options, head_input)


def build_panoptic_head(options: PanopticHeadOptions, given: FuserInput) -> Fuse:
    """Build the panoptic head as a fuser."""
    from fineseg_e_ups.fuser import build

    return build(options, given)


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
        dense=True,
        prediction_only=("rpn.test_proposals", *(f"panoptic.{name}" for name in PREDICTION_ONLY)),
        losses=("mask", "class", "semantic"),
    )


@hookimpl
def fineseg_panoptic_fusers() -> Iterator[PanopticFuser]:
    """Offer the panoptic head without its network."""
    yield PanopticFuser(
        "panoptic-head",
        "each thing class from the model with the better AP, semantics averaged, joined by UPSNet's panoptic head",
        PanopticHeadOptions,
        build=build_panoptic_head,
        class_table=chosen_ends,
    )
