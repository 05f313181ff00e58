"""The figure of object sizes: bins, what is drawn, and files that other programs open."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fineseg.data.sizes import Sizes, propose_ranges
from fineseg.report.size_figure import Measured, bin_edges, caption, draw_sizes, write_size_figure


def measured(name: str, median: float, count: int = 4000, seed: int = 0) -> Measured:
    pixels = np.random.default_rng(seed).lognormal(np.log(median), 0.8, count)
    return Measured(name, Sizes(40, 120, pixels, pixels / 800, 0, 0), propose_ranges(pixels))


@pytest.mark.parametrize("counts", [(1,), (3, 5), (50, 20_000), (80_000, 80_000)])
def test_bins_hold_everything(counts: tuple[int, ...]) -> None:
    values = [measured("a", 30 * 4**i, count, i).sizes.pixels for i, count in enumerate(counts)]
    edges = bin_edges(values)
    for each in values:
        assert np.histogram(each, edges)[0].sum() == len(each)
    steps = np.diff(np.log2(edges))
    per_octave = 1 / steps.mean()
    np.testing.assert_allclose(steps, steps[0])
    assert 2 <= round(per_octave) <= 8 and np.isclose(per_octave, round(per_octave))
    assert np.isclose(np.log2(edges) * per_octave, np.round(np.log2(edges) * per_octave)).all()  # powers of 2 are edges


def test_heights_are_shares() -> None:
    figure = draw_sizes([measured("a", 40), measured("b", 200, 500, 1)])
    for axes in figure.axes[:2]:
        outlines = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(outlines) == 2
        for outline in outlines:
            assert np.isclose(outline.get_data().values.sum(), 100)


def test_edges_are_written() -> None:
    each = measured("a", 40)
    assert each.ranges is not None
    figure = draw_sizes([each])
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {f"{high**0.5:.0f}" for _, high in list(each.ranges.values())[:2]} <= texts


def test_caption() -> None:
    sizes = Sizes(10_000, 118_287, np.array([10.0, 20, 90]), np.array([0.1, 0.2, 0.9]), 4, 0)
    told = "coco: 3 objects on 10,000 of 118,287 images; median 20 px (20% of the image's side)"
    assert caption(Measured("coco", sizes, None)) == told


@pytest.mark.parametrize("count", [1, 2, 5])
def test_files(tmp_path: Path, count: int) -> None:
    sets = [measured(f"a $x_{i}$ <b>", 30 + 90 * i, 300, i) for i in range(count)]
    same = Sizes(1, 1, np.full(3, 8.0), np.full(3, 0.1), 0, 0)
    sets.append(Measured("one size", same, propose_ranges(same.pixels)))
    for name in ("sizes.png", "sizes.svg"):
        write_size_figure(tmp_path / name, sets)
    with Image.open(tmp_path / "sizes.png") as picture:
        picture.load()
        assert picture.size[0] > 1200
    text = (tmp_path / "sizes.svg").read_text()
    assert "$x_0$ &lt;b&gt;" in text
    write_size_figure(tmp_path / "again.svg", sets)
    assert (tmp_path / "again.svg").read_text() == text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.svg", "sizes.png", "sizes.svg"]
