"""The way between frames, which views a profile asks for, and views merged: on a detector whose answers are known."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from fineseg import TTA, Instances, Normalisation, View
from fineseg.catalog import Catalog, Entry
from fineseg.data.masks import decode
from fineseg.data.split import ImageInfo
from fineseg.mm.images import read_image
from fineseg.mm.model import BuiltModel
from fineseg.mm.predict import predict_image
from fineseg.mm.views import PLAIN, Frame, Viewing, build_viewing, frame_of, multiply
from fineseg.profile.schema import PartChoice, PredictTable

CPU = torch.device("cpu")
GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "test-time-augmentation.md"
FLIPS = tuple(View(horizontal=h, vertical=v) for h in (False, True) for v in (False, True))

# ------------------------------------------------------------------ geometry


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("size", [(48, 64), (96, 128), (61, 83)])
def test_boxes_go_there_and_back(flip: View, size: tuple[int, int]) -> None:
    frame = Frame((48, 64), size, flip.horizontal, flip.vertical)
    corners = torch.rand(50, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([64.0, 48.0])
    boxes = torch.cat([corners.amin(2), corners.amax(2)], dim=-1)
    there = frame.to_view(boxes)
    assert (there[..., 2:] >= there[..., :2]).all()
    assert (there >= 0).all() and (there <= torch.tensor([size[1], size[0]] * 2) + 1e-3).all()
    torch.testing.assert_close(frame.to_original(there), boxes, atol=1e-4, rtol=0)
    maps = torch.rand(4, 5, 7)
    assert torch.equal(frame.mirror(frame.mirror(maps)), maps)


def test_frames_by_hand() -> None:
    """An image of 30 x 20 at twice its size, mirrored: x becomes 60 - 2x, y becomes 40 - 2y."""
    box = torch.tensor([[1.0, 2.0, 11.0, 5.0]])
    maps = torch.tensor([[[1, 2], [3, 4]]])
    for horizontal, vertical, there, seen in (
        (False, False, [2, 4, 22, 10], [[1, 2], [3, 4]]),
        (True, False, [38, 4, 58, 10], [[2, 1], [4, 3]]),
        (False, True, [2, 30, 22, 36], [[3, 4], [1, 2]]),
        (True, True, [38, 30, 58, 36], [[4, 3], [2, 1]]),
    ):
        frame = Frame((20, 30), (40, 60), horizontal, vertical)
        assert frame.to_view(box).tolist() == [there]
        assert torch.equal(frame.to_original(frame.to_view(box)), box)
        assert frame.mirror(maps).tolist() == [seen]


def test_a_scale_is_a_factor_on_the_profiles_sides() -> None:
    predict = PredictTable(long_side=1400, short_side=1400)
    assert frame_of(View(), 1200, 1200, predict).size == (1400, 1400)
    assert frame_of(View(scale=1200 / 1400), 1200, 1200, predict).size == (1200, 1200)
    assert frame_of(View(scale=0.5), 100, 200, PredictTable(long_side=100, short_side=40)).size == (20, 40)
    assert frame_of(View(scale=1e-6), 100, 200, predict).size == (1, 1)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            View(scale=wrong)


# --------------------------------------------------------- which views there are


def darker(pixels: np.ndarray) -> np.ndarray:
    pixels //= 2  # in place: other views must not see it
    return pixels


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 255 - pixels


def test_views_multiply_and_those_that_coincide_count_once() -> None:
    flips, scales = [View(), View(horizontal=True)], [View(scale=0.5), View(scale=2.0)]
    assert multiply([]) == (View(),)
    assert multiply([flips]) == tuple(flips)
    assert multiply([flips, scales]) == (
        View(0.5),
        View(2.0),
        View(0.5, horizontal=True),
        View(2.0, horizontal=True),
    )
    assert multiply([flips, flips]) == (View(), View(horizontal=True))
    assert multiply([scales, scales]) == (View(0.25), View(1.0), View(4.0))
    with pytest.raises(ValueError, match="at least one view"):
        multiply([flips, []])


def test_adjustments_follow_each_other() -> None:
    light = [View(), View(adjust=darker)]
    (view,) = multiply([[View(adjust=darker)], [View(adjust=inverted)]])
    assert view.adjust is not None
    assert view.adjust(np.full(3, 100, np.uint8)).tolist() == [205] * 3
    assert len(multiply([light, [View(), View(adjust=inverted)]])) == 4
    assert len(multiply([light, light])) == 3  # none, once, twice


def test_what_a_profile_asks_for(catalog: Catalog) -> None:
    both = [{"name": "flip", "vertical": True}, {"name": "multi-scale", "scales": [1, 2]}]
    assert build_viewing(PredictTable(), catalog, 3) == PLAIN
    assert build_viewing(PredictTable(tta=["flip"]), catalog, 3).views == (View(), View(horizontal=True))
    assert len(build_viewing(PredictTable(tta=both), catalog, 3).views) == 8
    assert build_viewing(PredictTable(tta=["flip"]), catalog, 3).merge is None
    assert build_viewing(PredictTable(merge_views="soft-nms"), catalog, 3) == PLAIN


@pytest.mark.parametrize("name", ["soft-nms", "mask-nms", "linear-interpolation", "linear-reweight"])
def test_any_ensembler_can_pool_views(catalog: Catalog, name: str, scene: ImageInfo) -> None:
    options = {"ranking": "per-class"} if name == "linear-reweight" else {}
    choice = PartChoice(name=name, **options)
    viewing = build_viewing(PredictTable(tta=["flip"], merge_views=choice), catalog, 3)
    assert_truth(predict_image(stub(), scene, PREDICT, CPU, viewing), scores=False)


# ------------------------------------------------------------- a known detector

PREDICT = PredictTable(long_side=64, short_side=48)
"""The scene's own size."""
TRUTH = ((0, (4, 8)), (1, (40, 4)), (2, (28, 28)))
"""Label and left upper corner (x, y) of L shapes of 16 x 12 pixels."""
CELLS = 96


