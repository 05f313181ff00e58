"""The class of checks of each kind of part, and the checks of an installed part run one by one, without pytest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from unittest import SkipTest

from fineseg.catalog import Entry
from fineseg.testing.balancer import TaskBalancerConformance
from fineseg.testing.conformance import Conformance
from fineseg.testing.data import DatasetConformance, SubmissionConformance
from fineseg.testing.ensembler import EnsemblerConformance
from fineseg.testing.fuser import PanopticFuserConformance
from fineseg.testing.head import HeadConformance
from fineseg.testing.loss import LossConformance
from fineseg.testing.model import BackboneConformance, NeckConformance
from fineseg.testing.tta import TTAConformance

CONFORMANCE: Mapping[str, type[Conformance]] = {
    each.kind: each
    for each in (
        BackboneConformance,
        NeckConformance,
        HeadConformance,
        LossConformance,
        TaskBalancerConformance,
        TTAConformance,
        EnsemblerConformance,
        PanopticFuserConformance,
        DatasetConformance,
        SubmissionConformance,
    )
}
"""Kind of part -> its class of checks."""

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Verdict:
    """What came of one check: `holds` is what it is about, `why` says why it failed or was skipped."""

    holds: str
    outcome: Outcome
    why: str = ""
    error: Exception | None = None


def checks_of(kit: type[Conformance]) -> list[str]:
    """Return the names of a class's checks, those of all parts first."""
    return list(
        dict.fromkeys(name for base in reversed(kit.__mro__) for name in vars(base) if name.startswith("test_"))
    )


def check_part(entry: Entry, options: Mapping[str, Any]) -> Iterator[Verdict]:
    """Run all checks of an installed part with these options, and yield what comes of each."""
    base = CONFORMANCE[entry.part.kind]
    kit = type(f"Check{base.__name__}", (base,), {"part": entry.part.name, "options": dict(options)})
    for name in checks_of(kit):
        yield run_check(kit, name)


def run_check(kit: type[Conformance], name: str) -> Verdict:
    """Run one check; whatever the part raises is its failure."""
    check = getattr(kit(), name)
    told = (check.__doc__ or name).strip().splitlines()[0].removesuffix(".")
    holds = told[:1].lower() + told[1:]
    try:
        check()
    except SkipTest as reason:
        return Verdict(holds, "skipped", str(reason))
    except AssertionError as error:
        return Verdict(holds, "failed", str(error), error)
    except Exception as error:
        return Verdict(holds, "failed", f"{type(error).__name__}: {error}", error)
    return Verdict(holds, "passed")
