"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fineseg import Head, HeadInput, HeadSpec, TaskBalancer, hookimpl
from fineseg_lwl_htc.options import LWLHTCOptions, UncertaintyOptions

if TYPE_CHECKING:
    from torch import nn


def build_lwl_htc(options: LWLHTCOptions, head_input: HeadInput) -> HeadSpec:
    """Build LWL-HTC around a pyramid."""
    from fineseg_lwl_htc.heads import lwl_htc

    return lwl_htc(options, head_input)


def build_uncertainty(options: UncertaintyOptions, groups: tuple[str, ...]) -> "nn.Module":
    """Build the weights of so many tasks."""
    from fineseg_lwl_htc.uncertainty import uncertainty

    return uncertainty(options, groups)


@hookimpl
def fineseg_heads() -> Iterator[Head]:
    """Offer the head."""
    yield Head(
        "lwl-htc",
        "LWL-HTC: Hybrid Task Cascade that also tells the class of every pixel",
        LWLHTCOptions,
        build_lwl_htc,
        gives=("instances", "semantic"),
        prediction_only=("rpn.test_proposals",),
        recipe_version=2,
        losses=("mask", "class", "semantic"),
    )


@hookimpl
def fineseg_task_balancers() -> Iterator[TaskBalancer]:
    """Offer the balancer."""
    yield TaskBalancer(
        "uncertainty", "weighs tasks by uncertainty that is learned", UncertaintyOptions, build_uncertainty
    )