def truth_masks() -> np.ndarray:
    masks = np.zeros((len(TRUTH), 48, 64), dtype=bool)
    for mask, (_, (x, y)) in zip(masks, TRUTH, strict=True):
        mask[y : y + 12, x : x + 4] = mask[y + 8 : y + 12, x : x + 16] = True
    return masks


@pytest.fixture
def scene(tmp_path: Path) -> ImageInfo:
    """Draw each shape in a channel of its own, bright on black."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    for mask, (label, _) in zip(truth_masks(), TRUTH, strict=True):
        pixels[mask, label] = 200
    cv2.imwrite(str(tmp_path / "scene.png"), pixels)
    return ImageInfo(5, tmp_path / "scene.png", 64, 48)


class SeeingPredictor:
    """Finds the bright shapes of each channel, exactly; `blind` looks propose nothing, `unsure` ones judge badly."""

    max_proposals = 10
    proposal_iou = 0.7

    def __init__(self, blind: Sequence[int] = (), unsure: Sequence[int] = ()) -> None:
        self.blind, self.unsure = blind, unsure
        self.seen = self.judged = -1
        self.inputs: list[Tensor] = []

    def encode(self, images: Tensor) -> list[Tensor]:
        self.inputs.append(images)
        return [images]

    def proposals(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        self.seen += 1
        height, width = sizes[0]
        assert not features[0][..., height:, :].any() and not features[0][..., width:].any()
        boxes = boxes_of(features)[: 0 if self.seen in self.blind else 3]
        return [(boxes, torch.tensor([0.9, 0.8, 0.7])[: len(boxes)])]

    def boxes(
        self, features: Sequence[Tensor], proposals: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        self.judged += 1
        sure = 0.2 if self.judged in self.unsure else 0.9
        own = boxes_of(features)
        labels = [int((own - box).abs().sum(1).argmin()) for box in proposals[0]]
        scores = torch.zeros(len(labels), 4)
        for row, label in enumerate(labels):
            scores[row, label], scores[row, 3] = sure, 1 - sure
        return [(own[labels], scores)]

    def masks(self, features: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        found = torch.zeros(len(labels[0]), CELLS, CELLS)
        for mask, box, label in zip(found, boxes[0].round().int().tolist(), labels[0], strict=True):
            crop = (features[0][0, label, box[1] : box[3], box[0] : box[2]] > 75).float()
            mask[:] = torch.nn.functional.interpolate(crop[None, None], (CELLS, CELLS), mode="nearest")[0, 0]
        return [found]


def boxes_of(features: Sequence[Tensor]) -> Tensor:
    boxes = []
    for channel in features[0][0]:
        y, x = torch.nonzero(channel > 75, as_tuple=True)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return torch.tensor(boxes, dtype=torch.float32)


def stub(predictor: SeeingPredictor | None = None) -> BuiltModel:
    plain = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bgr")
    return BuiltModel(torch.nn.Module(), predictor or SeeingPredictor(), plain, {}, ())


def assert_truth(found: Instances, *, scores: bool = True) -> None:
    order = np.argsort(found.labels)
    assert found.labels[order].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.boxes[order], [[x, y, x + 16, y + 12] for _, (x, y) in TRUTH], atol=1e-4)
    masks = np.stack([decode(counts, 48, 64) for counts in found.masks[order]])
    assert np.array_equal(masks, truth_masks())
    if scores:
        np.testing.assert_allclose(found.scores, 0.9, rtol=1e-6)


SCALED = tuple(View(scale, horizontal=h, vertical=v) for scale in (0.5, 1.0, 2.0) for h, v in ((0, 0), (1, 0), (1, 1)))


@pytest.mark.parametrize("views", [*((view,) for view in SCALED), FLIPS, SCALED, (View(), View()), FLIPS * 2])
def test_flips_and_scales_undo_exactly(scene: ImageInfo, views: tuple[View, ...], catalog: Catalog) -> None:
    assert_truth(predict_image(stub(), scene, PREDICT, CPU, Viewing(views)))
    pool = build_viewing(PredictTable(tta=["flip"], merge_views="mask-nms"), catalog, 3).merge
    if len(views) == 2:
        assert_truth(predict_image(stub(), scene, PREDICT, CPU, Viewing(views, pool)))


def test_padding_stays_right_and_below(scene: ImageInfo) -> None:
    odd = PREDICT.model_copy(update={"long_side": 63})  # the stub holds that the padding is empty
    for view in FLIPS:
        predictor = SeeingPredictor()
        predict_image(stub(predictor), scene, odd, CPU, Viewing((view,)))
        assert predictor.inputs[0].shape == (1, 3, 64, 64)


def test_an_image_is_read_and_scaled_once_for_all_flips(scene: ImageInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("resize", "imread"):
        original = getattr(cv2, name)
        monkeypatch.setattr(cv2, name, lambda *a, _n=name, _f=original, **k: (calls.append(_n), _f(*a, **k))[1])
    views = multiply([FLIPS, [View(), View(adjust=inverted)], [View(), View(2.0)]])
    predict_image(stub(), scene, PREDICT.model_copy(update={"score_threshold": 0.99}), CPU, Viewing(views))
    assert sorted(calls) == ["imread", *["resize"] * 4]


# ------------------------------------------------------------------ edge cases


def test_a_view_without_proposals_judges_those_of_the_others(scene: ImageInfo) -> None:
    assert_truth(predict_image(stub(SeeingPredictor(blind=[1])), scene, PREDICT, CPU, Viewing(FLIPS)))


@pytest.mark.parametrize("merge", ["shared-proposals", "soft-nms", "mask-nms"])
def test_no_proposals_at_all(scene: ImageInfo, catalog: Catalog, merge: str) -> None:
    viewing = build_viewing(PredictTable(tta=["flip"], merge_views=merge), catalog, 3)
    found = predict_image(stub(SeeingPredictor(blind=[0, 1])), scene, PREDICT, CPU, viewing)
    assert len(found) == 0 and found.boxes.shape == (0, 4)


def test_a_view_that_sees_nothing_counts_in_the_mean_but_not_in_the_pool(scene: ImageInfo, catalog: Catalog) -> None:
    strict = PREDICT.model_copy(update={"score_threshold": 0.5})
    pooled = build_viewing(PredictTable(tta=["flip"], merge_views="mask-nms"), catalog, 3)
    both = Viewing(pooled.views)
    mean = predict_image(stub(SeeingPredictor(unsure=[1])), scene, PREDICT, CPU, both)
    np.testing.assert_allclose(mean.scores, 0.55, rtol=1e-6)
    assert_truth(predict_image(stub(SeeingPredictor(unsure=[1])), scene, strict, CPU, both), scores=False)
    assert len(predict_image(stub(SeeingPredictor(unsure=[0, 1])), scene, strict, CPU, both)) == 0
    assert_truth(predict_image(stub(SeeingPredictor(unsure=[1])), scene, strict, CPU, pooled))


def test_shared_proposals_keep_the_heads_limits(scene: ImageInfo) -> None:
    predictor = SeeingPredictor()
    predictor.max_proposals = 2
    found = predict_image(stub(predictor), scene, PREDICT, CPU, Viewing(FLIPS))
    assert sorted(found.labels.tolist()) == [0, 1]  # those with the best proposals


# ------------------------------------------------------------------ adjustments


def test_an_adjustment_is_its_views_own(scene: ImageInfo) -> None:
    predictor = SeeingPredictor()
    views = (View(adjust=darker), View(), View(adjust=inverted))
    predict_image(stub(predictor), scene, PREDICT.model_copy(update={"score_threshold": 0.99}), CPU, Viewing(views))
    pixels = torch.from_numpy(read_image(scene.file)).permute(2, 0, 1).float()
    for inputs, wanted in zip(predictor.inputs, (pixels // 2, pixels, 255 - pixels), strict=True):
        assert torch.equal(inputs[0, :, :48, :64], wanted)


def test_an_adjustment_must_keep_the_pixels_shape(scene: ImageInfo) -> None:
    for wrong in (lambda pixels: pixels[1:], lambda pixels: pixels / 255):
        with pytest.raises(ValueError, match=r"must keep uint8 pixels of shape \(48, 64, 3\), not return"):
            predict_image(stub(), scene, PREDICT, CPU, Viewing((View(adjust=wrong),)))


def test_the_documented_tta_works(scene: ImageInfo) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 30
    names: dict[str, Any] = {}
    exec(compile(code, GUIDE.name, "exec"), names)
    (part,) = names["fineseg_tta"]()
    assert isinstance(part, TTA)
    catalog = Catalog((Entry(part, "bright", "bright", "1"),))
    viewing = build_viewing(PredictTable(tta=[{"name": "bright", "gamma": 0.5}]), catalog, 3)
    predictor = SeeingPredictor()
    assert_truth(predict_image(stub(predictor), scene, PREDICT, CPU, viewing))
    assert [int(inputs.max()) for inputs in predictor.inputs] == [200, round(255 * (200 / 255) ** 0.5)]
