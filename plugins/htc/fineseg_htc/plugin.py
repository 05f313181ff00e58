"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import Head, HeadInput, HeadSpec, hookimpl
from fineseg_htc.options import HTCOptions


def build_htc(options: HTCOptions, head_input: HeadInput) -> HeadSpec:
    """Build Hybrid Task Cascade around a pyramid."""
    from fineseg_htc.heads import htc

    return htc(options, head_input)


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer the head."""
    yield Head(
        "htc",
        "Hybrid Task Cascade: boxes and masks refined in three stages",
        HTCOptions,
        build_htc,
        prediction_only=("rpn.test_proposals",),
        losses=("mask", "class", "semantic"),
    )
