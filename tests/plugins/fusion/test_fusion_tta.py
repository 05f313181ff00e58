"""The TTA parts: which views they make, and what their options refuse."""

import pytest
from pydantic import ValidationError

from fineseg import View
from fineseg_fusion.options import FlipOptions, MultiScaleOptions
from fineseg_fusion.plugin import fineseg_tta
from fineseg_fusion.tta import build_flip, build_multi_scale


def test_flips() -> None:
    plain, left, down, both = View(), View(horizontal=True), View(vertical=True), View(horizontal=True, vertical=True)
    assert build_flip(FlipOptions()) == (plain, left)
    assert build_flip(FlipOptions(horizontal=False, vertical=True)) == (plain, down)
    assert set(build_flip(FlipOptions(vertical=True))) == {plain, left, down, both}
    with pytest.raises(ValidationError, match="flip mirrors nothing: set horizontal or vertical"):
        FlipOptions(horizontal=False)


def test_scales() -> None:
    assert build_multi_scale(MultiScaleOptions(scales=(0.5, 2))) == (View(0.5), View(2.0))
    for wrong in ((), (0,), (-1, 1), (float("inf"),)):
        with pytest.raises(ValidationError):
            MultiScaleOptions(scales=wrong)


def test_records_of_the_plugin() -> None:
    parts = {part.name: part for part in fineseg_tta()}
    assert list(parts) == ["flip", "multi-scale"]
    for part in parts.values():
        views = part.build(part.options())
        assert View() in views and len(set(views)) == len(views) > 1
