"""Made-up figures for reports."""

from fineseg.report.analysis import KINDS
from fineseg.report.records import Analysis


def analysis(ap: float, *, worst: str = "missed", classes: int = 2) -> Analysis:
    falling = [max(0.0, 100.0 - point) for point in range(101)]
    return Analysis(
        mean_precision={"50": falling, "75": falling, "mean": falling},
        precision={key: [[ap] * 101] * (classes - 1) + [None] for key in ("50", "75", "mean")},
        ap50=ap,
        gains={kind: 9.25 if kind == worst else 1.0 for kind in KINDS},
        counts={kind: 1234 for kind in KINDS},
        confusions=[(0, 1, 7)],
        edges=[8.0, 11.3, 16.0, 22.6],
        objects=[3, 0, 40],
        recall50=[33.3, None, 90.0],
        recall=[12.0, None, 60.0],
    )
