"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator

from fineseg import Head, HeadInput, HeadSpec, hookimpl
from fineseg_solov2.options import SOLOv2Options


def build_solov2(options: SOLOv2Options, head_input: HeadInput) -> HeadSpec:
    """Build SOLOv2 around a pyramid."""
    from fineseg_solov2.heads import solov2

    return solov2(options, head_input)


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer the head."""
    yield Head(
        "solov2",
        "SOLOv2: one stage, masks by dynamic kernels",
        SOLOv2Options,
        build_solov2,
        shares_proposals=False,
        prediction_only=("nms_pre", "nms_kernel", "nms_sigma", "update_threshold"),
    )
