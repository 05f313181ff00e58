"""For plugin authors: a class of checks for each kind of part, to subclass in a plugin's tests.

    from fineseg.testing import EnsemblerConformance

    class TestBestOf(EnsemblerConformance):
        part = "best-of"

`fineseg plugins check best-of` runs the same checks on what is installed.
"""

from fineseg.testing.balancer import TaskBalancerConformance
from fineseg.testing.conformance import Conformance, expect
from fineseg.testing.data import DatasetConformance, SubmissionConformance
from fineseg.testing.drawn import draw_instances, draw_map, draw_scores, draw_semantic, draw_split
from fineseg.testing.ensembler import EnsemblerConformance
from fineseg.testing.fuser import PanopticFuserConformance
from fineseg.testing.head import HeadConformance
from fineseg.testing.kit import CONFORMANCE, Verdict, check_part
from fineseg.testing.loss import LossConformance
from fineseg.testing.model import BackboneConformance, NeckConformance
from fineseg.testing.tta import TTAConformance

__all__ = [
    "CONFORMANCE",
    "BackboneConformance",
    "Conformance",
    "DatasetConformance",
    "EnsemblerConformance",
    "HeadConformance",
    "LossConformance",
    "NeckConformance",
    "PanopticFuserConformance",
    "SubmissionConformance",
    "TTAConformance",
    "TaskBalancerConformance",
    "Verdict",
    "check_part",
    "draw_instances",
    "draw_map",
    "draw_scores",
    "draw_semantic",
    "draw_split",
    "expect",
]
