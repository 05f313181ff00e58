"""What a look at the data brings up: kinds of findings in order of the harm that they do, and how they are told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

EXAMPLES = 3  # findings of one kind that are told in full; more of them make one line with a count


@dataclass(frozen=True)
class Kind:
    """One kind of finding: how bad it is, and what many of them are called."""

    severity: Severity
    many: str


KINDS = {
    # errors that make scores wrong: nothing would look amiss until the leaderboard
    "group-in-two-splits": Kind("error", "groups lie in two splits"),
    "file-in-two-splits": Kind("error", "images are the same file as one of another split"),
    "classes-differ": Kind("error", "classes differ between splits"),
    "truth-not-100": Kind("error", "splits' ground truth does not score 100 as a prediction"),
    "no-such-class": Kind("error", "objects are of no class"),
    "id-twice": Kind("error", "ids occur more than once"),
    "stray-objects": Kind("error", "images have objects and are not in the split"),
    # errors that end a training, or have it learn what is not there
    "image-missing": Kind("error", "image files are missing"),
    "image-unreadable": Kind("error", "image files are not readable"),
    "image-size": Kind("error", "images are of another size than the annotations say"),
    "mask-broken": Kind("error", "masks are broken"),
    "map-broken": Kind("error", "panoptic maps are broken"),
    "mask-empty": Kind("error", "masks are empty"),
    "box-broken": Kind("error", "boxes are none or lie outside of their image"),
    # warnings: scores or trainings may suffer
    "alike-in-two-splits": Kind("warning", "images look the same as one of another split"),
    "group-in-unlabelled-split": Kind("warning", "groups lie in a split without labels too"),
    "class-untrained": Kind("warning", "classes have no object to train on"),
    "class-name-twice": Kind("warning", "class names occur more than once"),
    "class-unscored": Kind("warning", "classes have no object to score on"),
    "box-off": Kind("warning", "boxes do not fit their mask"),
    "area-off": Kind("warning", "stated areas are far from the mask's"),
    "box-beyond": Kind("warning", "boxes leave their image"),
    "mask-tiny": Kind("warning", "masks have hardly a pixel"),
    "file-twice": Kind("warning", "files occur more than once in a split"),
    "alike-in-split": Kind("warning", "images look the same as another one of their split"),
}
"""All kinds, most harmful first."""

RANKS = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Finding:
    """Something amiss; `where` names the split, the image and the object, `kind` is one of `KINDS`."""

    kind: str
    where: str
    what: str

    @property
    def severity(self) -> Severity:
        """Errors waste a training or spoil its score; warnings may."""
        return KINDS[self.kind].severity

    @property
    def line(self) -> str:
        """The finding in a line of text."""
        return f"{self.where}: {self.what}"

    def plain(self) -> dict[str, str]:
        """Return the finding as JSON-ready data."""
        return {"severity": self.severity, "kind": self.kind, "where": self.where, "what": self.what}


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by harm, those of a kind in the order in which they were found."""
    return sorted(findings, key=lambda finding: RANKS[finding.kind])


def told(findings: Sequence[Finding], severity: Severity) -> list[str]:
    """Return the findings of one severity by harm as lines: one each, or one for a kind that has too many."""
    lines = []
    for kind in KINDS:
        same = [finding.line for finding in findings if finding.kind == kind and finding.severity == severity]
        if len(same) <= EXAMPLES:
            lines += same
        else:
            shown = "; ".join(same[:EXAMPLES])
            lines.append(f"{len(same):,} {KINDS[kind].many}: {shown}; and {len(same) - EXAMPLES:,} more")
    return lines
