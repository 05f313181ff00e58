"""The report's section on cost."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fineseg.report.cost import cost, share_words
from fineseg.report.records import ReportData


class Cells(HTMLParser):
    """Rows of cells of the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def data(manifest: dict[str, Any]) -> ReportData:
    return ReportData("t", "p.toml", manifest, {"models": {}}, {}, (), {}, (), Path("s"))


NOTHING = {"steps": 0, "seconds": 0, "cpu_hours": 0, "gpu_hours": 0}
TRAINING = {"steps": 1200, "seconds": 7260.0, "cpu_hours": 0, "gpu_hours": 4.0333}
SHARED = {"stage": "train", "models": ["m1", "<m2>"], "workers": 2, "cores": 8, "gpus": 2, "devices": ["x"]}
SHARED |= {"memory_gib": 1.5, "gpu_memory_gib": 6.25, "now": NOTHING, "ever": TRAINING}
IMAGES = {"images": 40, "seconds": 30.0, "cpu_hours": 0.00833, "gpu_hours": 0}
PREDICTED = {"stage": "predict", "models": ["m1"], "workers": 1, "cores": 1, "gpus": 0, "devices": []}
PREDICTED |= {"memory_gib": None, "gpu_memory_gib": None, "now": IMAGES, "ever": IMAGES}


def test_the_table() -> None:
    table = {"rows": [SHARED, PREDICTED], "now": NOTHING | IMAGES, "ever": TRAINING | IMAGES | {"gpu_hours": 4.0333}}
    text = cost(data({"cost": table})) or ""
    assert text.lstrip().startswith("<h2>Cost</h2>") and "<m2>" not in text
    found = Cells(text).rows
    ever, at_work = ["1,200 steps", "2:01:00", "4.03 GPU-h"], ["2 workers, 2 GPUs", "1.50 GiB, 6.25 GiB of the GPU"]
    assert found[1] == ["m1, <m2>", "train", "-", "-", "-", *ever, *at_work]
    done = ["40 images", "30 s", "0.00833 CPU-h"]
    assert found[2] == ["m1", "predict", *done, *done, "1 worker, 1 core", "-"]
    assert found[3][5:8] == ["1,200 steps, 40 images", "30 s", "4.03 GPU-h, 0.00833 CPU-h"]


@pytest.mark.parametrize("manifest", [{}, {"cost": {"rows": [], "now": {}, "ever": {}}}])
def test_nothing_to_tell(manifest: dict[str, Any]) -> None:
    assert cost(data(manifest)) is None


def test_words() -> None:
    assert share_words(NOTHING) == ("-", "-", "-")
